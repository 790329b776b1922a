"""A model package as a source of predictors, and the packages that come with maskmed_nnu."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maskmed_nnu.errors import InputError
from maskmed_nnu.instances.text import format_list
from maskmed_nnu.nnunet.inference.model_source import chosen_folds
from maskmed_nnu.nnunet.inference.package_file import CARD, DATASET, PLANS, PackageFile, weights_file
from maskmed_nnu.nnunet.inference.package_plans import check_names

if TYPE_CHECKING:
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
    from torch import Tensor

MODELS = Path(str(files("maskmed_nnu"))) / "models"


def built_in_models() -> dict[str, Path]:
    """The packages that come with maskmed_nnu, by name."""
    return {file.stem: file for file in sorted(MODELS.glob("*.zip"))}


def example_picture(name: str) -> Path:
    """The picture beside the package of one of our models.

    Raises:
        InputError: for a name that none has.
    """
    if name not in built_in_models():
        raise InputError(f"None of our models is called {name!r}; there is {format_list(built_in_models())}.")
    return MODELS / f"{name}_example.png"


class PackageModel:
    """The package that `maskmed export` wrote. It is read where it lies; nothing of it is unpacked or executed.

    Raises:
        InputError: where the file is damaged, no package, of a release that we do not know, or has plans that name what
            no model needs.
    """

    def __init__(self, file: str | Path) -> None:
        self.path = Path(file).expanduser().resolve()
        self.name = str(self.path)
        self._package = PackageFile(self.path)
        self.manifest = self._package.manifest
        self.plans: dict[str, Any] = self._package.read_json(PLANS)
        self.dataset_json: dict[str, Any] = self._package.read_json(DATASET)
        self.folds = tuple(self.manifest.folds)
        check_names(
            self.plans,
            self.dataset_json,
            trainer=self.manifest.trainer,
            configuration=self.manifest.configuration,
            axes=self.manifest.mirroring_axes or (),
            source=self.name,
        )

    def choose_folds(self, requested: Sequence[str | int] | str | int | None) -> list[str]:
        """See `ModelSource`."""
        return chosen_folds(self.folds, requested, name=self.name, lacking="is not in the package")

    @property
    def card(self) -> bytes:
        """The model card, Markdown."""
        return self._package.read(CARD)

    def weights(self, folds: Sequence[str]) -> dict[str, dict[str, Tensor]]:
        """The network's state dict of each of ``folds``, in float32.

        Raises:
            InputError: where plans name what is not a network, or weights do not fit them.
        """
        import torch

        from maskmed_nnu.nnunet.inference.build_predictor import build_network
        from maskmed_nnu.nnunet.inference.package_plans import check_classes
        from maskmed_nnu.nnunet.inference.package_weights import unpack_weights

        check_classes(self.plans, configuration=self.manifest.configuration, source=self.name)
        with torch.device("meta"):  # weights of other shapes are refused before the memory for them is taken
            network, *_ = build_network(
                self.plans,
                self.dataset_json,
                trainer=self.manifest.trainer,
                configuration=self.manifest.configuration,
                name=self.name,
            )
        return {
            fold: unpack_weights(
                self._package.read(weights_file(fold)),
                network.state_dict(),
                source=self._weights_name(fold),
            )
            for fold in folds
        }

    def predictor(self, folds: Sequence[str], *, device: str, mirroring: bool) -> nnUNetPredictor:
        """See `ModelSource`."""
        from maskmed_nnu.nnunet.inference.build_predictor import build_predictor

        weights = self.weights(folds)
        return build_predictor(
            self.plans,
            self.dataset_json,
            trainer=self.manifest.trainer,
            configuration=self.manifest.configuration,
            mirroring_axes=self.manifest.mirroring_axes,
            weights={self._weights_name(fold): state for fold, state in weights.items()},
            device=device,
            mirroring=mirroring,
            name=self.name,
        )

    def _weights_name(self, fold: str) -> str:
        return f"{weights_file(fold)} of {self.name}"
