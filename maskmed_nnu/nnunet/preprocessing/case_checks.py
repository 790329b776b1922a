"""Checks of a case before it is preprocessed: channels, grid, values, truncated files."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from maskmed_nnu.errors import InputError
from maskmed_nnu.instances.formats import NIFTI, ending
from maskmed_nnu.instances.formats.volumes import check_complete
from maskmed_nnu.instances.label_values import cast
from maskmed_nnu.instances.text import count
from maskmed_nnu.nnunet.preprocessing.grid_checks import check_grid


def check_files(
    image_files: Sequence[str], seg_file: str | None, plans_manager: PlansManager, dataset_json: dict
) -> None:
    """Read a case and check it, without preprocessing it.

    Raises
    ------
    InputError
        Where the preprocessor would raise it, and where a file cannot be read at all.
    """
    data, _, seg = read_case(image_files, seg_file, plans_manager)
    with name_files_in_errors(image_files, seg_file):
        check_case(data, seg, channels=channel_names(dataset_json))


def read_case(
    image_files: Sequence[str], seg_file: str | None, plans_manager: PlansManager
) -> tuple[np.ndarray, dict, np.ndarray | None]:
    """Image ``[C, *spatial]``, its properties, and labels, as nnU-Net's reader gives them.

    Raises
    ------
    InputError
        Where a file cannot be read or is damaged, or files of the case are not on one grid.
    """
    reader = plans_manager.image_reader_writer_class()
    check_files_on_disk(image_files, seg_file, reader=type(reader).__name__)
    try:
        data, properties = reader.read_images(image_files)
        seg = reader.read_seg(seg_file)[0] if seg_file is not None else None
    except InputError:  # of a reader of ours, which has said it all
        raise
    except Exception as error:
        reason = next(iter(str(error).strip().splitlines()), "no reason given")
        names = ", ".join(case_files(image_files, seg_file))
        raise InputError(
            f"{names}: {type(reader).__name__} cannot read the case ({type(error).__name__}: {reason}). Check that the "
            "files are complete and that all channels share one grid."
        ) from error
    return data, properties, seg


def channel_names(dataset_json: dict) -> list[str]:
    """Names of the input channels in their order (``modality`` in the data sets of older nnU-Nets)."""
    return list((dataset_json.get("channel_names") or dataset_json["modality"]).values())


def check_case(data: np.ndarray, seg: np.ndarray | None, *, channels: Sequence[str]) -> None:
    """Refuse what nnU-Net would take in silence or die of.

    ``data`` is ``[C, *spatial]``, ``seg`` is ``[1, *spatial]`` or None where there are no labels.

    Raises
    ------
    InputError
        Another number of channels than the data set's, labels of another shape or that are no whole numbers from 0 to
        32,767, or values that are not finite.
    """
    if data.shape[0] != len(channels):
        raise InputError(
            f"the case has {count(data.shape[0], 'channel')}, the data set has {len(channels)} "
            f"({', '.join(channels)}). Give each channel as one file, numbered _0000, _0001 and so on."
        )
    if seg is not None and seg.shape[1:] != data.shape[1:]:
        raise InputError(
            f"the labels have the shape {_format_shape(seg)}, the image has {_format_shape(data)}. They must be on the "
            "same grid; resample one of them."
        )
    if seg is not None and cast(seg, np.int16, "the label map").min(initial=0) < 0:  # as nnU-Net stores it
        raise InputError(
            f"the label map holds the negative value {seg.min():g}, which nnU-Net would take for background. Give such "
            "pixels a number of their own, and declare it as the ignore label in dataset.json."
        )
    for index, (name, channel) in enumerate(zip(channels, data, strict=True)):
        _check_finite(channel, f"channel {index} ({name})")


def tell_user(note: str) -> None:
    """Print it, for nnU-Net's commands."""
    print(f"Note: {note}", flush=True)


def check_files_on_disk(
    image_files: Sequence[str], seg_file: str | None, *, reader: str, tell: Callable[[str], object] = tell_user
) -> None:
    """Check what nnU-Net's readers hide: damage, and files of a case that lie elsewhere. Of an image to predict
    ``tell`` is told where its place is doubtful; of a data set, planning has told.

    Raises
    ------
    InputError
        Where a file is damaged, sheared, or not where the first channel is.
    """
    files = case_files(image_files, seg_file)
    check_volumes(files)
    issues = check_grid(image_files, seg_file, reader=reader)
    if issues.faults:
        raise InputError(" ".join(issues.faults))
    for note in issues.notes() if seg_file is None else ():
        tell(note)


def check_volumes(files: Sequence[str]) -> None:
    """Look for damage that ITK's reader hides: it gives 0 for a NIfTI's NaN and for everything after its end, and for
    a MetaImage whose compressed voxels are broken.

    NIfTIs of floats and compressed MetaImages are read a second time for that; of other NIfTIs only the size is
    compared with what the header announces.

    Raises
    ------
    InputError
        Where voxels are NaN or infinite, or missing.
    """
    for file in files:
        if ending(file) not in NIFTI:
            with name_files_in_errors([file], None):
                _check_complete(file)
            continue
        try:
            image: Any = nibabel.load(file)  # the type of its result has no data, but what it reads has
            proxy = image.dataobj
        except (nibabel.filebasedimages.ImageFileError, EOFError, OSError, ValueError, zlib.error):
            continue  # the data set's own reader says what is wrong, or reads what nibabel cannot
        with name_files_in_errors([file], None):
            if proxy.dtype.kind == "f":
                _check_finite(_read(proxy), "the file")
            elif not _size_fits(file, proxy):
                _read(proxy)


def _check_complete(file: str) -> None:
    try:
        check_complete(file)
    except ValueError as error:
        raise InputError(f"the file is damaged ({error}). Copy it again.") from error
    except OSError:
        return  # the data set's own reader says what is wrong


def _size_fits(file: str, proxy: nibabel.arrayproxy.ArrayProxy) -> bool:
    """A glance without decompressing: gzip ends with the size of its content, modulo 4 GB."""
    needed = proxy.offset + proxy.dtype.itemsize * prod(proxy.shape)
    if not str(file).endswith(".gz"):
        return Path(file).stat().st_size >= needed
    with open(file, "rb") as stream:
        stream.seek(-4, 2)
        return int.from_bytes(stream.read(4), "little") == needed % 2**32


def _read(proxy: nibabel.arrayproxy.ArrayProxy) -> np.ndarray:
    try:
        # not the values that scl_slope and scl_inter make of them: those are finite where these are
        return proxy.get_unscaled()
    except (EOFError, OSError, ValueError, zlib.error) as error:
        raise InputError(
            f"the file ends before its last voxel or is damaged ({type(error).__name__}: {error}). Copy it again."
        ) from error


def _check_finite(voxels: np.ndarray, channel: str) -> None:
    broken = voxels.size - np.count_nonzero(np.isfinite(voxels))
    if broken:
        raise InputError(
            f"{channel} holds {broken} of {voxels.size} voxels that are NaN or infinite. Replace them, for example "
            "with the background's intensity."
        )


@contextmanager
def name_files_in_errors(image_files: Sequence[str], seg_file: str | None) -> Iterator[None]:
    """Put the files of a case in front of an `InputError` about it."""
    try:
        yield
    except InputError as error:
        names = ", ".join(str(file) for file in case_files(image_files, seg_file))
        raise InputError(f"{names}: {error}") from error.__cause__


def case_files(image_files: Sequence[str], seg_file: str | None) -> list[str]:
    return [*image_files, seg_file] if seg_file is not None else list(image_files)


def _format_shape(array: np.ndarray) -> str:
    return "×".join(str(edge) for edge in array.shape[1:])
