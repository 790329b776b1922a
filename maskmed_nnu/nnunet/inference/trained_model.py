"""A trained model: where nnU-Net keeps it, and its preprocessing of one image."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import is_zipfile

from maskmed_nnu._startup import DISABLE_HOOK
from maskmed_nnu.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    from maskmed_nnu.nnunet.inference.input_cases import Case


def check_hook() -> None:
    """Refuse to go on where nnU-Net cannot find our trainers.

    Raises:
        InputError: where the hook is switched off.
    """
    if os.environ.get(DISABLE_HOOK, "") not in ("", "0"):
        raise InputError(f"{DISABLE_HOOK}={os.environ[DISABLE_HOOK]} hides our trainers from nnU-Net; unset it.")


def results_folder(dataset: str, *, trainer: str, plans: str, configuration: str) -> Path:
    """Where nnU-Net keeps the training of these names, below ``nnUNet_results``.

    Raises:
        InputError: where nnU-Net does not know the data set.
    """
    from nnunetv2.utilities.file_path_utilities import get_output_folder

    try:
        return Path(get_output_folder(dataset, trainer, plans, configuration))
    except (RuntimeError, TypeError) as error:
        raise InputError(f"-d {dataset} is not a data set that nnU-Net knows ({error}); check it.") from None


def is_whole(checkpoint: Path) -> bool:
    """Whether the end of a checkpoint is there: torch writes zip files, whose table of contents is at the end."""
    return is_zipfile(checkpoint)


def preprocess(
    predictor: nnUNetPredictor, case: Case, *, axes: str | None = None
) -> tuple[np.ndarray, np.ndarray, dict]:
    """The image as it is read, ``[C, Z, Y, X]``, what the model's preprocessing makes of it, and its properties.

    ``axes`` says what those of a TIFF are, to `InstanceIO`.

    Raises:
        InputError: where it cannot be read, or does not fit the model.
    """
    plans, dataset_json = predictor.plans_manager, predictor.dataset_json
    image, properties = read_files(plans.image_reader_writer_class(), case.files, dataset_json, axes=axes)
    return image, *preprocess_array(predictor, image, properties)


def preprocess_array(predictor: nnUNetPredictor, image: np.ndarray, properties: dict) -> tuple[np.ndarray, dict]:
    """What the model's preprocessing makes of ``image [C, Z, Y, X]``, as the model's reader gives it, and its
    properties, to which that adds.

    Raises:
        InputError: where the image does not fit the model.
    """
    from maskmed_nnu.nnunet.preprocessing.case_checks import channel_names, check_case

    check_case(image, None, channels=channel_names(predictor.dataset_json))  # nnU-Net's own preprocessor does not
    configuration = predictor.configuration_manager
    data, _, properties = configuration.preprocessor_class(verbose=False).run_case_npy(
        image, None, properties, predictor.plans_manager, configuration, predictor.dataset_json
    )
    return data, properties


def read_files(
    reader: Any,
    files: Sequence[Path],
    dataset_json: dict,
    *,
    axes: str | None = None,
    tell: Callable[[str], object] | None = None,
) -> tuple[np.ndarray, dict]:
    """One image ``[C, Z, Y, X]`` as the model's ``reader`` gives it, and nnU-Net's properties.

    ``tell`` is told what is doubtful about its place in space; by default that is printed.

    Raises:
        InputError: where it cannot be read.
    """
    from maskmed_nnu import itk  # noqa: F401  several threads may predict
    from maskmed_nnu.nnunet.inference.input_channels import fit_channels
    from maskmed_nnu.nnunet.preprocessing.case_checks import channel_names, check_files_on_disk, tell_user

    names = [str(path) for path in files]
    check_files_on_disk(names, None, reader=type(reader).__name__, tell=tell or tell_user)
    try:
        image, properties = reader.read_images(names, **({"axes": axes} if axes else {}))
    except InputError:
        raise
    except Exception as error:  # nnU-Net's readers raise whatever their libraries do
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise InputError(
            f"{type(reader).__name__} cannot read {names[0]} ({reason}); it reads "
            f"{', '.join(reader.supported_file_endings)}, with all channels of the same size."
        ) from None
    if len(names) == 1:
        image, properties = fit_channels(image, properties, channel_names(dataset_json))
    return image, properties
