"""``maskmed predict``: id maps as from ``nnUNetv2_predict``, COCO results and pictures of the objects in images."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from maskmed_nnu.atomic_write import write_atomically
from maskmed_nnu.cli.options import add_axes_argument, add_model_arguments, model_folder
from maskmed_nnu.errors import InputError
from maskmed_nnu.nnunet.inference.devices import DEVICES
from maskmed_nnu.nnunet.inference.trained_model import check_hook, load_predictor, preprocess, trained_folds

if TYPE_CHECKING:
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    from maskmed_nnu.nnunet.inference.input_cases import Case

DESCRIPTION = """\
Predict the objects in images of any format that can be read. In the output folder, for every image:

  NAME.tif (or .png, .nii.gz)   ids in the data set's encoding, as nnUNetv2_predict writes them
  coco/NAME.json                the same objects with scores, overlapping where they do (RLE)
  overlays/NAME.png             the image with an outline of every object

and predictions_coco.json with the results of all images (image_id is NAME, of a slice NAME_z). It also lists the
less likely objects, down to a score of 0.05, which average precision asks for; maps and pictures leave them out.
An image that cannot be read costs one sentence; the others are predicted. After a stop the same command goes on."""
COCO_SCORE = 0.05
COCO, OVERLAYS, RESULTS, MODEL_RECORD = "coco", "overlays", "predictions_coco.json", "predicted_by.json"


class Outputs(NamedTuple):
    """Files of one image; None for those that are not written."""

    labels: Path
    coco: Path | None
    overlay: Path | None

    def complete(self) -> bool:
        return all(path.is_file() for path in self if path is not None)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``maskmed predict``."""
    parser.add_argument("-i", "--input", type=Path, required=True, metavar="PATH", help="folder of images, or an image")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="folder for the predictions")
    add_axes_argument(parser)
    model = add_model_arguments(parser, trainer="nnUNetTrainerIAUNet", plans="IAUNetPlans")
    model.add_argument(
        "-f", "--folds", nargs="+", metavar="FOLD", help="folds to combine (default: all that are trained)"
    )
    parser.add_argument("--device", choices=DEVICES, default="auto", help="(%(default)s)")
    parser.add_argument(
        "--mirroring", action=argparse.BooleanOptionalAction, default=True, help="average mirrored views"
    )
    parser.add_argument("--coco", action=argparse.BooleanOptionalAction, default=True, help="write COCO results")
    parser.add_argument("--overlays", action=argparse.BooleanOptionalAction, default=True, help="draw pictures")
    parser.add_argument("--overwrite", action="store_true", help="predict images again that are predicted already")


def run(options: argparse.Namespace) -> None:
    """Predict every image, then join the COCO results.

    Raises:
        InputError: before anything is predicted, where model or input are at fault; after everything is predicted,
            where some images could not be.
    """
    check_hook()
    from tqdm import tqdm

    from maskmed_nnu.nnunet.inference.input_cases import find_cases
    from maskmed_nnu.nnunet.preprocessing.case_checks import channel_names

    folder = model_folder(options)
    folds = trained_folds(folder, options.folds, options.checkpoint)
    predictor = _load(folder, folds, options)
    threshold = _lower_score_threshold(predictor, COCO_SCORE)
    cases = find_cases(options.input, channels=len(channel_names(predictor.dataset_json)))
    _prepare(
        options.output, predictor, {"model": str(folder), "folds": folds, "checkpoint": options.checkpoint}, options
    )

    outputs = [_outputs(options, case.name, predictor.dataset_json["file_ending"]) for case in cases]
    todo = [i for i, files in enumerate(outputs) if options.overwrite or not files.complete()]
    if len(todo) < len(cases):
        print(
            f"{len(cases) - len(todo)} of {len(cases)} images are predicted already (--overwrite predicts them again)"
        )
    failed = 0
    with tqdm(todo, unit="image") as bar:
        for i in bar:
            bar.set_postfix_str(cases[i].name)
            try:
                _predict(predictor, cases[i], outputs[i], threshold, options.axes)
            except InputError as error:
                failed += 1
                tqdm.write(f"{cases[i].name}: {error}")
    complete = [files for files in outputs if files.complete()]
    if options.coco:
        count = _join_results([files.coco for files in complete if files.coco is not None], options.output / RESULTS)
        print(f"{count} results in {len(complete)} images: {options.output / RESULTS}")
    print(f"predictions {options.output}")
    if failed:
        raise InputError(f"{failed} of {len(cases)} images could not be predicted; the reason for each stands above.")


def _load(folder: Path, folds: list[str], options: argparse.Namespace) -> nnUNetPredictor:
    from maskmed_nnu.nnunet.inference.case_prediction import instance_network
    from maskmed_nnu.nnunet.plans_handling.label_manager import has_instances

    plans = json.loads((folder / "plans.json").read_text(encoding="utf-8"))
    if not has_instances(plans):
        raise InputError(f"{folder} holds a model for classes, not for objects; predict with nnUNetv2_predict.")
    predictor = load_predictor(
        folder, folds, checkpoint=options.checkpoint, device=options.device, mirroring=options.mirroring
    )
    assert instance_network(predictor.network) is not None
    return predictor


def _lower_score_threshold(predictor: nnUNetPredictor, score: float) -> float:
    """Let the predictor report objects from ``score`` on; returns the planned threshold, if that is higher."""
    from maskmed_nnu.nnunet.inference.predictor import prediction_settings

    configuration = predictor.configuration_manager.configuration
    threshold = prediction_settings(configuration)["score_threshold"]
    configuration["instances"] = {**configuration["instances"], "score_threshold": min(score, threshold)}
    return threshold


def _prepare(folder: Path, predictor: nnUNetPredictor, model: dict, options: argparse.Namespace) -> None:
    """The output folder with what nnU-Net puts there, and with the name of the model that predicts into it."""
    record = folder / MODEL_RECORD
    if record.is_file() and not options.overwrite and json.loads(record.read_text(encoding="utf-8")) != model:
        raise InputError(
            f"{folder} holds predictions of another model or other folds ({record}); name a new folder, or replace "
            "them with --overwrite."
        )
    folder.mkdir(parents=True, exist_ok=True)
    for name, requested in ((COCO, options.coco), (OVERLAYS, options.overlays)):
        if requested:
            (folder / name).mkdir(exist_ok=True)
    contents = {
        MODEL_RECORD: model,
        "dataset.json": predictor.dataset_json,
        "plans.json": predictor.plans_manager.plans,
    }
    for name, content in contents.items():
        _write_json(folder / name, content, indent=2)


def _outputs(options: argparse.Namespace, name: str, file_ending: str) -> Outputs:
    return Outputs(
        options.output / f"{name}{file_ending}",
        options.output / COCO / f"{name}.json" if options.coco else None,
        options.output / OVERLAYS / f"{name}.png" if options.overlays else None,
    )


def _predict(predictor: nnUNetPredictor, case: Case, outputs: Outputs, threshold: float, axes: str | None) -> None:
    """Predict one image and write the outputs that were requested; of a volume the picture shows the middle slice."""
    import torch
    from PIL import Image

    from maskmed_nnu.instances.coco import coco_results
    from maskmed_nnu.nnunet.inference.export_prediction import revert_preprocessing, write_slices
    from maskmed_nnu.visualization.overlay import draw_overlay

    plans, configuration = predictor.plans_manager, predictor.configuration_manager
    image, data, properties = preprocess(predictor, case, axes=axes)
    detections = revert_preprocessing(
        predictor.predict_logits_from_preprocessed_data(torch.from_numpy(data)), properties
    )
    slices = [part.select(part.scores >= threshold) for part in detections]
    if outputs.overlay is not None:
        image = image.transpose(0, *(1 + axis for axis in plans.transpose_forward))
        middle = len(slices) // 2
        picture = Image.fromarray(draw_overlay(image[:, middle], slices[middle]))
        write_atomically(outputs.overlay, picture.save)
    if outputs.coco is not None:
        names = [case.name] if len(slices) == 1 else [f"{case.name}_{z}" for z in range(len(slices))]
        parts = zip(detections, names, strict=True)
        _write_json(outputs.coco, [result for part, name in parts for result in coco_results(part, name)])
    write_slices(
        slices,
        str(outputs.labels),
        properties,
        plans_manager=plans,
        configuration=configuration.configuration,
        dataset_json=predictor.dataset_json,
    )


def _join_results(parts: list[Path], path: Path) -> int:
    """Write all results as one list; returns how many there are."""
    results = [result for part in parts for result in json.loads(part.read_text(encoding="utf-8"))]
    _write_json(path, results)
    return len(results)


def _write_json(path: Path, content: object, indent: int | None = None) -> None:
    write_atomically(
        path, lambda partial: partial.write_text(json.dumps(content, indent=indent) + "\n", encoding="utf-8")
    )
