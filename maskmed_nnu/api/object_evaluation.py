"""Predicted objects against the true ones: what `maskmed_nnu.evaluate` returns for them."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from maskmed_nnu.api.label_images import is_path, read_both
from maskmed_nnu.api.label_meaning import check_roles
from maskmed_nnu.api.prediction import Prediction
from maskmed_nnu.dataset_json import dataset_json_faults
from maskmed_nnu.errors import InputError
from maskmed_nnu.instances import formats
from maskmed_nnu.instances.instance_map import LabelFormat
from maskmed_nnu.instances.metrics import with_names
from maskmed_nnu.instances.metrics.coco_results import CocoResults
from maskmed_nnu.instances.metrics.evaluation import check_folders, evaluate, find_cases
from maskmed_nnu.instances.text import count
from maskmed_nnu.json_file import write_json
from maskmed_nnu.progress import Report
from maskmed_nnu.semantic.label_files import left_out_note
from maskmed_nnu.semantic.saving import Result

if TYPE_CHECKING:
    from pandas import DataFrame

IMAGE = "image.tif"
COLUMNS = ("AP", "AP50", "AP75", "F1@0.5", "F1@0.75", "DSB AP", "AJI", "PQ", "SQ", "RQ", "FROC", "lesion Dice")


@dataclass(frozen=True)
class ObjectEvaluation(Result):
    """Scores of objects, summed over all images: ``scores`` as `InstanceMetrics.compute` gives them.

    ``names``: number → name of each class. ``scored``: whether scores made the AP, or every object has the score 1.
    """

    scores: Mapping[str, Any]
    images: int
    max_detections: int
    names: Mapping[int, str]
    scored: bool = False
    notes: tuple[str, ...] = ()

    def to_table(self) -> DataFrame:
        """A pandas table with a row for each class and one for their mean."""
        from pandas import DataFrame

        rows = [
            (self.names.get(number, str(number)), of_class)
            for number, of_class in sorted(self.scores["per_class"].items())
        ]
        return DataFrame(
            [
                {"class": name} | {column: values.get(column, math.nan) for column in COLUMNS}
                for name, values in [*rows, ("mean", self.scores)]
            ]
        )

    def to_json(self) -> dict[str, Any]:
        """Everything, as `json.dump` takes it."""
        return {
            "images": self.images,
            "max_detections": self.max_detections,
            **with_names(dict(self.scores), dict(self.names)),
        }

    def shown_rows(self) -> list[dict[str, str]]:
        """The table, rounded."""
        return [
            {key: value if isinstance(value, str) else _shown(value) for key, value in row.items()}
            for row in self.to_table().to_dict("records")
        ]

    def title(self) -> str:
        """What the table is about."""
        return f"{count(self.images, 'image')}. {'AP by the scores' if self.scored else 'AP without scores'}."

    def __repr__(self) -> str:
        from pandas import DataFrame

        notes = "".join(f"\nNote: {note}." for note in self.notes)
        return f"{self.title()}\n{DataFrame(self.shown_rows()).to_string(index=False)}{notes}"

    def _repr_html_(self) -> str:
        from pandas import DataFrame

        notes = "".join(f"<p>Note: {escape(note)}.</p>" for note in self.notes)
        return f"<p>{escape(self.title())}</p>{DataFrame(self.shown_rows()).to_html(index=False)}{notes}"


def evaluate_objects(
    truth: Any,
    prediction: Any,
    dataset_json: dict[str, Any],
    *,
    scores: str | os.PathLike[str] | None = None,
    max_detections: int = 1000,
    flat: bool = False,
    only_predicted: bool = False,
    per_slice: bool = False,
    progress: Report | None = None,
) -> ObjectEvaluation:
    """Two folders of id maps, or one image.

    Raises
    ------
    InputError
        For what `maskmed_nnu.instances.metrics.evaluation.evaluate` refuses.
    """
    if max_detections < 1:
        raise InputError(f"max_detections is {max_detections}; give 1 or more objects per image.")
    if not all(is_path(one) and not Path(one).is_file() for one in (truth, prediction)):
        with TemporaryDirectory(prefix="maskmed-") as folder:
            places, found_scores = _write_image(Path(folder), truth, prediction)
            try:
                return evaluate_objects(
                    places[0],
                    places[1],
                    {**dataset_json, "file_ending": ".tif"},
                    scores=scores or found_scores,
                    max_detections=max_detections,
                    flat=flat,
                    per_slice=per_slice,
                )
            except InputError as error:  # the user knows no such files
                sentence = str(error)
                for name in places:
                    sentence = sentence.replace(str(name / IMAGE), name.name)
                raise InputError(sentence) from None
    truth, prediction = Path(truth), Path(prediction)
    check_folders(truth, prediction)
    faults = dataset_json_faults(dataset_json, "dataset.json", needs=("labels", "file_ending"))
    if faults:
        raise InputError(faults[0])
    names = {number: name for name, number in LabelFormat.from_dataset_json(dataset_json).classes.items()}
    results = CocoResults(Path(scores)) if scores is not None else None
    cases, left_out = find_cases(
        truth, prediction, dataset_json["file_ending"], only_predicted=only_predicted, any_ending=True
    )
    found, images, how_counted = evaluate(
        truth,
        prediction,
        dataset_json=dataset_json,
        cases=cases,
        results=results,
        max_detections=max_detections,
        flat=flat,
        per_slice=per_slice,
        progress=progress,
    )
    notes = [*check_roles(truth, prediction, None, ""), *how_counted]
    notes += [left_out_note(left_out, len(cases), truth)] if left_out else []
    notes += [] if results is None else results.notes
    return ObjectEvaluation(found, images, max_detections, names, results is not None, tuple(notes))


def _write_image(folder: Path, truth: Any, prediction: Any) -> tuple[list[Path], Path | None]:
    """One image as two folders, and what scores its objects have, as `maskmed predict` writes them."""
    places = [folder / "truth", folder / "prediction"]
    for place, label_map in zip(places, read_both(truth, prediction), strict=True):
        place.mkdir()
        formats.write(place / IMAGE, label_map.labels)
    if not isinstance(prediction, Prediction) or not prediction.has_objects:
        return places, None
    write_json(folder / "scores.json", prediction.to_coco("image", min_score=0))
    return places, folder / "scores.json"


def _shown(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3f}"
