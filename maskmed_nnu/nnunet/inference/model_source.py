"""Where a trained model comes from: a training's folder, or a package.

Nothing heavy is imported before its predictor is built.

>>> open_model("results/Dataset004/nnUNetTrainerMaskMed__MaskMedPlans__3d_fullres").folds  # doctest: +SKIP
('0', '1')
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from maskmed_nnu.errors import InputError
from maskmed_nnu.instances.text import format_list
from maskmed_nnu.json_file import read_json
from maskmed_nnu.nnunet.inference.trained_model import is_whole

if TYPE_CHECKING:
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

FINAL_CHECKPOINT = "checkpoint_final.pth"
CONTENTS = "fold_0 or fold_all, plans.json and dataset.json"


class ModelSource(Protocol):
    """A trained model that can be loaded."""

    @property
    def name(self) -> str:
        """For messages and records."""

    @property
    def path(self) -> Path:
        """The file or folder that it is read from."""

    @property
    def plans(self) -> dict[str, Any]:
        """nnU-Net's plans."""

    @property
    def dataset_json(self) -> dict[str, Any]:
        """The description of the data set that it was trained on."""

    @property
    def folds(self) -> tuple[str, ...]:
        """Those that are trained."""

    def choose_folds(self, requested: Sequence[str | int] | str | int | None) -> list[str]:
        """The folds to combine; by default all numbered ones, or else ``all``.

        Raises:
            InputError: for one that was not trained, or is damaged.
        """

    def predictor(self, folds: Sequence[str], *, device: str, mirroring: bool) -> nnUNetPredictor:
        """nnU-Net's predictor with the weights of ``folds``; ``device`` as in `choose_device`.

        Raises:
            InputError: for weights that cannot be read, or do not fit the plans.
        """


def open_model(source: str | Path, *, checkpoint: str = FINAL_CHECKPOINT) -> ModelSource:
    """The trained model in ``source``: the folder of a training, a model package, or the name of one of ours.

    A name that comes with maskmed_nnu, as ``"nuclei"``, means that model in every working directory; a file or folder
    of the same name is written ``"./nuclei"``, or given as a `Path`. ``checkpoint`` names the file of the weights in
    each fold of a folder.

    Raises:
        InputError: where there is no model, or none that is trained.
    """
    from maskmed_nnu.nnunet.inference.model_package import built_in_models

    built_in = built_in_models()
    if isinstance(source, str) and source in built_in:
        return _open_package(built_in[source], checkpoint)
    path = Path(source).expanduser()
    if path.is_file() and (path.suffix.lower() == ".zip" or is_whole(path)):
        return _open_package(path, checkpoint)
    if not path.exists() and path.name == str(source):
        raise InputError(
            f"There is no model {source}; name a folder of a training, which holds {CONTENTS}, a package of "
            f"`maskmed export`, or one of our models: {format_list(built_in) or 'none'}."
        )
    return FolderModel(path, checkpoint=checkpoint)


def _open_package(file: Path, checkpoint: str) -> ModelSource:
    from maskmed_nnu.nnunet.inference.model_package import PackageModel

    if checkpoint != FINAL_CHECKPOINT:
        raise InputError(
            f"{file} is a model package, which holds one set of weights; leave {checkpoint} out, or name the folder of "
            "the training."
        )
    return PackageModel(file)


class FolderModel:
    """The folder of a training, as nnU-Net leaves it."""

    def __init__(self, folder: str | Path, *, checkpoint: str = FINAL_CHECKPOINT) -> None:
        self.path, self.plans, self.dataset_json = read_training(Path(folder))
        self.name = str(self.path)
        self.checkpoint = checkpoint
        found = self.path.glob(f"fold_*/{checkpoint}")
        self.folds = tuple(sorted(file.parent.name.removeprefix("fold_") for file in found))
        if not self.folds:
            others = sorted({file.name for file in self.path.glob("fold_*/*.pth")})
            advice = f"there is {format_list(others)}; give it as the checkpoint" if others else "train it first"
            raise InputError(f"No fold in {self.path} has a {checkpoint}; {advice}.")

    def choose_folds(self, requested: Sequence[str | int] | str | int | None) -> list[str]:
        """See `ModelSource`."""
        folds = chosen_folds(self.folds, requested, name=self.name, lacking=f"has no {self.checkpoint}")
        for file in map(self._weights, folds):
            if not is_whole(file):
                raise InputError(f"{file} is damaged or truncated; copy it again, or name another checkpoint.")
        return folds

    def predictor(self, folds: Sequence[str], *, device: str, mirroring: bool) -> nnUNetPredictor:
        """See `ModelSource`."""
        from maskmed_nnu.nnunet.inference.build_predictor import build_predictor, load_checkpoint

        checkpoints = {file: load_checkpoint(file) for file in map(self._weights, folds)}
        first = next(iter(checkpoints.values()))
        return build_predictor(
            self.plans,
            self.dataset_json,
            trainer=first["trainer_name"],
            configuration=first["init_args"]["configuration"],
            mirroring_axes=first.get("inference_allowed_mirroring_axes"),
            weights={str(file): checkpoint["network_weights"] for file, checkpoint in checkpoints.items()},
            device=device,
            mirroring=mirroring,
            name=self.name,
        )

    def _weights(self, fold: str) -> Path:
        return self.path / f"fold_{fold}" / self.checkpoint


def read_training(folder: Path) -> tuple[Path, dict[str, Any], dict[str, Any]]:
    """The whole path of a training's folder, its plans and its ``dataset.json``, whether it is finished or not.

    Raises:
        InputError: where it is none, or none of nnU-Net v2.
    """
    path = folder.expanduser()
    _check_folder(path)
    path = path.resolve()
    plans = _read_mapping(path / "plans.json", "nnU-Net's plans")
    dataset_json = _read_mapping(path / "dataset.json", "the description of the data set that the model was trained on")
    _check_release(plans, dataset_json, path)
    return path, plans, dataset_json


def chosen_folds(
    trained: Sequence[str], requested: Sequence[str | int] | str | int | None, *, name: str, lacking: str
) -> list[str]:
    """Those of the ``trained`` folds that are ``requested``; by default all numbered ones, or else ``all``.

    >>> chosen_folds(["0", "1", "all"], None, name="model", lacking="was not trained")
    ['0', '1']

    Raises:
        InputError: for one that is not trained; ``lacking`` says what that means.
    """
    if requested is None:
        return [fold for fold in trained if fold != "all"] or list(trained)
    asked = [requested] if isinstance(requested, (str, int)) else requested
    folds = list(dict.fromkeys(str(fold) for fold in asked))
    missing = [fold for fold in folds if fold not in trained]
    if missing:
        raise InputError(f"Fold {missing[0]} in {name} {lacking}; the folds that have one are {', '.join(trained)}.")
    if not folds:
        raise InputError(f"No fold of {name} is named; the trained ones are {', '.join(trained)}.")
    return folds


def _check_folder(path: Path) -> None:
    """Refuse what is not a folder of a training."""
    if not path.exists():
        raise InputError(
            f"There is no model {path}; name the folder of a training, which holds {CONTENTS}, or a model package."
        )
    if path.is_file():
        raise InputError(
            f"{path} is a file, not a model; name the folder of a training, which holds {CONTENTS}, or a model package."
        )
    if (path / "plans.json").is_file():
        return
    if any(path.glob("*.pkl")):
        raise InputError(
            f"{path} holds a model of nnU-Net v1 (its plans are a pickle file), which v2 cannot load; train it again "
            "with nnU-Net v2."
        )
    inside = sorted(
        file.parent.relative_to(path) for file in [*path.glob("*/plans.json"), *path.glob("*/*/plans.json")]
    )
    if inside:
        raise InputError(f"{path} holds no plans.json, but models below it: name {format_list(inside)}.")
    if (path.resolve().parent / "plans.json").is_file():
        raise InputError(f"{path} is part of a model; name the folder above it, {path.resolve().parent}.")
    raise InputError(f"{path} holds no plans.json; name the folder of a training, which holds {CONTENTS}.")


def _check_release(plans: Mapping[str, Any], dataset_json: Mapping[str, Any], path: Path) -> None:
    """Refuse files that are not laid out as those of nnU-Net v2."""
    for file, content, keys in (
        ("plans.json", plans, ("configurations", "image_reader_writer", "transpose_forward")),
        ("dataset.json", dataset_json, ("labels", "file_ending")),
    ):
        missing = [key for key in keys if key not in content]
        if missing:
            raise InputError(
                f"{path / file} has no {format_list(missing)}, so it is not from nnU-Net v2; copy the whole "
                "folder of the model again, or train it with nnU-Net v2."
            )


def _read_mapping(file: Path, expected: str) -> dict[str, Any]:
    content = read_json(file, expected=expected)
    if not isinstance(content, dict):
        raise InputError(f"{file} is not a JSON object; {expected} is needed there.")
    return content
