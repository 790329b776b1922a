"""Predicting files with networks of ours: never over the input, beyond images that cannot be predicted, and what is
skipped was made by this model from this image."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from maskmed_nnu.atomic_write import remove_partial
from maskmed_nnu.nnunet.inference.failed_cases import FailedCases, failure_lines, refuse_failed
from maskmed_nnu.nnunet.inference.input_cases import check_numbers, numbered_files
from maskmed_nnu.nnunet.inference.model_record import check_model_record, describe_model, write_model_record
from maskmed_nnu.nnunet.inference.prediction_records import (
    NNUNET_RECORD,
    CasePrediction,
    announce_case,
    cases_to_predict,
    files_read,
    refuse_foreign_files,
)
from maskmed_nnu.nnunet.plans_handling.label_manager import is_ours
from maskmed_nnu.output_paths import refuse_data_set_folder, refuse_output_over_input

PROBABILITIES = ".npz"
SOURCE, OUTPUT = "list_of_lists_or_source_folder", "output_folder_or_list_of_truncated_output_files"
"""nnU-Net's names of arguments."""


def wrap_file_prediction(predictor_class: Any) -> None:
    """Wrap the methods of ``nnUNetPredictor`` that read and write files; those of other networks stay as they are."""
    stock_files = predictor_class.predict_from_files
    predictor_class.predict_from_files = _checked(stock_files, stock_files)
    predictor_class.predict_from_files_sequential = _checked(
        predictor_class.predict_from_files_sequential,
        functools.partial(stock_files, num_processes_preprocessing=0, num_processes_segmentation_export=0),
    )
    stock = predictor_class._manage_input_and_output_lists
    signature = inspect.signature(stock)

    @functools.wraps(stock)
    def _manage_input_and_output_lists(self: Any, *args: Any, **kwargs: Any) -> Any:
        if not _is_ours(self):
            return stock(self, *args, **kwargs)
        given = signature.bind(self, *args, **kwargs)
        given.apply_defaults()
        overwrite, given.arguments["overwrite"] = given.arguments["overwrite"], True
        source, ending = given.arguments[SOURCE], self.dataset_json["file_ending"]
        if isinstance(source, str):
            given.arguments[SOURCE] = [[str(path) for path in files] for files in numbered_files(Path(source), ending)]
        files, truncated, previous = stock(*given.args, **given.kwargs)
        if truncated is None:
            return files, truncated, previous
        cases = [
            _case(output, ending, images, stage, given.arguments["save_probabilities"])
            for output, images, stage in zip(truncated, files, previous, strict=True)
        ]
        model = describe_model(self)
        todo = list(range(len(cases)))
        if not overwrite:
            todo, lines = cases_to_predict(cases, model)
            print(
                f"{len(cases) - len(todo)} of {len(cases)} cases are predicted already, by this model and from these "
                "files."
            )
            print("".join(f"{line}\n" for line in lines), end="")
        remove_partial({path for index in todo for path in cases[index].outputs})
        failed, left = getattr(self, "failed_cases", FailedCases()), []
        failed.total = len(cases)
        for index in todo:
            case = cases[index]
            with failed.noted(case.name, case.folder):
                if isinstance(source, str):
                    check_numbers(case.name, files[index], ending)
                announce_case(case, model)
                left.append(index)
        return tuple([values[index] for index in left] for values in (files, truncated, previous))

    predictor_class._manage_input_and_output_lists = _manage_input_and_output_lists


def _is_ours(predictor: Any) -> bool:
    return is_ours(predictor.plans_manager.plans, predictor.configuration_manager.configuration)


def _checked(stock: Callable[..., Any], predict_files: Callable[..., Any]) -> Callable[..., Any]:
    """``predict_from_files`` or its sequential twin, ``stock``, which refuses its output before anything is written,
    and tells at its end which images could not be predicted. ``predict_files`` is what then does it."""
    signature = inspect.signature(stock)

    @functools.wraps(stock)
    def predict(self: Any, *args: Any, **kwargs: Any) -> Any:
        given = signature.bind(self, *args, **kwargs)
        given.apply_defaults()
        _, source, output = list(given.arguments.values())[:3]
        if not (_is_ours(self) and output and isinstance(output, str | list)):  # else nnU-Net returns what it predicts
            return stock(self, *args, **kwargs)
        _check_output(self, source, output, given.arguments)
        if isinstance(output, list):
            given.arguments[OUTPUT] = [os.path.abspath(path) for path in output]
        failed = self.failed_cases = FailedCases(Path(source) if isinstance(source, str) else None)
        try:
            predict_files(**given.arguments)
        finally:
            del self.failed_cases
            for line in failure_lines(failed.reasons):
                print(line, flush=True)
        return refuse_failed(failed.reasons, failed.total)

    return predict


def _check_output(predictor: Any, source: Any, output: Any, options: dict[str, Any]) -> None:
    """Refuse an output among the input, in a data set, or among predictions of another model.

    Raises:
        InputError: says what is where.
    """
    ending, earlier = predictor.dataset_json["file_ending"], options["folder_with_segs_from_prev_stage"]
    if isinstance(source, str):
        images = [[str(path)] for path in sorted(Path(source).glob(f"*{ending}"))]
        inputs: list[Path | str] = [source]
    else:
        images, inputs = source, []
    if isinstance(output, str):
        truncated = [str(Path(output) / Path(files[0]).name[: -len(ending) - 5]) for files in images]
        folders = [Path(output)]
    else:
        truncated, folders = output, sorted({Path(path).parent for path in output})
    cases = [
        _case(path, ending, files, None, options["save_probabilities"])
        for path, files in zip(truncated, images, strict=False)
    ]
    inputs += [path for files in images for path in files] + ([earlier] if earlier else [])
    own = [folder / name for folder in folders for name in ("dataset.json", "plans.json", NNUNET_RECORD)]
    refuse_output_over_input([*folders, *own, *(path for case in cases for path in case.outputs)], inputs)
    for folder in folders:
        refuse_data_set_folder(folder)
    refuse_foreign_files(cases)
    model = describe_model(predictor)
    for folder in folders:
        if not options["overwrite"]:
            note = check_model_record(
                folder,
                model,
                predictor.plans_manager.plans,
                named={},
                advice="name another folder, or replace them by omitting --continue_prediction",
            )
            print(note, end="")
        folder.mkdir(parents=True, exist_ok=True)
        write_model_record(folder, model, {})


def _case(truncated: str, ending: str, images: list[str], stage: str | None, probabilities: bool) -> CasePrediction:
    """What nnU-Net reads and writes for a case."""
    output = Path(truncated)
    inputs = [*files_read([Path(path) for path in images]), *([Path(stage)] if stage else [])]
    endings = [ending, *([PROBABILITIES] if probabilities else [])]
    outputs = [output.with_name(output.name + end) for end in endings]
    return CasePrediction(output.parent, output.name, inputs, outputs)
