"""nnU-Net's preprocessing with a look at every case first."""

from __future__ import annotations

import numpy as np
from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager

from maskmed_nnu.errors import InputError


class MaskMedPreprocessor(DefaultPreprocessor):
    """The same arrays as `DefaultPreprocessor`, or one sentence about what is wrong with the case.

    nnU-Net checks nothing at prediction time: a missing channel dies deep inside, NaN becomes silent background.
    """

    def run_case(
        self,
        image_files: list[str],
        seg_file: str | None,
        plans_manager: PlansManager,
        configuration_manager: ConfigurationManager,
        dataset_json: dict | str,
    ) -> tuple[np.ndarray, np.ndarray, dict]:
        try:
            return super().run_case(image_files, seg_file, plans_manager, configuration_manager, dataset_json)
        except InputError as error:
            files = [*image_files, seg_file] if seg_file is not None else image_files
            raise InputError(f"{', '.join(str(file) for file in files)}: {error}") from None

    def run_case_npy(
        self,
        data: np.ndarray,
        seg: np.ndarray | None,
        properties: dict,
        plans_manager: PlansManager,
        configuration_manager: ConfigurationManager,
        dataset_json: dict | str,
    ) -> tuple[np.ndarray, np.ndarray, dict]:
        check_case(data, seg, channels=channel_names(dataset_json))
        return super().run_case_npy(data, seg, properties, plans_manager, configuration_manager, dataset_json)


def channel_names(dataset_json: dict) -> list[str]:
    """Names of the input channels in their order (``modality`` in the data sets of older nnU-Nets)."""
    return list((dataset_json.get("channel_names") or dataset_json["modality"]).values())


def check_case(data: np.ndarray, seg: np.ndarray | None, *, channels: list[str]) -> None:
    """Refuse what nnU-Net would take in silence or die of.

    ``data`` is ``[C, *spatial]``, ``seg`` is ``[1, *spatial]`` or None where there are no labels.

    Raises
    ------
    InputError
        Another number of channels than the data set's, labels of another shape, or values that are not finite.
    """
    if data.shape[0] != len(channels):
        raise InputError(
            f"the case has {data.shape[0]} channel{'s' * (data.shape[0] != 1)}, the data set has {len(channels)} "
            f"({', '.join(channels)}). Give each channel as one file, numbered _0000, _0001 and so on."
        )
    if seg is not None and seg.shape[1:] != data.shape[1:]:
        raise InputError(
            f"the labels have the shape {_shape(seg)}, the image has {_shape(data)}. They must be on the same grid; "
            "resample one of them."
        )
    for index, (name, channel) in enumerate(zip(channels, data, strict=True)):
        broken = channel.size - np.count_nonzero(np.isfinite(channel))
        if broken:
            raise InputError(
                f"channel {index} ({name}) holds {broken} of {channel.size} voxels that are NaN or infinite. "
                "Replace them, for example with the background's intensity."
            )


def _shape(array: np.ndarray) -> str:
    return "×".join(str(edge) for edge in array.shape[1:])
