"""A trained model: where nnU-Net keeps it, and its preprocessing of one image."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING
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
        raise InputError(f"-d {dataset} is no data set that nnU-Net knows ({error}); check it.") from None


def is_whole(checkpoint: Path) -> bool:
    """Whether the end of a checkpoint is there: torch writes zip files, whose table of contents stands at the end."""
    return is_zipfile(checkpoint)


def preprocess(
    predictor: nnUNetPredictor, case: Case, *, axes: str | None = None
) -> tuple[np.ndarray, np.ndarray, dict]:
    """The image as it is read, ``[C, Z, Y, X]``, what the model's preprocessing makes of it, and its properties.

    ``axes`` says what those of a TIFF are, to `InstanceIO`.

    Raises:
        InputError: where it cannot be read, or does not fit the model.
    """
    from maskmed_nnu.nnunet.inference.input_channels import fit_channels
    from maskmed_nnu.nnunet.preprocessing.case_checks import channel_names, check_files_on_disk

    plans, configuration = predictor.plans_manager, predictor.configuration_manager
    files = [str(path) for path in case.files]
    reader = plans.image_reader_writer_class()
    check_files_on_disk(files, None, reader=type(reader).__name__)
    try:
        image, properties = reader.read_images(files, **({"axes": axes} if axes else {}))
    except InputError:
        raise
    except Exception as error:  # nnU-Net's readers raise whatever their libraries do
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise InputError(
            f"{type(reader).__name__} cannot read {files[0]} ({reason}); it takes "
            f"{', '.join(reader.supported_file_endings)}, and all channels of one size."
        ) from None
    if len(files) == 1:
        image, properties = fit_channels(image, properties, channel_names(predictor.dataset_json))
    preprocessor = configuration.preprocessor_class(verbose=False)
    data, _, properties = preprocessor.run_case_npy(
        image, None, properties, plans, configuration, predictor.dataset_json
    )
    return image, data, properties
