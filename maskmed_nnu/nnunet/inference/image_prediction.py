"""One image of any format through the predictor: its id map, COCO results and picture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from PIL import Image

from maskmed_nnu.atomic_write import write_atomically
from maskmed_nnu.errors import InputError
from maskmed_nnu.instances import formats
from maskmed_nnu.instances.coco import coco_results
from maskmed_nnu.json_file import write_json
from maskmed_nnu.nnunet.inference.export_prediction import revert_preprocessing, write_slices
from maskmed_nnu.nnunet.inference.input_cases import Case
from maskmed_nnu.nnunet.inference.prediction_records import CasePrediction, announce_case, recording
from maskmed_nnu.nnunet.inference.predictor import prediction_settings
from maskmed_nnu.nnunet.inference.trained_model import preprocess
from maskmed_nnu.visualization.overlay import draw_overlay


class Outputs(NamedTuple):
    """Files of one image; None for those that are not written."""

    labels: Path
    coco: Path | None
    overlay: Path | None

    def paths(self) -> list[Path]:
        return [path for path in self if path is not None]


def lower_score_threshold(predictor: Any, score: float) -> float:
    """Let the predictor report objects from ``score`` on; returns the planned threshold, if that is higher."""
    configuration = predictor.configuration_manager.configuration
    threshold = prediction_settings(configuration)["score_threshold"]
    configuration["instances"] = {**configuration["instances"], "score_threshold": min(score, threshold)}
    return float(threshold)


def predict_image(
    predictor: Any,
    case: Case,
    outputs: Outputs,
    *,
    record: CasePrediction,
    model: Mapping[str, Any],
    threshold: float,
) -> None:
    """Predict one image, write its outputs and record what they are from; of a volume the picture shows the middle.

    ``record.options`` are those of `preprocess`. The predictor's ``warn`` is told what does not fit into the label map.

    Raises:
        InputError: where the image cannot be read or predicted; then nothing is written.
    """
    plans, configuration = predictor.plans_manager, predictor.configuration_manager
    announce_case(record, model)
    image, data, properties = preprocess(predictor, case, **record.options)
    if image.shape[1] > 1 and formats.ending(outputs.labels) in formats.IMAGE_2D:
        raise InputError(
            f"{case.files[0]} is a volume of {image.shape[1]} slices, but this model writes its maps as "
            f"{outputs.labels.suffix}, of one plane each; predict its slices as images of their own."
        )
    detections = revert_preprocessing(
        predictor.predict_logits_from_preprocessed_data(torch.from_numpy(data)), properties
    )
    slices = [part.select(part.scores >= threshold) for part in detections]
    with recording(record.folder, case.name, plans.plans):
        if outputs.overlay is not None:
            image = image.transpose(0, *(1 + axis for axis in plans.transpose_forward))
            middle = len(slices) // 2
            picture = Image.fromarray(draw_overlay(image[:, middle], slices[middle]))
            write_atomically(outputs.overlay, picture.save)
        if outputs.coco is not None:
            names = [case.name] if len(slices) == 1 else [f"{case.name}_{z}" for z in range(len(slices))]
            parts = zip(detections, names, strict=True)
            write_json(outputs.coco, [result for part, name in parts for result in coco_results(part, name)])
        write_slices(
            slices,
            str(outputs.labels),
            properties,
            plans_manager=plans,
            configuration=configuration.configuration,
            dataset_json=predictor.dataset_json,
            warn=predictor.warn,
        )
