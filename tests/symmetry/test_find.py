"""What a mirror does to the classes: random bodies, rows, phantoms, names."""

import dataclasses

import numpy as np
import pytest

from maskmed_nnu.demo import phantoms
from maskmed_nnu.demo.phantoms import LABELS, make_phantom
from maskmed_nnu.symmetry.find import find_symmetry
from maskmed_nnu.symmetry.places import class_places
from tests.symmetry.bodies import BodyPlan, Organ, add_row, blob, class_names, patient, patients, random_plan

SEEDS = range(6)


def _plan(rng, **options):
    return random_plan(rng, pairs=int(rng.integers(1, 9)), single=int(rng.integers(0, 6)), **options)


def _kinds(symmetry):
    return [axis.kind for axis in symmetry.axes]


@pytest.mark.parametrize("cases", [12, 13, 24])
@pytest.mark.parametrize("seed", SEEDS)
def test_all_pairs_are_found_and_no_others(seed, cases):
    rng = np.random.default_rng([seed, 0])
    plan = _plan(rng, greys=3 if seed % 2 else 0)
    symmetry = find_symmetry(patients(rng, plan, cases), class_names(plan))
    assert _kinds(symmetry) == ["swap", "mirror", "mirror"]
    assert set(symmetry.axes[0].pairs) == set(plan.pairs)
    assert not symmetry.exchanged and not symmetry.notes


def test_sixty_cases():
    rng = np.random.default_rng(0)
    plan = random_plan(rng, pairs=8)
    symmetry = find_symmetry(patients(rng, plan, 60), class_names(plan))
    assert set(symmetry.axes[0].pairs) == set(plan.pairs)


@pytest.mark.parametrize("cases", [1, 2, 3, 5, 6, 8])
@pytest.mark.parametrize("seed", SEEDS)
def test_few_cases_are_undecided_rather_than_wrong(seed, cases):
    rng = np.random.default_rng([seed, 1])
    plan = _plan(rng)
    symmetry = find_symmetry(patients(rng, plan, cases), class_names(plan))
    assert set(symmetry.axes[0].pairs) in (set(plan.pairs), set())
    assert cases >= 6 or symmetry.axes[0].kind != "swap"
    assert not any(axis.pairs for axis in symmetry.axes[1:])


@pytest.mark.parametrize("seed", SEEDS)
def test_organs_missing_and_cut_off(seed):
    rng = np.random.default_rng([seed, 2])
    plan = _plan(rng)
    symmetry = find_symmetry(patients(rng, plan, 30, missing=0.2, field_of_view=0.5), class_names(plan))
    assert set(symmetry.axes[0].pairs) in (set(plan.pairs), set())
    assert symmetry.axes[0].kind != "mirror"


@pytest.mark.parametrize("seed", SEEDS)
def test_without_pairs_all_axes_are_mirrored(seed):
    rng = np.random.default_rng([seed, 3])
    plan = random_plan(rng, pairs=0, central=3, single=4)
    assert _kinds(find_symmetry(patients(rng, plan, 14), class_names(plan))) == ["mirror"] * 3


@pytest.mark.parametrize("seed", SEEDS)
def test_images_of_two_dimensions(seed):
    rng = np.random.default_rng([seed, 4])
    plan = random_plan(rng, pairs=2, central=1, single=1)
    symmetry = find_symmetry(patients(rng, plan, 14, flat=True), class_names(plan))
    assert len(symmetry.axes) == 2
    assert set(symmetry.axes[0].pairs) == set(plan.pairs)


def test_without_images_shape_and_size_decide():
    rng = np.random.default_rng(5)
    plan = random_plan(rng, pairs=4)
    cases = {
        case: {label: dataclasses.replace(place, intensity=None) for label, place in places.items()}
        for case, places in patients(rng, plan, 14).items()
    }
    assert set(find_symmetry(cases, {}).axes[0].pairs) == set(plan.pairs)


@pytest.mark.parametrize("pairs", [0, 3])
@pytest.mark.parametrize("cases", [6, 14])
def test_a_row_of_vertebrae_is_not_mirrored_along_the_body(pairs, cases):
    rng = np.random.default_rng([pairs, 6])
    plan = random_plan(rng, pairs=pairs, central=0, single=0)
    add_row(rng, plan, 6, axis=2, distance=32, centre=np.array([0, 60, 0.0]))
    symmetry = find_symmetry(patients(rng, plan, cases, missing=0.05), class_names(plan))
    assert _kinds(symmetry) == ["swap" if pairs else "mirror", "mirror", "none"]
    assert "in a row" in symmetry.axes[2].reason


def _jaw(rng, *, molars, shift):
    plan = BodyPlan()
    for i in range(molars):
        plan.add_pair(rng, Organ(np.array([-60, 30.0 * i, 0]), blob(rng, 10, lobes=2), 1.5), asymmetry=0.2)
    add_row(rng, plan, 4, axis=0, distance=14, centre=np.array([shift, -60.0, 0]))
    return plan


@pytest.mark.parametrize(("molars", "shift", "kind"), [(0, 0, "none"), (2, 0, "swap"), (2, 14, "none"), (2, 7, "none")])
def test_a_row_from_side_to_side_needs_pairs_that_show_its_middle(molars, shift, kind):
    rng = np.random.default_rng(7)
    plan = _jaw(rng, molars=molars, shift=shift)
    cases = {f"case {i}": patient(rng, plan, jitter=1.5, missing=0) for i in range(20)}
    axis = find_symmetry(cases, class_names(plan)).axes[0]
    assert (axis.kind, axis.pairs) == (kind, ((1, 2), (3, 4), (5, 8), (6, 7)) if kind == "swap" else ())


@pytest.mark.parametrize("number", [9, 14, 40])
def test_a_case_with_exchanged_partners_is_named(number):
    rng = np.random.default_rng(8)
    plan = random_plan(rng, pairs=3)
    cases = {f"case {i}": patient(rng, plan, mirrored=i == 5) for i in range(number)}
    symmetry = find_symmetry(cases, class_names(plan))
    assert set(symmetry.axes[0].pairs) == set(plan.pairs)
    assert symmetry.exchanged == ("case 5",)


def test_cases_of_two_orientations_are_not_mirrored():
    rng = np.random.default_rng(9)
    plan = random_plan(rng, pairs=2)
    for each in (2, 4):
        cases = {f"case {i}": patient(rng, plan, mirrored=i % each == 0) for i in range(16)}
        axis = find_symmetry(cases, class_names(plan)).axes[0]
        assert axis.kind == "none"
        assert "the other way round" in axis.reason


def test_kidneys_of_the_phantoms(monkeypatch):
    monkeypatch.setattr(phantoms, "IN_PLANE_MM", (4.6, 5.4))
    monkeypatch.setattr(phantoms, "SLICE_MM", (7.6, 9.6))
    names = {value: name for name, value in LABELS.items() if value}
    cases = {}
    for i in range(6):
        phantom = make_phantom(np.random.default_rng([0, i]))
        cases[f"case {i}"] = class_places(phantom.label.T, phantom.spacing, image=phantom.image.T[None])
    symmetry = find_symmetry(cases, dict.fromkeys(names, "organ"))
    assert _kinds(symmetry) == ["swap", "mirror", "mirror"]
    assert symmetry.axes[0].pairs == ((3, 4),)
    few = dict(list(cases.items())[:2])
    assert find_symmetry(few, {}).axes[0].kind == "none"
    by_name = find_symmetry(few, names).axes[0]
    assert by_name.pairs == ((3, 4),)
    assert "right kidney and left kidney" in by_name.reason


def test_regions_nested_in_a_tumour_are_mirrored():
    rng = np.random.default_rng(10)
    cases = {}
    for i in range(14):
        plan = BodyPlan()
        place = np.array([rng.choice([-1, 1]) * rng.uniform(15, 50), *rng.uniform(-50, 50, size=2)])
        for radius in (6, 14, 30):
            plan.add(Organ(place + rng.normal(scale=4, size=3), blob(rng, radius * rng.uniform(0.8, 1.2)), 0.0))
        cases[f"case {i}"] = patient(rng, plan, missing=0)
    assert _kinds(find_symmetry(cases, {})) == ["mirror"] * 3


@pytest.mark.parametrize("names", [{}, {1: "right ventricle", 2: "myocardium", 3: "left ventricle"}])
@pytest.mark.parametrize("number", [4, 20])
def test_ventricles_of_a_heart_are_told_apart_by_its_muscle(names, number):
    rng = np.random.default_rng(11)
    plan = BodyPlan()
    ball = blob(rng, 25, flat=0.05)
    ring = ball[np.linalg.norm(ball, axis=1) > 12] * 1.4
    for centre, cloud in ((-50, blob(rng, 26, flat=0.05)), (0, ring), (0, ball)):
        plan.add(Organ(np.array([centre, 0, 0.0]), cloud, 0.0, group=1))
    cases = patients(rng, plan, number, missing=0)
    assert _kinds(find_symmetry(cases, names)) == ["mirror"] * 3


def test_names_decide_where_cases_are_few():
    rng = np.random.default_rng(12)
    plan = random_plan(rng, pairs=2, central=1, single=1)
    names = {**class_names(plan), 1: "right hip", 2: "left hip", 3: "femur_r", 4: "femur_l"}
    symmetry = find_symmetry(patients(rng, plan, 3, missing=0), names)
    assert symmetry.axes[0].pairs == ((1, 2), (3, 4))
    assert not symmetry.notes


def test_names_decide_where_partners_are_never_seen_together():
    rng = np.random.default_rng(13)
    plan = random_plan(rng, pairs=1, central=1, single=1)
    cases = patients(rng, plan, 10, missing=0)
    cases = {case: {k: v for k, v in p.items() if k != 1 + i % 2} for i, (case, p) in enumerate(cases.items())}
    assert find_symmetry(cases, class_names(plan)).axes[0].kind == "mirror"
    assert find_symmetry(cases, {1: "right hip", 2: "left hip", 3: "a", 4: "b"}).axes[0].pairs == ((1, 2),)


def test_places_win_against_names_and_a_note_says_so():
    rng = np.random.default_rng(14)
    plan = random_plan(rng, pairs=2, central=1, single=1)
    names = {1: "right hip", 3: "left hip", 2: "right femur", 4: "left femur", 5: "bladder", 6: "liver"}
    symmetry = find_symmetry(patients(rng, plan, 14), names)
    assert symmetry.axes[0].pairs == ((1, 2), (3, 4))
    assert any("left hip and right hip are partners by name" in note for note in symmetry.notes)


def test_a_left_on_the_right_side_is_noted():
    rng = np.random.default_rng(15)
    plan = random_plan(rng, pairs=1)
    names = {**class_names(plan), 1: "left hip", 2: "right hip"}
    symmetry = find_symmetry(patients(rng, plan, 14, missing=0), names)
    assert symmetry.axes[0].pairs == ((1, 2),)
    assert symmetry.notes == (
        "left hip lies to the right of right hip in 14 of 14 cases: check the names and the headers.",
    )


def test_partners_along_another_axis_are_not_mirrored_beside_others():
    """Files whose headers say that the body lies on its side."""
    rng = np.random.default_rng(16)
    plan = random_plan(rng, pairs=3, central=2, single=0)
    turned = {
        case: {
            label: dataclasses.replace(place, centre=place.centre[[1, 0, 2]], shape=place.shape.transpose(1, 0, 2))
            for label, place in places.items()
        }
        for case, places in patients(rng, plan, 14, missing=0).items()
    }
    symmetry = find_symmetry(turned, class_names(plan))
    assert _kinds(symmetry) == ["mirror", "swap", "mirror"]
    assert set(symmetry.axes[1].pairs) == set(plan.pairs)
    plan.add(Organ(np.array([80.0, 0, 0]), blob(rng, 20, lobes=3), 5.0))
    turned = {
        case: {
            label: dataclasses.replace(place, centre=place.centre[[1, 0, 2]], shape=place.shape.transpose(1, 0, 2))
            for label, place in places.items()
        }
        for case, places in patients(rng, plan, 14, missing=0).items()
    }
    one_sided = find_symmetry(turned, class_names(plan)).axes[1]
    assert one_sided.kind == "none"
    assert "set it by hand" in one_sided.reason


def test_one_class_and_no_class():
    rng = np.random.default_rng(17)
    plan = random_plan(rng, pairs=0, central=0, single=1)
    symmetry = find_symmetry(patients(rng, plan, 5, missing=0), {1: "liver"})
    assert _kinds(symmetry) == ["mirror"] * 3
    assert find_symmetry({"a": {}}, {1: "liver"}).axes == ()


def _with_copies(rng, places):
    """A body with three pairs and further organs that are alike, at those places."""
    plan = random_plan(rng, pairs=3, central=0, single=0)
    cloud = blob(rng, 20, flat=0.05)
    for place in places:
        plan.add(Organ(np.array(place, dtype=float), cloud, 9.0, group=1000))
    return plan, find_symmetry(patients(rng, plan, 14, missing=0), {})


@pytest.mark.parametrize(("distance", "kind"), [(120, "mirror"), (40, "none")])
def test_alike_organs_behind_each_other_count_where_they_touch(distance, kind):
    _, symmetry = _with_copies(np.random.default_rng(18), [(0, -distance / 2, 0), (0, distance / 2, 0)])
    assert _kinds(symmetry) == ["swap", kind, "mirror"]


def test_an_organ_that_makes_a_row_with_a_pair_does_not_hide_the_pair():
    plan, symmetry = _with_copies(np.random.default_rng(19), [(-35, 0, 0), (35, 0, 0), (105, 0, 0)])
    assert set(symmetry.axes[0].pairs) == {*plan.pairs, (7, 8)}


def test_two_alike_pairs_at_one_height_are_told_apart():
    plan, symmetry = _with_copies(np.random.default_rng(20), [(-40, 0, 0), (40, 0, 0), (-90, 10, 0), (90, 10, 0)])
    assert set(symmetry.axes[0].pairs) == {*plan.pairs, (7, 8), (9, 10)}
