"""``maskmed predict``: id maps as from ``nnUNetv2_predict``, COCO results and pictures of the objects in images."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Annotated

from typer import Option

from maskmed_nnu.atomic_write import remove_partial
from maskmed_nnu.cli.options import (
    Axes,
    Checkpoint,
    Configuration,
    Dataset,
    Device,
    Folds,
    Images,
    ModelPath,
    Plans,
    Trainer,
    model_source,
)
from maskmed_nnu.errors import InputError
from maskmed_nnu.json_file import read_json, write_json
from maskmed_nnu.nnunet.inference.trained_model import check_hook
from maskmed_nnu.output_paths import refuse_data_set_folder, refuse_output_over_input

if TYPE_CHECKING:
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    from maskmed_nnu.nnunet.inference.image_prediction import Outputs
    from maskmed_nnu.nnunet.inference.model_source import ModelSource
    from maskmed_nnu.nnunet.inference.prediction_records import CasePrediction

DESCRIPTION = """\
Find the objects in images of any format that can be read.

In the output folder, for every image:
  NAME.tif             ids as nnUNetv2_predict writes them (or .nii.gz …)
  coco/NAME.json       the same objects with scores, overlapping (RLE)
  overlays/NAME.png    the image with an outline of every object
and predictions_coco.json with the results of all images (image_id is NAME, of a slice NAME_z). It also lists the less
likely objects, down to a score of 0.05, which average precision asks for; maps and pictures leave them out.

An image that cannot be read costs one sentence; the others are predicted. After a stop the same command goes on; an
image that was changed is predicted again (predicted_from/NAME.json says what NAME was predicted from)."""
EXAMPLE = "maskmed predict -i pictures -o found -d 10 -f 0"
COCO_SCORE = 0.05
COCO, OVERLAYS, RESULTS = "coco", "overlays", "predictions_coco.json"


def run(
    input: Images,
    output: Annotated[Path, Option("-o", "--output", metavar="DIR", help="folder for the predictions")],
    axes: Axes = None,
    model: ModelPath = None,
    dataset: Dataset = None,
    tr: Trainer = "nnUNetTrainerIAUNet",
    p: Plans = "IAUNetPlans",
    c: Configuration = "2d",
    checkpoint: Checkpoint = "checkpoint_final.pth",
    folds: Folds = None,
    device: Device = "auto",
    mirroring: Annotated[bool, Option("--mirroring/--no-mirroring", help="average mirrored views")] = True,
    coco: Annotated[bool, Option("--coco/--no-coco", help="write COCO results")] = True,
    overlays: Annotated[bool, Option("--overlays/--no-overlays", help="draw pictures")] = True,
    overwrite: Annotated[bool, Option("--overwrite", help="predict images again that are predicted already")] = False,
) -> None:
    """Predict every image, then join the COCO results.

    Raises:
        InputError: before anything is predicted, where model, input or output are at fault; after everything is
            predicted, where some images could not be.
    """
    options = SimpleNamespace(**locals())
    check_hook()
    refuse_data_set_folder(options.output)
    from tqdm import tqdm

    from maskmed_nnu.nnunet.inference.image_prediction import lower_score_threshold, predict_image
    from maskmed_nnu.nnunet.inference.input_cases import find_cases
    from maskmed_nnu.nnunet.inference.model_record import describe_model
    from maskmed_nnu.nnunet.inference.prediction_records import CasePrediction, files_read, refuse_foreign_files
    from maskmed_nnu.nnunet.preprocessing.case_checks import channel_names

    source = model_source(
        options.model,
        options.dataset,
        options.checkpoint,
        trainer=options.tr,
        plans=options.p,
        configuration=options.c,
    )
    folds, dataset_json = source.choose_folds(options.folds), source.dataset_json
    cases = find_cases(options.input, channels=len(channel_names(dataset_json)))
    outputs = [_outputs(options, case.name, dataset_json["file_ending"]) for case in cases]
    reading = {"axes": options.axes} if options.axes else {}  # kept in the record of what was predicted from what
    predictions = [
        CasePrediction(options.output, case.name, files_read(case.files), files.paths(), reading)
        for case, files in zip(cases, outputs, strict=True)
    ]
    _check_output(options, source.path, predictions)
    refuse_foreign_files(predictions, beside=[RESULTS])

    predictor = _load(source, folds, options)
    described = describe_model(predictor)
    threshold = lower_score_threshold(predictor, COCO_SCORE)
    _prepare(predictor, described, {"model": source.name, "folds": folds, "checkpoint": options.checkpoint}, options)
    todo = _choose(predictions, described, overwrite=options.overwrite)
    remove_partial({path for i in todo for path in predictions[i].outputs})
    failed: set[int] = set()
    told: list[tuple[str, str]] = []
    with tqdm(todo, unit="image") as bar:
        for i in bar:
            bar.set_postfix_str(cases[i].name)
            predictor.warn = lambda sentence, name=cases[i].name: told.append((name, sentence))
            try:
                predict_image(
                    predictor, cases[i], outputs[i], record=predictions[i], model=described, threshold=threshold
                )
            except InputError as error:
                if not options.input.exists():
                    raise InputError(
                        f"{options.input} is gone, or its drive is; the same command goes on once it is back."
                    ) from None
                failed.add(i)
                tqdm.write(f"{cases[i].name}: {error}")
    print("".join(f"{line}\n" for line in _summed_up(told)), end="")
    _finish(options, [files for i, files in enumerate(outputs) if i not in failed], [case.name for case in cases])
    if failed:
        raise InputError(
            f"{len(failed)} of {len(cases)} images could not be predicted; the reason for each stands above."
        )
    evaluate = ["maskmed", "evaluate", "--truth", "TRUE_LABELS", "--prediction", str(options.output)]
    evaluate += ["--scores", str(options.output / RESULTS)] if options.coco else []
    print(f"Where the true objects are known: {shlex.join(evaluate)}")


def _check_output(options: SimpleNamespace, model: Path, predictions: list[CasePrediction]) -> None:
    """Refuse to write over the images or the model, or among the images.

    Raises:
        InputError: says which output is which input.
    """
    folders = [options.output, options.output / COCO, options.output / OVERLAYS]
    written = [path for case in predictions for path in case.outputs]
    written += [options.output / name for name in (RESULTS, "plans.json", "dataset.json")]
    images = [path for case in predictions for path in case.inputs]
    sources = {folder for path in images for folder in (path.parent, path.resolve().parent)} | {options.input, model}
    refuse_output_over_input([*folders, *written], [*sources, *images, model / "plans.json", model / "dataset.json"])


def _choose(predictions: list[CasePrediction], model: dict, *, overwrite: bool) -> list[int]:
    """Indices of the images to predict; says how many are predicted already, and which are predicted again and why."""
    from maskmed_nnu.nnunet.inference.prediction_records import cases_to_predict

    if overwrite:
        return list(range(len(predictions)))
    todo, lines = cases_to_predict(predictions, model)
    if len(todo) < len(predictions):
        print(
            f"{len(predictions) - len(todo)} of {len(predictions)} images are predicted already (--overwrite predicts "
            "them again)"
        )
    print("".join(f"{line}\n" for line in lines), end="")
    return todo


def _summed_up(told: list[tuple[str, str]]) -> list[str]:
    """Each kind of warning once, for the first image, with the names of the others; other numbers are no other kind."""
    from maskmed_nnu.instances.text import format_list

    kinds: dict[str, list[tuple[str, str]]] = {}
    for name, sentence in told:
        kinds.setdefault(re.sub(r"\d+", "", sentence.replace(name, "")), []).append((name, sentence))
    return [
        f"{alike[0][0]}: {alike[0][1]}"
        + (f" The same in {len(alike) - 1} more: {format_list(name for name, _ in alike[1:])}." if alike[1:] else "")
        for alike in kinds.values()
    ]


def _finish(options: SimpleNamespace, complete: list[Outputs], names: list[str]) -> None:
    """Join the results of the images, and name what the folder holds beside them."""
    from maskmed_nnu.instances.text import count, format_list
    from maskmed_nnu.nnunet.inference.prediction_records import recorded_names

    if options.coco:
        parts = [read_json(files.coco, expected="COCO results") for files in complete if files.coco is not None]
        results = [result for part in parts for result in part]
        write_json(options.output / RESULTS, results)
        print(f"{count(len(results), 'result')} in {count(len(complete), 'image')}: {options.output / RESULTS}")
    others = sorted(set(recorded_names(options.output)) - set(names))
    if others:
        print(
            f"{options.output} also holds predictions of {len(others)} images that are not in {options.input}, which "
            f"{RESULTS} leaves out: {format_list(others)}"
        )
    print(f"predictions {options.output}")


def _load(source: ModelSource, folds: list[str], options: SimpleNamespace) -> nnUNetPredictor:
    from maskmed_nnu.nnunet.inference.case_prediction import instance_network
    from maskmed_nnu.nnunet.plans_handling.label_manager import has_instances

    if not has_instances(source.plans):
        raise InputError(f"{source.name} holds a model for classes, not for objects; predict with nnUNetv2_predict.")
    predictor = source.predictor(folds, device=options.device, mirroring=options.mirroring)
    assert instance_network(predictor.network) is not None
    return predictor


def _prepare(predictor: nnUNetPredictor, model: dict, named: dict, options: SimpleNamespace) -> None:
    """The output folder with what nnU-Net puts there, and with the model that predicts into it."""
    from maskmed_nnu.nnunet.inference.model_record import check_model_record, write_model_record

    folder, plans = options.output, predictor.plans_manager.plans
    if not options.overwrite:
        note = check_model_record(
            folder, model, plans, advice="name a new folder, or replace them with --overwrite", named=named
        )
        print(note, end="")
    folder.mkdir(parents=True, exist_ok=True)
    for name, requested in ((COCO, options.coco), (OVERLAYS, options.overlays)):
        if requested:
            (folder / name).mkdir(exist_ok=True)
    write_model_record(folder, model, named)
    write_json(folder / "dataset.json", predictor.dataset_json, indent=2)
    write_json(folder / "plans.json", plans, indent=2)


def _outputs(options: SimpleNamespace, name: str, file_ending: str) -> Outputs:
    from maskmed_nnu.nnunet.inference.image_prediction import Outputs

    return Outputs(
        options.output / f"{name}{file_ending}",
        options.output / COCO / f"{name}.json" if options.coco else None,
        options.output / OVERLAYS / f"{name}.png" if options.overlays else None,
    )
