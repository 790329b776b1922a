"""What label maps mean: the ``dataset.json`` and the plans around them, and signs that folders were mixed up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from os.path import abspath
from pathlib import Path
from typing import Any

from maskmed_nnu.api.label_images import is_path
from maskmed_nnu.api.prediction import Prediction
from maskmed_nnu.dataset_json import dataset_json_faults, label_number, read_dataset_json
from maskmed_nnu.errors import InputError
from maskmed_nnu.instances.text import format_list
from maskmed_nnu.json_file import read_json
from maskmed_nnu.semantic.classes import Classes, check_partners

RECORDS = ("predicted_by.json", "predict_from_raw_data_args.json")
"""What `maskmed predict` and `nnUNetv2_predict` leave beside their predictions."""
TRUE_FOLDERS = ("labelsTr", "labelsTs", "labelsVal", "gt_segmentations")


def find_dataset_json(dataset: Any, truth: Any, *predictions: Any) -> tuple[dict[str, Any] | None, str]:
    """The ``dataset.json`` and what to call it; None where there is none.

    Raises:
        InputError: where it is faulty.
    """
    if isinstance(dataset, Mapping):
        faults = dataset_json_faults(dict(dataset), "dataset", needs=("labels",))
        if faults:
            raise InputError(faults[0])
        return dict(dataset), "dataset"
    if dataset is not None:
        path = Path(dataset)
        file = path / "dataset.json" if path.is_dir() else path
        return read_dataset_json(file, needs=("labels",)), str(file)
    places = []
    if is_path(truth):
        folder = _folder(truth)
        places += [folder, Path(abspath(folder)).parent, folder.resolve().parent]  # of a link, and of what it names
    for one in predictions:
        if isinstance(one, Prediction):
            return one._model.dataset_json, "the model's dataset.json"
        places += _around_prediction(one)
    for place in places:
        if (place / "dataset.json").is_file():
            return read_dataset_json(place / "dataset.json", needs=("labels",)), str(place / "dataset.json")
    return None, ""


def find_partners(prediction: Any, classes: Classes | None) -> list[tuple[int, int]]:
    """Pairs that ``plans.json`` beside the prediction exchanges when it mirrors; none where it does not say."""
    places = [place for place in _around_prediction(prediction) if (place / "plans.json").is_file()]
    if classes is None or not places:
        return []
    plans = read_json(places[0] / "plans.json", expected="nnU-Net's plans")
    configurations = plans.get("configurations") if isinstance(plans, dict) else None
    pairs: dict[frozenset[int], tuple[int, int]] = {}
    for configuration in configurations.values() if isinstance(configurations, dict) else ():
        mirroring = configuration.get("mirroring") if isinstance(configuration, dict) else None
        swap = mirroring.get("swap") if isinstance(mirroring, dict) else None
        for of_axis in swap.values() if isinstance(swap, dict) else ():
            pairs |= {frozenset(pair): (pair[0], pair[1]) for pair in of_axis}
    return check_partners(pairs.values(), classes)


def check_roles(truth: Any, prediction: Any, dataset_json: Mapping[str, Any] | None, name: str) -> Iterator[str]:
    """Notes on folders that may not be what they were taken for.

    Raises:
        InputError: where truth and prediction have changed places.
    """
    if not is_path(truth) or not is_path(prediction):
        return
    true, predicted = _folder(truth), _folder(prediction)
    record = next((name for name in RECORDS if (true / name).is_file()), None)
    if record and abspath(true) != abspath(predicted):
        if predicted.name in TRUE_FOLDERS:
            raise InputError(
                f"{true} was given as the truth, but holds predictions ({record}), and {predicted} as the prediction, "
                "but holds true label maps; exchange them."
            )
        yield f"{true}, which was taken for the truth, holds predictions ({record})"
    for place in _around_prediction(prediction):
        file = place / "dataset.json"
        if dataset_json is None or not file.is_file() or str(file) == name:
            continue
        own, other = (_numbers(one.get("labels")) for one in (dataset_json, read_json(file, expected="a dataset.json")))
        different = [label for label in own | other if own.get(label) != other.get(label)]
        if different:
            yield (
                f"{file} of the prediction has other labels than {name}, which was used: {format_list(different, 3)} "
                "differ; the scores are wrong if the same label means something else"
            )
        return


def _numbers(labels: Any) -> dict[str, tuple[int | None, ...]]:
    labels = labels if isinstance(labels, dict) else {}
    return {
        name: tuple(label_number(number) for number in (value if isinstance(value, list) else [value]))
        for name, value in labels.items()
    }


def _around_prediction(prediction: Any) -> list[Path]:
    """Its folder, and of a fold's validation the folder of the model."""
    if not is_path(prediction):
        return []
    folder = Path(abspath(_folder(prediction)))
    return [folder, *([folder.parent.parent] if folder.parent.name.startswith("fold_") else [])]


def _folder(path: Any) -> Path:
    path = Path(path)
    return path if path.is_dir() else path.parent
