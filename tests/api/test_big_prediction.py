"""Images in windows, read lazily, beside the same images in memory."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import tifffile

import maskmed_nnu as mm
from maskmed_nnu.cli.main import main
from maskmed_nnu.errors import InputError
from tests.cli.test_predict import oracle_model
from tests.nnunet.oracle import grid_of_cells
from tests.nnunet.tiny_models import tiny_model

zarr = pytest.importorskip("zarr")


def write_ome_zarr(
    path: Path, values: np.ndarray, axes: str, *, version: str = "0.4", unit: str | None = None, step: float = 1.0
) -> Path:
    chunks = tuple(1 if axis in "TC" else 32 for axis in axes)
    group = zarr.open_group(str(path), mode="w", zarr_format=2 if version == "0.4" else 3)
    group.create_array("full", shape=values.shape, chunks=chunks, dtype=values.dtype)[:] = values
    kinds = {"T": "time", "C": "channel"}
    named = [{"name": axis.lower(), "type": kinds.get(axis, "space")} for axis in axes]
    for axis in named:
        axis |= {"unit": unit} if unit and axis["type"] == "space" else {}
    scale = [{"type": "scale", "scale": [step if axis in "ZYX" else 1.0 for axis in axes]}]
    multiscales = [{"axes": named, "datasets": [{"path": "full", "coordinateTransformations": scale}]}]
    metadata = {"version": version, "multiscales": multiscales}
    group.attrs.update({"ome": metadata} if version == "0.5" else {"multiscales": multiscales})
    return path


def partition(ids: np.ndarray) -> set[bytes]:
    """The objects, whatever their numbers."""
    return {np.flatnonzero(ids == value).tobytes() for value in np.unique(ids[ids > 0])}


def labels_of(path: Path) -> np.ndarray:
    return np.asarray(zarr.open(str(path), mode="r")["0"])


def large_and_small(shape: tuple[int, ...]) -> np.ndarray:
    """Cells, and an object larger than any window, too thick to cut one in two."""
    pitch, edge = (12, 9) if len(shape) == 2 else (6, 5)
    ids = grid_of_cells(shape, pitch=pitch, edge=edge, seed=2)
    ids[tuple(slice(n // 2, n // 2 + pitch + 1) for n in shape[:-1])] = ids.max() + 1
    return ids.astype(np.uint16)


@pytest.mark.parametrize(
    ("shape", "version"),
    [((300, 260), "0.4"), ((200, 260), "0.5"), pytest.param((28, 44, 40), "0.5", marks=pytest.mark.slow)],
)
def test_objects_in_windows_are_those_of_the_whole_image(tmp_path, monkeypatch, shape, version):
    tile = (64, 64) if len(shape) == 2 else (16, 32, 32)
    model = mm.load(oracle_model(tmp_path / "model", monkeypatch, tile=tile, ending=".tif"), device="cpu", folds=0)
    truth = large_and_small(shape)
    image = write_ome_zarr(tmp_path / "big.ome.zarr", truth, "ZYX"[-len(shape) :], version=version)
    window = (100, 90) if len(shape) == 2 else (18, 36, 34)
    summary = model.predict_big(image, tmp_path / "labels.ome.zarr", window=window)
    found = labels_of(summary.output)
    assert summary.windows > 7 and found.dtype == np.uint32
    assert partition(found) == partition(model.predict(truth).labels) == partition(truth)
    assert summary.objects == len(np.unique(truth[truth > 0])) and not list(tmp_path.glob("*windows*"))
    assert not list(tmp_path.glob(".*partial*"))
    with (tmp_path / "labels.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {int(row["id"]) for row in rows} == set(np.unique(found[found > 0]).tolist())
    assert sum(int(row["pixels"]) for row in rows) == np.count_nonzero(truth)
    with pytest.raises(InputError, match="exists; name another, or overwrite it"):
        model.predict_big(image, summary.output, window=window)


def test_jobs_share_the_windows_before_they_are_joined(tmp_path, monkeypatch):
    model = mm.load(oracle_model(tmp_path / "model", monkeypatch), device="cpu", folds=0)
    truth = large_and_small((200, 260))
    image, output = write_ome_zarr(tmp_path / "big.zarr", truth[None, None], "TCYX"), tmp_path / "labels.zarr"
    given = {"window": (100, 100), "parts": 3}
    for part, missing in ((2, 8), (0, 4), (2, 4), (1, 0)):
        summary = model.predict_big(image, output, part=part, **given)
        assert summary.missing == missing and summary.objects is None and not output.exists()
    with pytest.raises(InputError, match=r"labels\.zarr\.windows holds windows of another image or model"):
        model.predict_big(image, output, window=(90, 90))
    summary = model.predict_big(image, output, window=(100, 100))
    assert summary.predicted == 0 and partition(labels_of(output)) == partition(truth)


def test_a_tiled_tiff_is_read_in_parts(tmp_path, monkeypatch):
    model = mm.load(oracle_model(tmp_path / "model", monkeypatch), device="cpu", folds=0)
    truth = large_and_small((200, 260))
    tifffile.imwrite(tmp_path / "big.tif", truth, tile=(64, 64), compression="zlib")
    model.predict_big(tmp_path / "big.tif", tmp_path / "labels.ome.zarr", window=(100, 100))
    assert partition(labels_of(tmp_path / "labels.ome.zarr")) == partition(truth)


def test_the_pyramid_of_the_labels_halves_planes(tmp_path, monkeypatch):
    monkeypatch.setattr("maskmed_nnu.instances.formats.ome_zarr.SMALLEST", 60)
    folder = oracle_model(tmp_path / "model", monkeypatch)
    plans = json.loads((folder / "plans.json").read_text())
    (folder / "plans.json").write_text(json.dumps({**plans, "original_median_spacing_after_transp": [1.0] * 3}))
    model = mm.load(folder, device="cpu", folds=0)
    image = write_ome_zarr(
        tmp_path / "big.zarr", large_and_small((200, 230)), "YX", unit="micrometer", step=0.5, version="0.5"
    )
    model.predict_big(image, tmp_path / "labels.zarr")
    group = zarr.open_group(str(tmp_path / "labels.zarr"), mode="r")
    (multiscale,) = group.attrs["ome"]["multiscales"]
    full = np.asarray(group["0"])
    for level, dataset in enumerate(multiscale["datasets"]):
        assert np.array_equal(group[dataset["path"]], full[:: 2**level, :: 2**level])
        assert dataset["coordinateTransformations"] == [{"type": "scale", "scale": [0.0005 * 2**level] * 2}]
    assert level == 2 and {axis["unit"] for axis in multiscale["axes"]} == {"millimeter"}


def test_an_image_is_normalised_by_all_of_its_pixels(tmp_path):
    """A trained model of random weights: one window sees what the image in memory shows."""
    model = mm.load(tiny_model(tmp_path / "model", "IAUNet"), device="cpu")
    values = np.random.default_rng(0).gamma(2.0, 300.0, (90, 70)).astype(np.float32)
    image = write_ome_zarr(tmp_path / "big.zarr", values, "YX")
    model.predict_big(image, tmp_path / "labels.zarr")
    assert partition(labels_of(tmp_path / "labels.zarr")) == partition(model.predict(values).labels)


def test_what_is_not_predicted_in_windows_is_refused(tmp_path, monkeypatch):
    model = mm.load(oracle_model(tmp_path / "model", monkeypatch), device="cpu", folds=0)
    ids = large_and_small((80, 70))
    image = write_ome_zarr(tmp_path / "big.zarr", ids, "YX")
    (tmp_path / "folder").mkdir()
    for source, output, options, said in (
        (image, "labels.tif", {}, "labels.tif is not a name of an OME-Zarr"),
        (image, "big.zarr", {}, "is the input folder"),
        (
            image,
            "l.zarr",
            {"window": (10, 90)},
            "A window of 10 × 90 pixels does not fit this model; legal are 2 edges",
        ),
        (image, "l.zarr", {"part": 3, "parts": 3}, "no part 3 of 3; legal are 0 to 2"),
        (tmp_path / "folder", "l.zarr", {}, "cannot be read as Zarr"),
        (write_ome_zarr(tmp_path / "t.zarr", np.stack([ids] * 2), "TYX"), "l.zarr", {}, "has 2 time points"),
        (write_ome_zarr(tmp_path / "c.zarr", np.stack([ids] * 2), "CYX"), "l.zarr", {}, "has 2 channels, the model"),
        (
            write_ome_zarr(tmp_path / "z.zarr", np.stack([ids] * 2), "ZYX"),
            "l.zarr",
            {},
            "this model takes single planes",
        ),
    ):
        with pytest.raises(InputError, match=said):
            model.predict_big(source, tmp_path / output, **options)
    semantic = mm.load(tiny_model(tmp_path / "semantic", "SimpleUNet"), device="cpu")
    with pytest.raises(InputError, match="this one predicts classes"):
        semantic.predict_big(image, tmp_path / "l.zarr")
    normalised = mm.load(tiny_model(tmp_path / "objects", "IAUNet"), device="cpu")
    broken = write_ome_zarr(tmp_path / "nan.zarr", np.where(ids == 5, np.nan, ids.astype(np.float32)), "YX")
    with pytest.raises(InputError, match=r"channel 0 \(MR\) holds values at .* that are NaN or infinite"):
        normalised.predict_big(broken, tmp_path / "l.zarr")


def test_the_command(tmp_path, monkeypatch, capsys):
    folder, truth = oracle_model(tmp_path / "model", monkeypatch), large_and_small((90, 80))
    image, output = write_ome_zarr(tmp_path / "big.ome.zarr", truth, "YX"), tmp_path / "labels.ome.zarr"
    command = ["predict", "-m", str(folder), "-i", str(image), "-o", str(output), "--device", "cpu", "-f", "0"]
    assert main([*command, "--parts", "2", "--part", "1"]) == 0
    assert "0 of 1 window predicted; 1 window left for other parts" in capsys.readouterr().out
    assert main([*command, "--parts", "2", "--part", "0"]) == 0
    assert "all windows are predicted; run the same command without --parts to merge them" in capsys.readouterr().out
    assert main(command) == 0
    number = len(np.unique(truth)) - 1
    assert f"{number} objects: {tmp_path / 'labels.csv'}\npredictions {output}" in capsys.readouterr().out
    assert partition(labels_of(output)) == partition(truth)
    assert main(command) == 1 and f"{output} exists" in capsys.readouterr().err
    assert main([*command, "--overwrite"]) == 0
