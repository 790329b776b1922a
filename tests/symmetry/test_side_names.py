"""Left and right in names."""

import pytest

from maskmed_nnu.symmetry.side_names import NamedPair, named_pairs


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("left kidney", "right kidney"),
        ("kidney_left", "kidney_right"),
        ("LeftKidney", "RightKidney"),
        ("kidneyLeft", "kidneyRight"),
        ("leftkidney", "rightkidney"),
        ("L kidney", "R kidney"),
        ("hip_l", "hip_r"),
        ("ParotidL", "ParotidR"),
        ("Parotid_Lt", "Parotid_Rt"),
        ("ctx-lh-cuneus", "ctx-rh-cuneus"),
        ("ren sinister", "ren dexter"),
        ("Niere links", "Niere rechts"),
        ("linke Niere", "rechte Niere"),
        ("rein gauche", "rein droit"),
        ("hanche gauche", "hanche droite"),
        ("riñón izquierdo", "riñón derecho"),
        ("cadera_izquierda", "cadera_derecha"),
        ("rene sinistro", "rene destro"),
        ("rim esquerdo", "rim direito"),
        ("左肾", "右肾"),
        ("左腎臓", "右腎臓"),
        ("rib_left_10", "rib_right_10"),
    ],
)
def test_two_names_that_differ_in_the_side_are_a_pair(left, right):
    assert named_pairs({3: right, 8: left, 5: "liver"}) == [NamedPair(8, 3)]


@pytest.mark.parametrize(
    "names",
    [
        ("lumbar L1", "rectum"),
        ("L1", "L2"),
        ("left kidney", "liver"),
        ("left kidney", "right lung"),
        ("leftover", "rightover lobe"),
        ("lung", "rung"),
        ("RV", "LV"),
        ("rib_left_1", "rib_right_2"),
        ("sinus", "dexus"),
    ],
)
def test_other_names_are_none(names):
    assert named_pairs(dict(enumerate(names, start=1))) == []


def test_a_name_that_fits_two_classes_is_nobodys_partner():
    assert named_pairs({1: "left kidney", 2: "Right kidney", 3: "right_kidney"}) == []


def test_many_pairs_find_their_own_partner():
    names = {1: "kidney_left", 2: "kidney_right", 3: "kidney cyst left", 4: "kidney cyst right", 5: "upper left lobe"}
    assert named_pairs(names) == [NamedPair(1, 2), NamedPair(3, 4)]
