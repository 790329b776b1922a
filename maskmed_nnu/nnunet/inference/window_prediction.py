"""A window of an image larger than memory: normalised by what the whole image is like, then predicted as one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from nnunetv2.preprocessing.normalization.default_normalization_schemes import (
    CTNormalization,
    NoNormalization,
    RGBTo01Normalization,
)
from nnunetv2.preprocessing.resampling.default_resampling import compute_new_shape
from numpy.typing import NDArray
from pydantic import BaseModel

from maskmed_nnu.errors import InputError
from maskmed_nnu.instances.detections import Detections
from maskmed_nnu.instances.formats.big_images import BigImage
from maskmed_nnu.instances.formats.blocks import VOXELS, block_edges, blocks_of, format_block
from maskmed_nnu.instances.stitching.tiles import Tile, plan_tiles
from maskmed_nnu.instances.text import count, format_shape
from maskmed_nnu.nnunet.inference.predictor import find_objects, low_scores_kept, tile_overlap
from maskmed_nnu.nnunet.preprocessing.case_checks import channel_names
from maskmed_nnu.nnunet.preprocessing.instance_preprocessor import comparable_spacing
from maskmed_nnu.progress import Report, counted

OF_A_PIXEL = {kind.__name__: kind for kind in (CTNormalization, NoNormalization, RGBTo01Normalization)}
OF_THE_IMAGE = ("ZScoreNormalization", "RescaleTo01Normalization")
"""Normalisations of nnU-Net that need to know one pixel only, and the whole image."""
EPSILON = 1e-8


class ChannelStatistics(BaseModel):
    """Of all pixels of a channel."""

    pixels: int = 0
    mean: float = 0.0
    squares: float = 0.0
    """Sum of the squared distances from the mean"""
    low: float = float("inf")
    high: float = float("-inf")

    def with_part(self, values: NDArray[np.float32]) -> ChannelStatistics:
        """With more pixels (Chan, Golub & LeVeque 1983)."""
        exact = values.astype(np.float64)
        mean, total = float(exact.mean()), self.pixels + exact.size
        apart = mean - self.mean
        return ChannelStatistics(
            pixels=total,
            mean=self.mean + apart * exact.size / total,
            squares=self.squares + float(((exact - mean) ** 2).sum()) + apart**2 * self.pixels * exact.size / total,
            low=min(self.low, float(exact.min())),
            high=max(self.high, float(exact.max())),
        )


def check_big_image(predictor: Any, image: BigImage, properties: dict[str, Any]) -> None:
    """Refuse what is not predicted in windows; ``properties`` are nnU-Net's of the image.

    Raises:
        InputError: says what it is.
    """
    configuration = predictor.configuration_manager
    settings, names = configuration.configuration["instances"], channel_names(predictor.dataset_json)
    if image.channels != len(names):
        raise InputError(
            f"{image.path} has {count(image.channels, 'channel')}, the model takes {len(names)} ({', '.join(names)})."
        )
    unknown = set(configuration.normalization_schemes) - {*OF_A_PIXEL, *OF_THE_IMAGE}
    for found, what in (
        (settings.get("stuff_classes"), "with stuff"),
        (settings.get("overlap_layers"), "whose label maps have layers"),
        (settings.get("label_divisor"), "with a label_divisor, which so many objects exceed"),
        (unknown, f"with the normalisation {', '.join(sorted(unknown))}"),
        (list(predictor.plans_manager.transpose_forward) != [0, 1, 2], "that turns its images"),
    ):
        if found:
            raise InputError(f"A model {what} does not predict in windows; cut the image into parts.")
    dim = len(configuration.patch_size)
    if (dim == 3) != (image.shape[0] > 1):
        takes, has = ("volumes", "one slice") if dim == 3 else ("single planes", f"{image.shape[0]} slices")
        raise InputError(f"{image.path} has {has}, but in windows this model takes {takes}; take another model.")
    spacing = comparable_spacing(properties, predictor.plans_manager, dim)
    target = [*spacing[:-dim], *configuration.spacing]
    shape = tuple(int(n) for n in compute_new_shape(image.shape, spacing, target))
    if shape != image.shape:
        raise InputError(
            f"{image.path} of {format_shape(image.shape)} voxels would be resampled to {format_shape(shape)}, which is "
            "not done in windows; write it at that resolution (a coarser level of its pyramid, perhaps)."
        )


def image_windows(predictor: Any, shape: Sequence[int], edges: Sequence[int] | None) -> list[Tile]:
    """Windows of ``edges``, by default of about `VOXELS`, over an image of ``shape`` along the axes of the patch.

    They overlap as tiles do, so that hardly any object is seen whole by none.

    Raises:
        InputError: where a window is smaller than a patch.
    """
    configuration = predictor.configuration_manager.configuration
    patch, overlap = configuration["patch_size"], tile_overlap(configuration, predictor.tile_step_size)
    chosen = list(edges) if edges is not None else block_edges([2**31] * len(patch), patch, VOXELS)
    if len(chosen) != len(patch) or any(edge < least for edge, least in zip(chosen, patch, strict=True)):
        raise InputError(
            f"A window of {format_shape(chosen)} pixels does not fit this model; legal are {len(patch)} edges of at "
            f"least {format_shape(patch)}."
        )
    return plan_tiles(shape, chosen, overlap)


def measure(image: BigImage, names: Sequence[str], report: Report | None) -> list[ChannelStatistics]:
    """Of each channel, a part of the image at a time.

    Raises:
        InputError: where values are not finite.
    """
    found = [ChannelStatistics() for _ in names]
    blocks = list(blocks_of(image.shape, block_edges(image.shape, image.chunks)))
    for block in counted(blocks, "measuring", report):
        for index, values in enumerate(image.read(block)):
            found[index] = found[index].with_part(values)
            if not np.isfinite(found[index].mean):
                raise InputError(
                    f"{image.path}: channel {index} ({names[index]}) holds values at {format_block(block)} "
                    "that are NaN or infinite. Replace them, for example with the background's intensity."
                )
    return found


def needs_statistics(predictor: Any) -> bool:
    """Whether the image is to be measured before it is predicted."""
    return bool(set(predictor.configuration_manager.normalization_schemes) & set(OF_THE_IMAGE))


def predict_window(
    predictor: Any,
    image: BigImage,
    window: Tile,
    statistics: Sequence[ChannelStatistics],
    *,
    low_score: float,
    tell: Callable[[str], object],
) -> Detections:
    """The objects from ``low_score`` on in a window, in its pixels; ``tell`` is told what is doubtful about them.

    Raises:
        InputError: where the window cannot be read.
    """
    slices = window.slices if len(window.start) == 3 else (slice(0, 1), *window.slices)
    data = image.read(slices)
    configuration = predictor.configuration_manager
    intensities = predictor.plans_manager.foreground_intensity_properties_per_channel
    for index, scheme in enumerate(configuration.normalization_schemes):
        if scheme in OF_A_PIXEL:
            data[index] = OF_A_PIXEL[scheme](False, intensities[str(index)]).run(data[index])
        else:
            data[index] = _of_image(data[index], scheme, statistics[index])
    if not np.isfinite(data).all():
        raise InputError(f"{image.path} holds values at {window.start} … {window.stop} that are NaN or infinite.")
    with low_scores_kept(predictor, low_score, tell):
        (found,) = find_objects(predictor, torch.from_numpy(data), predictor.list_of_parameters)
    return found


def _of_image(values: NDArray[np.float32], scheme: str, statistics: ChannelStatistics) -> NDArray[np.float32]:
    if scheme == "ZScoreNormalization":
        deviation = (statistics.squares / statistics.pixels) ** 0.5
        return (values - np.float32(statistics.mean)) / np.float32(max(deviation, EPSILON))
    return (values - np.float32(statistics.low)) / np.float32(max(statistics.high - statistics.low, EPSILON))
