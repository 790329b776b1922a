"""One image larger than memory through a model of objects, in windows that are read lazily and written the same way.

What a window holds is kept in the folder ``OUTPUT.windows`` until everything is joined. So the same command goes on
after a stop, and parts of them may be predicted by other processes or jobs before it joins them.
"""

from __future__ import annotations

import csv
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import TypeAdapter, ValidationError

from maskmed_nnu.atomic_write import files_atomically, write_atomically
from maskmed_nnu.errors import InputError
from maskmed_nnu.file_state import file_state
from maskmed_nnu.instances.detections import Detections, pack, unpack
from maskmed_nnu.instances.formats.big_images import BigImage, open_big_image
from maskmed_nnu.instances.formats.blocks import block_edges, blocks_of
from maskmed_nnu.instances.formats.ome_zarr import LabelImage, is_label_image
from maskmed_nnu.instances.stitching.tiles import Tile
from maskmed_nnu.instances.stitching.windows import JoinedWindows, join_windows
from maskmed_nnu.json_file import read_optional_object, write_json
from maskmed_nnu.output_paths import refuse_image_folder, refuse_output_over_input
from maskmed_nnu.progress import Report, counted

if TYPE_CHECKING:
    from maskmed_nnu.api.model import Model

ENDING = ".zarr"
CHUNK = 1024
"""Pixels of an edge of what is written together, in planes; in volumes `SOLID`."""
SOLID = 128
LOADED = 4
"""Windows in memory while labels are drawn: as many as meet at a corner of a plane."""


@dataclass
class BigSummary:
    """What became of the image."""

    output: Path
    windows: int
    """How many there are"""
    predicted: int
    """How many of them were predicted now"""
    missing: int
    """How many of them other parts are to predict"""
    objects: int | None = None
    """How many are in the labels, once these are written"""
    table: Path | None = None
    """A row for each of them"""
    notes: list[str] = field(default_factory=list)
    """Sentences about what may be wrong in windows that were predicted now"""


def predict_big(
    model: Model,
    source: Path,
    output: Path,
    *,
    window: Sequence[int] | None,
    part: int,
    parts: int,
    overwrite: bool,
    report: Report | None,
) -> BigSummary:
    """See `Model.predict_big`.

    Raises:
        InputError: before anything is predicted, where model, input or output are at fault; later where a part of the
            image cannot be read.
    """
    from maskmed_nnu.api.model import LOW_SCORE
    from maskmed_nnu.nnunet.inference import window_prediction
    from maskmed_nnu.nnunet.inference.predictor import prediction_settings

    if not 0 <= part < parts:
        raise InputError(f"There is no part {part} of {parts}; legal are 0 to {parts - 1}.")
    if not model.has_objects:
        raise InputError("Images larger than memory are predicted by models of objects; this one predicts classes.")
    _check_output(source, output, overwrite=overwrite)
    image = open_big_image(source)
    predictor = model._load()
    reader = model._reader()
    spacing = image.spacing or reader._usual_spacing(image.spatial, str(source))
    window_prediction.check_big_image(predictor, image, reader._properties(spacing))
    dim = len(predictor.configuration_manager.patch_size)
    shape = image.shape[3 - dim :]
    windows = window_prediction.image_windows(predictor, shape, window)
    folder = output.with_name(f"{output.name}.windows")
    _begin(folder, model, image, windows, overwrite=overwrite)

    def statistics() -> list[Any]:
        file, kind = folder / "statistics.json", TypeAdapter(list[window_prediction.ChannelStatistics])
        try:
            return kind.validate_json(file.read_bytes())
        except (OSError, ValidationError):
            measured = window_prediction.measure(image, model.channels, report)
            write_json(file, kind.dump_python(measured))
            return measured

    def load(number: int) -> Detections:
        (found,) = unpack(np.fromfile(_window_file(folder, number), np.uint8))
        return found

    mine = [number for number in range(part, len(windows), parts) if not _window_file(folder, number).is_file()]
    measured = statistics() if mine and window_prediction.needs_statistics(predictor) else []
    threshold = float(prediction_settings(predictor.configuration_manager.configuration)["score_threshold"])
    notes: list[str] = []
    for number in counted(mine, "predicting", report):
        with model._lock:
            found = window_prediction.predict_window(
                predictor,
                image,
                windows[number],
                measured,
                low_score=LOW_SCORE,
                tell=notes.append,
            )
        packed = pack([found])
        write_atomically(_window_file(folder, number), packed.tofile)
    missing = [number for number in range(len(windows)) if not _window_file(folder, number).is_file()]
    summary = BigSummary(output, len(windows), len(mine), len(missing), notes=notes)
    if parts > 1:
        return summary
    joined = join_windows(windows, load, shape, threshold)
    summary.table = output.with_name(f"{output.name.removesuffix(ENDING).removesuffix('.ome')}.csv")
    with files_atomically(output) as written:
        source_of_labels = os.path.relpath(image.path, output)
        pixels = _write_labels(written / output.name, image, joined, load, report, source=source_of_labels)
        summary.objects = int(np.count_nonzero(pixels))
        _write_table(written / summary.table.name, _rows(joined, load, pixels, model.names), dim)
        if output.exists():
            shutil.rmtree(output)
    shutil.rmtree(folder)
    return summary


def _check_output(source: Path, output: Path, *, overwrite: bool) -> None:
    if output.suffix != ENDING:
        raise InputError(
            f"{output} is not a name of an OME-Zarr; the labels of an image in windows go to NAME.ome{ENDING}."
        )
    refuse_output_over_input([output], [source])
    refuse_image_folder(output.parent)
    if output.exists() and not overwrite:
        raise InputError(f"{output} exists; name another, or overwrite it.")
    if output.exists() and not is_label_image(output):
        raise InputError(f"{output} exists and holds no labels; name another.")


def _begin(folder: Path, model: Model, image: BigImage, windows: Sequence[Tile], *, overwrite: bool) -> None:
    """The folder of windows, with what they are of.

    Raises:
        InputError: where it holds those of something else.
    """
    from maskmed_nnu.nnunet.inference.model_record import describe_model

    path = image.path
    metadata = next((path / name for name in ("zarr.json", ".zattrs") if (path / name).is_file()), path)
    described = {
        "image": list(file_state(metadata)),
        "shape": [image.channels, *image.shape],
        "windows": [len(windows), *windows[0].size],
        "model": describe_model(model._load()),
    }
    record = folder / "predicted_from.json"
    if record.exists() and read_optional_object(record) != described:
        if not overwrite:
            raise InputError(f"{folder} holds windows of another image or model; delete it, or overwrite it.")
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(record, described)


def _window_file(folder: Path, number: int) -> Path:
    return folder / f"{number:06d}.detections"


def _write_labels(
    path: Path, image: BigImage, joined: JoinedWindows, load: Any, report: Report | None, *, source: str
) -> np.ndarray:
    """Write ids, block by block; how many pixels each of them has, int64 ``[N]``."""
    shape = [image.shape["ZYX".index(axis)] for axis in image.spatial]
    dim, extra = len(joined.windows[0].start), len(shape) - len(joined.windows[0].start)
    chunks = [1] * extra + [CHUNK if dim == 2 else SOLID] * dim
    labels = LabelImage(
        path, shape, axes=image.spatial, chunks=chunks, spacing=image.spacing, zarr_format=image.zarr_format
    )
    edges = block_edges(shape, chunks)
    pixels = np.zeros(joined.first_id(len(joined.windows)) + len(joined.stitched), np.int64)
    load_alone = lru_cache(LOADED)(lambda number: joined.alone(load(number), number))
    for block in counted(list(blocks_of(shape, edges)), "writing", report):
        ids = joined.draw(block[extra:], load_alone)
        labels.pixels[block] = ids.reshape([part.stop - part.start for part in block])
        values, counts = np.unique(ids, return_counts=True)
        pixels[values] += counts
    labels.finish(edges, source=source)
    return pixels[1:]


def _rows(joined: JoinedWindows, load: Any, pixels: np.ndarray, names: dict[int, str]) -> Iterator[list[Any]]:
    """Of each object that has pixels: id, class, score, pixels and box in the image."""
    for number, window in [*enumerate(joined.windows), (len(joined.windows), None)]:
        found = joined.stitched if window is None else joined.alone(load(number), number)
        boxes = found.boxes if window is None else found.boxes + np.tile(np.asarray(window.start, np.int64), 2)
        for i, box in enumerate(boxes.tolist()):
            value = joined.first_id(number) + i
            if pixels[value - 1]:
                kind = int(found.classes[i])
                yield [value, names.get(kind, str(kind)), f"{found.scores[i]:.7g}", int(pixels[value - 1]), *box]


def _write_table(path: Path, rows: Iterator[list[Any]], dim: int) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["id", "class", "score", "pixels", *(f"bbox-{index}" for index in range(2 * dim))])
        writer.writerows(rows)
