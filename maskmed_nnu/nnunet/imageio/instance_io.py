"""The reader/writer of object data sets: ``"overwrite_image_reader_writer": "InstanceIO"`` in ``dataset.json``."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from nnunetv2.imageio.base_reader_writer import BaseReaderWriter

from maskmed_nnu.atomic_write import write_atomically
from maskmed_nnu.errors import InputError
from maskmed_nnu.instances import formats
from maskmed_nnu.instances.files import LABEL_ENDINGS, read_ids_and_geometry, write_ids
from maskmed_nnu.instances.formats import Geometry, Raster, TiffScale
from maskmed_nnu.instances.formats.geometry import NiftiForms, difference, elsewhere_sentence
from maskmed_nnu.instances.instance_map import InstanceMap, LabelFormat, decode, encode
from maskmed_nnu.instances.label_values import cast
from maskmed_nnu.instances.text import format_shape
from maskmed_nnu.json_file import read_json

# labelsTr and gt_segmentations are one folder below dataset.json, a fold's validation folder two.
_FOLDERS_UP = 3


class InstanceIO(BaseReaderWriter):
    """Images and label maps of objects in PNG, TIFF, NIfTI, NRRD or MetaImage.

    nnU-Net gets the classes of the pixels (`read_seg`), so that its integrity check, fingerprint and Dice work; our
    preprocessor gets the objects (`read_instances`). Without a label format, as nnU-Net constructs readers, label files
    are understood by the ``dataset.json`` in their folder or in one of the two above it.

    Arrays follow nnU-Net's readers: 2D images are ``[C, 1, Y, X]`` with a first spacing of 999 times the larger of the
    others, a picture in colour gives a channel for each of its samples, slices make a volume ``[C, Z, Y, X]``. What the
    axes of a TIFF are its metadata says; pages of which it says nothing are slices, and ``properties`` then hold
    ``"pages_not_told": True``.

    The spacing of TIFF volumes is what a file of the case's name, ending with ``.json``, tells, as for nnU-Net's
    ``Tiff3DIO``, or what ImageJ's or OME's metadata tell in micrometres (``properties`` then hold
    ``"spacing_of_metadata": True``), or else 1; a label file that tells none has its image's. Label TIFFs keep the
    resolution and unit of a TIFF (``"tiff_scale"``).
    """

    supported_file_endings = list(LABEL_ENDINGS)

    def __init__(self, label_format: LabelFormat | None = None) -> None:
        self._label_format = label_format

    def read_images(self, image_fnames: Sequence[str], axes: str | None = None) -> tuple[np.ndarray, dict]:
        """Channels float32 ``[C, Z, Y, X]`` of one case, in the order of the files, and their properties.

        ``axes`` replaces what TIFFs say about theirs, as "ZCYX".
        """
        rasters = [formats.read(name, axes=axes) for name in image_fnames]
        channels = [_channels(raster, name) for raster, name in zip(rasters, image_fnames, strict=True)]
        for name, channel in zip(image_fnames, channels, strict=True):
            if channel.shape[1:] != channels[0].shape[1:]:
                raise InputError(
                    f"{name} has {format_shape(channel.shape[1:])} pixels, but {image_fnames[0]} of the same case has "
                    f"{format_shape(channels[0].shape[1:])}; all channels of a case need one size."
                )
        for name, raster in zip(image_fnames[1:], rasters[1:], strict=True):
            if raster.geometry and rasters[0].geometry:
                found = difference(raster.geometry, rasters[0].geometry, channels[0].shape[:0:-1])
                if found:
                    raise InputError(elsewhere_sentence(name, f"{image_fnames[0]} of the same case", found))
        slices = channels[0].shape[1]
        beside = (
            _read_spacing_file(spacing_file(image_fnames[0])) if slices > 1 and rasters[0].geometry is None else None
        )
        properties = _properties(rasters[0].geometry, beside or rasters[0].spacing, slices)
        if beside is None and properties.get("spacing_file"):
            properties["spacing_of_metadata"] = True
        if "Q" in rasters[0].axes:
            properties["pages_not_told"] = True
        if rasters[0].scale is not None:
            properties["tiff_scale"] = asdict(rasters[0].scale)
        return np.concatenate(channels, dtype=np.float32, casting="unsafe"), properties

    def read_seg(self, seg_fname: str) -> tuple[np.ndarray, dict]:
        """The class of every pixel, float32 ``[1, Z, Y, X]`` as from nnU-Net's readers, and the properties."""
        objects, properties = self.read_instances(seg_fname)
        return cast(objects.semantic()[None], np.float32, seg_fname), properties

    def read_instances(self, seg_fname: str) -> tuple[InstanceMap, dict]:
        """The objects of a label file, with ``ids [L, Z, Y, X]`` and ``stuff [Z, Y, X]``, and the properties.

        Raises:
            InputError: where no ``dataset.json`` is near, or the file is not what it declares.
        """
        label_format = self._label_format or find_label_format(seg_fname)
        raw, geometry = read_ids_and_geometry(seg_fname, overlap_layers=label_format.overlap_layers)
        if raw.ndim == 3:
            raw = raw[:, None]
        try:
            objects = decode(raw, label_format)
        except InputError as error:
            raise InputError(f"{seg_fname}: {error}") from None
        spacing = _label_spacing(Path(seg_fname)) if raw.shape[1] > 1 and geometry is None else None
        return objects, _properties(geometry, spacing, raw.shape[1])

    def write_seg(self, seg: np.ndarray, output_fname: str, properties: dict) -> None:
        """Write a map of non-negative integers ``[Z, Y, X]``, ids or classes, on the grid of the image."""
        self._write(np.asarray(seg)[None], output_fname, properties)

    def write_instances(
        self, objects: InstanceMap, output_fname: str, properties: dict, label_format: LabelFormat
    ) -> None:
        """Write objects with ``ids [L, Z, Y, X]`` as a label file of the data set, on the grid of the image.

        Raises:
            InputError: where the label format or the file's cannot hold them.
        """
        try:
            raw = encode(objects, label_format)
        except InputError as error:
            raise InputError(f"{output_fname} cannot be written: {error}") from None
        if label_format.overlap_layers and len(raw) == 1 and raw.shape[1] > 1:
            # the file of a volume in one layer would look like an image's in many
            raw = np.concatenate([raw, np.zeros_like(raw)])
        self._write(raw, output_fname, properties)

    def _write(self, raw: np.ndarray, output_fname: str, properties: dict) -> None:
        stuff = properties.get("sitk_stuff")
        geometry = None
        if stuff is not None:
            forms = NiftiForms(**stuff["nifti"]) if stuff.get("nifti") else None
            geometry = Geometry(stuff["spacing"], stuff["origin"], stuff["direction"], forms).to(stuff["dimension"])
        scale = properties.get("tiff_scale")
        write_ids(output_fname, raw, geometry=geometry, scale=TiffScale(**scale) if scale else None)
        if properties.get("spacing_file"):
            kind = formats.ending(output_fname)
            assert kind is not None, "write_ids refuses other files"
            stem = str(output_fname)[: -len(kind)]
            spacing_json = json.dumps({"spacing": [float(s) for s in properties["spacing"]]})
            write_atomically(Path(f"{stem}.json"), lambda partial: partial.write_text(spacing_json))


def find_label_format(label_file: str | Path) -> LabelFormat:
    """The label format that the ``dataset.json`` nearest to a label file declares.

    Raises:
        InputError: where there is none, or where it declares no data set of objects.
    """
    folders = Path(label_file).absolute().parents[:_FOLDERS_UP]
    for folder in folders:
        path = folder / "dataset.json"
        if not path.is_file():
            continue
        return LabelFormat.from_dataset_json(read_json(path, expected="nnU-Net's dataset.json"), str(path))
    raise InputError(
        f"No dataset.json is in the folder of {label_file} or the {_FOLDERS_UP - 1} above it, so the meaning of "
        "its ids is unknown; copy the dataset.json of the data set into that folder."
    )


def _channels(raster: Raster, name: str) -> np.ndarray:
    """``[C, Z, Y, X]`` of one file."""
    values, spatial = raster.channels_first(name, pages="Z")
    return values if spatial == "ZYX" else values[:, None]


def spacing_file(image: Path | str) -> Path:
    """The file that may tell the spacing of a TIFF: the image's, without the number of the channel."""
    return Path(image).with_name(re.sub(r"_\d{4}$", "", formats.stem(image)) + ".json")


def _label_spacing(label: Path) -> Sequence[float] | None:
    """The spacing of a TIFF volume: its own, or else its image's, on whose grid it lies."""
    kind = formats.ending(label) or ""
    stem = str(label)[: -len(kind)]
    own = _read_spacing_file(Path(f"{stem}.json")) or formats.read_tiff_spacing(label)
    image = Path(f"{label.parent.parent / label.parent.name.replace('labels', 'images') / Path(stem).name}_0000{kind}")
    if (own and len(own) == 3) or image == label or not image.is_file():
        return own
    return _read_spacing_file(spacing_file(image)) or formats.read_tiff_spacing(image)


def _properties(geometry: Geometry | None, spacing: Sequence[float] | None, slices: int) -> dict:
    """nnU-Net's properties; ``spacing`` is what a TIFF or a file beside it tells."""
    if geometry is None:
        if slices > 1 and spacing is not None and len(spacing) == 3:
            return {"spacing": list(spacing), "spacing_file": True}
        return {"spacing": (999, 1, 1) if slices == 1 else (1, 1, 1)}
    volume = geometry.to(3)
    spacing = [abs(s) for s in volume.spacing[::-1]]
    if slices == 1:
        # Whether a file has two axes or a third of length one, it is an image: its slices have no distance, and nnU-Net
        # takes the axis of the largest spacing for the one across slices.
        spacing[0] = 999 * max(spacing[1:])
    return {
        "spacing": spacing,
        "sitk_stuff": {
            "spacing": volume.spacing,
            "origin": volume.origin,
            "direction": volume.direction,
            "dimension": min(geometry.dimension, 3),
            "nifti": geometry.nifti and asdict(geometry.nifti),
        },
    }


def _read_spacing_file(path: Path) -> list[float] | None:
    if not path.is_file():
        return None
    try:
        spacing = [float(s) for s in read_json(path, expected="the spacing of a volume")["spacing"]]
    except (LookupError, TypeError, ValueError):
        spacing = []
    if len(spacing) != 3 or min(spacing) <= 0:
        raise InputError(
            f'{path} has no spacing of a volume; it must hold {{"spacing": [z, y, x]}} of positive numbers.'
        )
    return spacing
