"""``maskmed evaluate``: predicted objects against the true ones, as one table and a json."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated

from typer import Option

from maskmed_nnu.cli.console import print_json
from maskmed_nnu.cli.options import Json
from maskmed_nnu.dataset_json import read_dataset_json
from maskmed_nnu.errors import InputError
from maskmed_nnu.json_file import read_json, write_json
from maskmed_nnu.output_paths import refuse_image_folder

DESCRIPTION = """\
Compare id maps that an instance network predicted with the true ones (labelsTr or labelsTs of a data set).

AP, AP50, AP75 are COCO's, with a cap of 1000 objects an image; F1, DSB AP (TP / (TP + FP + FN), mean over IoU 0.50 to
0.95), AJI and panoptic quality (PQ = SQ * RQ) are summed over all images, and their means over images stand in the
json. Regions of class * label_divisor are stuff, or, in a class that also has objects, crowd that is ignored. A
volume is evaluated slice by slice, as it is predicted."""
EXAMPLE = "maskmed evaluate --truth Dataset010_Cells/labelsTs --prediction found --scores found/predictions_coco.json"
COLUMNS = ("AP", "AP50", "AP75", "F1@0.5", "F1@0.75", "DSB AP", "AJI", "PQ", "SQ", "RQ")


def run(
    truth: Annotated[Path, Option("--truth", metavar="DIR", help="folder of true id maps")],
    prediction: Annotated[Path, Option("--prediction", metavar="DIR", help="folder of predicted id maps")],
    scores: Annotated[
        Path | None,
        Option(
            "--scores",
            metavar="JSON",
            help="COCO results (predictions_coco.json), whose masks and scores make the AP (default: id maps, score 1)",
        ),
    ] = None,
    flat: Annotated[
        bool,
        Option(
            "--flat", help="remove overlaps first: each pixel belongs to one object, the one with the highest score"
        ),
    ] = False,
    json: Json = False,
    json_file: Annotated[
        Path | None, Option("--json-file", metavar="FILE", help="write all scores to this file")
    ] = None,
    max_detections: Annotated[
        int, Option("--max-detections", metavar="N", help="objects an image that count for AP")
    ] = 1000,
) -> None:
    """Evaluate, print the table and the line of the main scores, and write the json."""
    options = SimpleNamespace(**locals())
    # here, so that `maskmed --help` does not wait for the readers
    from maskmed_nnu.instances.instance_map import LabelFormat
    from maskmed_nnu.instances.metrics import with_names
    from maskmed_nnu.instances.metrics.coco_results import CocoResults
    from maskmed_nnu.instances.metrics.evaluation import check_folders, evaluate
    from maskmed_nnu.instances.text import count

    if options.max_detections < 1:
        raise InputError(f"--max-detections is {options.max_detections}; at least 1 object an image must count.")
    if options.json_file and not options.json_file.resolve().parent.is_dir():
        raise InputError(f"{options.json_file.parent} is no folder; make it, or name another file with --json-file.")
    if options.json_file:
        _check_output(options.json_file)
    check_folders(options.truth, options.prediction)
    dataset_json = _dataset_json(options.truth, options.prediction)
    names = {number: name for name, number in LabelFormat.from_dataset_json(dataset_json).classes.items()}
    results = CocoResults(options.scores) if options.scores else None
    result, images = evaluate(
        options.truth,
        options.prediction,
        dataset_json=dataset_json,
        results=results,
        max_detections=options.max_detections,
        flat=options.flat,
    )
    summary = {"images": images, "max_detections": options.max_detections, **with_names(result, names)}
    if options.json_file:
        write_json(options.json_file, summary, indent=2)
    if options.json:
        print_json(summary)
        return
    print(f"{count(images, 'image')}. {'AP by the scores' if options.scores else 'AP without scores'}.")
    for note in results.notes if results is not None else ():
        print(f"Note: {note}.")
    print()
    print(table(result, names))
    print("\n" + "  ".join(f"{name} {_format_score(result[name])}" for name in ("F1@0.5", "AP50", "PQ")))


def _check_output(path: Path) -> None:
    """Refuse to replace anything but the scores of an earlier evaluation."""
    refuse_image_folder(path.parent)
    if not path.is_file() or not path.stat().st_size:
        return
    try:
        content = read_json(path, expected="scores")
    except InputError:
        content = None
    if not isinstance(content, dict) or not {"images", "max_detections"} <= content.keys():
        raise InputError(
            f"{path} exists and does not hold scores of maskmed evaluate, so it is not replaced; name another file "
            "with --json-file."
        )


def _dataset_json(truth: Path, prediction: Path) -> dict:
    """The ``dataset.json`` of the truth's data set, which lies above labelsTr, or nnU-Net's copy beside the prediction.

    Raises:
        InputError: where there is none, or it is faulty.
    """
    places = [folder / "dataset.json" for folder in (truth, truth.resolve().parent, prediction)]
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        raise InputError(
            f"There is no dataset.json in or above {truth}, nor in {prediction}; it says how ids are written, so copy "
            "that of the data set to one of them."
        )
    return read_dataset_json(path, needs=("labels", "file_ending"))


def table(scores: dict, names: dict[int, str]) -> str:
    """A markdown table: a row for each class and for the mean over classes."""
    rows = [(names.get(number, str(number)), of_class) for number, of_class in sorted(scores["per_class"].items())]
    lines = ["| class | " + " | ".join(COLUMNS) + " |", "|---|" + "--:|" * len(COLUMNS)]
    for name, values in [*rows, ("mean", scores)]:
        lines.append(
            f"| {name} | " + " | ".join(_format_score(values.get(column, math.nan)) for column in COLUMNS) + " |"
        )
    return "\n".join(lines)


def _format_score(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3f}"
