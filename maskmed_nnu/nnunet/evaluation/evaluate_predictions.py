"""``nnUNetv2_evaluate_folder`` and ``nnUNetv2_evaluate_simple`` for label maps of objects."""

from __future__ import annotations

import functools
import shlex
from pathlib import Path
from typing import Any

from maskmed_nnu.errors import InputError
from maskmed_nnu.json_file import read_json
from maskmed_nnu.nnunet.evaluation.plain_errors import speak_plainly

READER = "InstanceIO"


def wrap_evaluation(module: Any) -> None:
    """Wrap what ``nnunetv2.evaluation.evaluate_predictions`` has for the two commands.

    nnU-Net compares the classes of pixels. Our reader tells it the classes of objects, by the ``dataset.json`` that the
    user named.
    """
    stock_reader = module.determine_reader_writer_from_dataset_json
    stock_folder = module.compute_metrics_on_folder2
    stock_simple = module.compute_metrics_on_folder_simple

    @functools.wraps(stock_reader)
    def determine_reader_writer_from_dataset_json(dataset_json_content: dict, *args: Any, **kwargs: Any) -> Any:
        reader = stock_reader(dataset_json_content, *args, **kwargs)
        if reader.__name__ != READER:
            return reader
        from maskmed_nnu.instances.instance_map import LabelFormat

        return functools.partial(reader, LabelFormat.from_dataset_json(dataset_json_content))

    @functools.wraps(stock_folder)
    def compute_metrics_on_folder2(
        folder_ref: str,
        folder_pred: str,
        dataset_json_file: str,
        plans_file: str,
        output_file: str | None = None,
        num_processes: int = module.default_num_processes,
        chill: bool = False,
    ) -> None:
        dataset = read_json(dataset_json_file, expected="a dataset.json") if Path(dataset_json_file).is_file() else {}
        of_objects = declares_objects(dataset)
        if of_objects and not chill:
            from maskmed_nnu.instances.metrics.evaluation import find_cases

            find_cases(Path(folder_ref), Path(folder_pred), dataset["file_ending"])
        stock_folder(folder_ref, folder_pred, dataset_json_file, plans_file, output_file, num_processes, chill)
        if of_objects:
            print(
                f"{output_file or Path(folder_pred) / 'summary.json'}: Dice and IoU of the classes of pixels, "
                f"not of objects; to evaluate the objects: {evaluate_command(folder_ref, folder_pred)}"
            )

    @functools.wraps(stock_simple)
    def compute_metrics_on_folder_simple(folder_ref: str, folder_pred: str, *args: Any, **kwargs: Any) -> None:
        for folder in (folder_ref, folder_pred):
            absolute = Path(folder).absolute()
            files = [place / "dataset.json" for place in (absolute, absolute.parent)]
            file = next((file for file in files if file.is_file()), None)
            if file is not None and declares_objects(read_json(file, expected="a dataset.json")):
                raise InputError(
                    f"The label maps in {folder} hold ids of objects ({file}), which nnUNetv2_evaluate_simple would "
                    "read as classes; use nnUNetv2_evaluate_folder for the Dice of classes, or evaluate the objects: "
                    f"{evaluate_command(folder_ref, folder_pred)}"
                )
        stock_simple(folder_ref, folder_pred, *args, **kwargs)

    module.determine_reader_writer_from_dataset_json = determine_reader_writer_from_dataset_json
    module.compute_metrics_on_folder2 = compute_metrics_on_folder2
    module.compute_metrics_on_folder_simple = compute_metrics_on_folder_simple
    speak_plainly(module, "evaluate_folder_entry_point", "evaluate_simple_entry_point")


def declares_objects(dataset_json: Any) -> bool:
    """Whether a ``dataset.json`` names our reader."""
    return isinstance(dataset_json, dict) and dataset_json.get("overwrite_image_reader_writer") == READER


def evaluate_command(truth: str, prediction: str) -> str:
    return shlex.join(["maskmed", "evaluate", str(prediction), str(truth)])
