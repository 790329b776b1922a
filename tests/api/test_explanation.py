"""What `Model.explain` returns: a patch in its place, arrays, tables and figures of what the network does there."""

from __future__ import annotations

import warnings

import matplotlib
import nibabel
import numpy as np
import pytest
import torch
from PIL import Image

import maskmed_nnu as mm
from tests.nnunet.tiny_models import REGIONS, tiny_model


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """``models(network, **options)`` → a model that is opened once."""
    opened = {}

    def model(network, **options):
        key = (network, str(options))
        if key not in opened:
            folder = tmp_path_factory.mktemp("models") / network
            opened[key] = mm.load(tiny_model(folder, network, **options), device="cpu")
        return opened[key]

    return model


def noise(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def test_which_query_answers_for_which_class(models):
    shown = models("MaskMed").explain(noise(30, 40))
    table = shown.to_table()
    assert shown.figures == ("queries", "roles", "similarity", "sampling")
    assert set(table["class"]) <= {"background", "liver", "spleen"} and len(set(table["class"])) > 1
    for name, rows in table.groupby("class"):
        number = ["background", "liver", "spleen"].index(name)
        found = shown.arrays["scores"].argmax(0) == number
        assert set(rows["voxels"]) == {found.sum()}
        added = shown.arrays["class_probabilities"][:, number, None] * shown.arrays["masks"][:, found]
        for query, share in zip(rows["query"], rows["share"], strict=True):
            assert share == pytest.approx((added.argmax(0) == query).mean())
        assert 0.97 < rows["share"].sum() <= 1 + 1e-9 and rows["share"].is_monotonic_decreasing
    assert list(shown.tables) == ["roles", "queries", "sampling"]
    assert shown.tables["sampling"].groupby("asking_level")["weight"].sum().to_list() == pytest.approx([1, 1])


@pytest.mark.parametrize("dim", [2, 3])
def test_the_patch_lies_where_the_box_says(models, dim):
    """A volume with one bright voxel, whose axes nibabel turns, and whose patch is smaller."""
    model = models("MaskMed", dim=dim, transpose=(1, 0, 2))
    volume = noise(37, 41, 19)  # x, y, z
    volume[30, 8, 15] = 40
    shown = model.explain(nibabel.Nifti1Image(volume, np.diag([1, 1, 1, 1.0])), at=(30, 8, 15))
    brightest = np.unravel_index(shown.image[0].argmax(), shown.image.shape[1:])
    assert shown.place == tuple(brightest)
    first, behind = shown.box.reshape(2, 3)
    assert (first <= (30, 8, 15)).all() and (behind > (30, 8, 15)).all()
    part = volume[tuple(slice(a, b) for a, b in zip(first, behind, strict=True))]
    as_planned = part.transpose(1, 2, 0)  # the plans' y, z, x
    seen = shown.image[0] if dim == 3 else shown.image[0][None]
    assert seen.shape == as_planned.shape
    assert np.corrcoef(seen.ravel(), as_planned.ravel())[0, 1] > 0.999


def test_the_patch_of_a_large_image_shows_what_is_found(models):
    shown = models("MaskMed").explain(noise(3, 70, 90))
    assert shown.image.shape == (1, 32, 32)
    assert shown.box.tolist()[3] - shown.box.tolist()[0] == 1
    assert len(shown.to_table()["class"].unique()) > 1


def test_a_prediction_is_the_same_before_and_after(models):
    model = models("MaskMed", folds=(0, 1))
    image = noise(50, 60)
    before = model.predict(image).labels
    backend, state = matplotlib.get_backend(), torch.random.get_rng_state()
    shown = model.explain(image)
    assert matplotlib.get_backend() == backend and torch.equal(torch.random.get_rng_state(), state)
    np.testing.assert_array_equal(model.predict(image).labels, before)
    first = mm.load(model.source.path, folds=0, device="cpu").explain(image)
    for name, values in first.arrays.items():
        np.testing.assert_array_equal(shown.arrays[name], values)


def test_regions_overlap_and_have_no_background(models):
    shown = models("MaskMed", labels=REGIONS).explain(noise(30, 40))
    assert shown.arrays["scores"].shape[0] == 2
    assert set(shown.to_table()["class"]) <= {"whole", "core"}
    shown.plot("queries")


def test_what_objects_come_from(models):
    shown = models("IAUNet").explain(np.random.default_rng(0).integers(0, 255, (40, 50)).astype(np.uint8))
    assert shown.figures == ("centres", "queries")
    table = shown.to_table()
    assert list(table.columns) == ["query", "class", "score", "predicted", "pixels", "y", "x"]
    assert table["score"].is_monotonic_decreasing and set(table["class"]) == {"cell"}
    for row in table.itertuples():
        assert (shown.arrays["masks"][row.query] >= 0.5).sum() == row.pixels


def test_what_objects_of_a_volume_come_from_in_one_slice(models):
    shown = models("IAUNet", dim=3, ending=".nii.gz").explain(noise(8, 14, 16), spacing=(1, 1, 1))
    assert list(shown.to_table().columns) == ["query", "class", "score", "predicted", "pixels", "z", "y", "x"]
    boxes, masks = shown.arrays["boxes"], shown.arrays["masks"]
    assert boxes.shape[1] == 6 and masks.shape[1:] == (14, 16)
    through = (boxes[:, 0] <= shown.place[0]) & (shown.place[0] < boxes[:, 3])
    assert through.any() and not masks[~through].any() and masks[through].any()
    assert shown.arrays["votes"].shape[0] == 3
    for name in shown.figures:
        assert f"slice {shown.place[0]} of the patch" in shown.plot(name).get_suptitle().replace("\n", " ")


@pytest.mark.parametrize("network", ["MaskAttnUNet", "MaskAttnUNetPanoptic"])
def test_attention_maps(models, network):
    shown = models(network).explain(noise(32, 32), at=(20, 5))
    table = shown.to_table()
    assert list(table["module"]) == [f"encoder.{n}.1" for n in range(3)] + [f"decoder.{n}.1" for n in (1, 0)]
    assert table["keys"].to_list() == [shown.arrays[f"attention_{name}"][0].size for name in table["module"]]
    assert shown.place == (20, 5)


@pytest.mark.parametrize(("network", "dim"), [("MaskMed", 3), ("IAUNet", 2), ("IAUNet", 3), ("MaskAttnUNet", 2)])
def test_files(models, tmp_path, network, dim):
    ending = {"ending": ".nii.gz"} if dim == 3 else {}
    image = noise(8, 20, 24)[-1 if dim == 2 else slice(None)]
    shown = models(network, dim=dim, **ending).explain(image, spacing=(1.0, 1.0, 1.0) if dim == 3 else None)
    steps = []
    written = shown.save(tmp_path / "out", progress=steps.append)
    assert sorted(written) == sorted((tmp_path / "out").iterdir())
    names = {path.name for path in written}
    assert names == {*(f"{n}.png" for n in shown.figures), *(f"{n}.csv" for n in shown.tables), "arrays.npz"}
    for name in shown.figures:
        picture = np.asarray(Image.open(tmp_path / "out" / f"{name}.png").convert("L"))
        assert min(picture.shape) > 200 and picture.std() > 5
    with np.load(tmp_path / "out" / "arrays.npz") as arrays:
        np.testing.assert_array_equal(arrays["image"], shown.image)
    assert steps[-1].done == steps[-1].total == len(shown.figures)


def test_a_network_that_was_not_trained_says_so(models, tmp_path):
    assert any("was not trained" in note for note in models("MaskMed").explain(noise(32, 32)).notes)
    folder = tiny_model(tmp_path / "trained", "MaskMed")
    file = folder / "fold_0" / "checkpoint_final.pth"
    checkpoint = torch.load(file, weights_only=False)
    checkpoint["network_weights"]["head.norm.bias"] += 0.01
    torch.save(checkpoint, file)
    notes = mm.load(folder, device="cpu").explain(noise(32, 32)).notes
    assert not any("was not trained" in note for note in notes)


def test_networks_of_which_nothing_can_be_shown(models):
    with pytest.raises(mm.InputError, match=r"^The SimpleUNet in .* has no queries, .* so it cannot be explained"):
        mm.explain(models("SimpleUNet"), noise(32, 32))


@pytest.mark.parametrize("at", [(40, 0), (-1, 0), (1, 2, 3), (5,)])
def test_places_outside_the_image(models, at):
    with pytest.raises(mm.InputError, match="no voxel at .* 40 × 50 voxels along y, x"):
        models("MaskMed").explain(noise(40, 50), at=at)


def test_names_of_figures(models):
    shown = models("MaskAttnUNet").explain(noise(32, 32))
    with pytest.raises(mm.InputError, match="no figure 'queries'; there is attention"):
        shown.plot("queries")


def test_results_never_go_over_the_image(models, tmp_path):
    Image.fromarray(np.zeros((32, 32), np.uint8)).save(tmp_path / "attention.png")
    shown = models("MaskAttnUNet", ending=".png", reader="NaturalImage2DIO").explain(tmp_path / "attention.png")
    with pytest.raises(mm.InputError, match="is the input"):
        shown.save(tmp_path)
    with warnings.catch_warnings():  # of letters that matplotlib's font lacks, the command says nothing
        warnings.simplefilter("error")
        Image.fromarray(np.zeros((32, 32), np.uint8)).save(tmp_path / "海马.png")
        models("MaskAttnUNet", ending=".png", reader="NaturalImage2DIO").explain(tmp_path / "海马.png").save(
            tmp_path / "out"
        )
