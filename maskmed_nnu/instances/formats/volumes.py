"""Volumes with a place in space: NIfTI, NRRD, MetaImage."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any, NamedTuple

import nibabel
import numpy as np
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from maskmed_nnu.errors import InputError
from maskmed_nnu.instances.formats.endings import META_IMAGE, NIFTI, NRRD, ending
from maskmed_nnu.instances.formats.geometry import UNITS, Geometry, NiftiForms, sheared_sentence, unknown_sentence
from maskmed_nnu.instances.formats.raster import Raster
from maskmed_nnu.itk import sitk

# SimpleITK ships py.typed, but its classes have no types
_ITK: Any = sitk
_IO = {
    **dict.fromkeys(NIFTI, "NiftiImageIO"),
    **dict.fromkeys(NRRD, "NrrdImageIO"),
    **dict.fromkeys(META_IMAGE, "MetaImageIO"),
}
MAX_SKEW = 0.05
"""Degrees; ITK refuses a NIfTI from about 0.006 on, but takes any NRRD and MetaImage, which no NIfTI could keep."""


class Header(NamedTuple):
    """What a volume's header says: voxels along x, y, z, …, their place, and how many values each has.

    ``readable`` is False for a sheared NIfTI, which ITK refuses; nibabel reads it.
    """

    size: tuple[int, ...]
    geometry: Geometry
    components: int
    readable: bool = True


def read_header(path: Path | str) -> Header:
    """Read no voxel.

    Raises:
        InputError: where the file is NIfTI-2.
        RuntimeError, or what nibabel raises: where there is no such header.
    """
    kind = ending(path)
    assert kind is not None, "only volumes have a header"
    forms = read_forms(path)[1] if kind in NIFTI else None
    reader = _ITK.ImageFileReader()
    reader.SetImageIO(_IO[kind])
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        if kind in NIFTI and isinstance(nibabel.load(path), nibabel.Nifti2Image):
            raise InputError(
                f"{path} is NIfTI-2, which nnU-Net's reader (ITK) does not know; save it as NIfTI-1, with nibabel: "
                "Nifti1Image.from_image(image)."
            ) from None
        image: Any = nibabel.load(path) if "orthonormal" in str(error) else None
        if image is None:
            raise
        to_itk = np.diag([-1.0, -1.0, 1.0, 1.0])
        assert forms is not None, "ITK says so of NIfTI only"
        geometry = Geometry.from_affine(to_itk @ image.affine * UNITS[forms.unit], forms)
        return Header(image.shape, geometry.to(min(len(image.shape), 3)), 1, readable=False)
    geometry = Geometry(reader.GetSpacing(), reader.GetOrigin(), reader.GetDirection(), forms)
    return Header(reader.GetSize(), geometry, reader.GetNumberOfComponents())


def read_volume(path: Path) -> Raster:
    """Without the axes of one voxel beyond rows and columns, whether the file has them or not.

    A NIfTI's fourth axis holds channels, and so do several values at a voxel, but three of 8 bits are a colour.

    Raises:
        InputError: where the axes are not perpendicular, or the header does not say where the voxels lie.
        RuntimeError, ValueError, or what the libraries raise: where the file is damaged.
    """
    header = read_header(path)
    if not header.geometry.known:
        raise InputError(unknown_sentence(path))
    if not header.readable or header.geometry.skew() > MAX_SKEW:
        raise InputError(sheared_sentence(path, header.geometry))
    if ending(path) in NIFTI:
        image: Any = nibabel.load(path)
        values = np.asanyarray(image.dataobj).T
        samples = values.dtype.names  # NIfTI's RGB
        if samples:
            values = np.stack([values[name] for name in samples], axis=-1)
        colour, vectors = bool(samples), False
    else:
        values = _read_with_itk(path)
        colour = header.components == 3 and values.dtype == np.uint8
        vectors = header.components > 1 and not colour
        if vectors:
            values = np.moveaxis(values, -1, 0)
    shape = values.shape[: values.ndim - colour][vectors:]
    while len(shape) > 2 and shape[0] == 1:
        shape = shape[1:]
    axes = "C" * vectors + ("Q" * len(shape) + "CTZYX" if len(shape) > 4 else "CZYX")[-len(shape) :] + "S" * colour
    values = values.reshape(values.shape[:vectors] + shape + values.shape[values.ndim - colour :])
    kept = [i for i, axis in enumerate(axes) if axis in "YXS" or values.shape[i] > 1]
    values = values.reshape([values.shape[i] for i in kept])
    geometry = header.geometry.to(min(header.geometry.dimension, 3))
    return Raster(values, colour, geometry, "".join(axes[i] for i in kept))


def _read_with_itk(path: Path) -> NDArray[Any]:
    check_complete(path)
    try:
        values: NDArray[Any] = _ITK.GetArrayFromImage(_ITK.ReadImage(str(path), imageIO=_IO[ending(path) or ""]))
    except RuntimeError as error:
        if "MetaImageIO" in str(error):  # whose reason is always "No such file or directory"
            raise ValueError(
                "it has fewer voxels than its header declares, or the file with the voxels is missing"
            ) from None
        raise
    return values


def check_complete(path: Path | str) -> None:
    """Look for damage in a MetaImage's compressed voxels, which ITK only mentions on stderr before it gives zeros.

    Raises:
        ValueError: where there is some.
    """
    if ending(path) not in META_IMAGE:
        return
    fields: dict[bytes, bytes] = {}
    with Path(path).open("rb") as file:
        for line in file:
            name, _, value = line.partition(b"=")
            fields[name.strip()] = value.strip()
            if name.strip() == b"ElementDataFile":
                break
        if fields.get(b"CompressedData", b"").lower() != b"true":
            return
        where = fields.get(b"ElementDataFile", b"").decode(errors="replace")
        try:
            content = file.read() if where == "LOCAL" else (Path(path).parent / where).read_bytes()
            zlib.decompress(content)
        except (OSError, zlib.error) as error:
            raise ValueError(f"its compressed voxels: {error}") from None


def write_nifti(path: Path, values: NDArray[Any], geometry: Geometry | None) -> None:
    """Write ``values [*axes]``, slowest axis first, with axes of length one where ``geometry`` has more.

    With ``geometry.nifti`` their place is told in the words of the file that they belong to.
    """
    geometry = geometry or Geometry((1.0,) * 3, (0.0,) * 3, tuple(np.eye(3).ravel().tolist()))
    values = values.reshape((1,) * (geometry.dimension - values.ndim) + values.shape)
    make_image: Any = nibabel.Nifti1Image  # has no types
    image = make_image(np.ascontiguousarray(values.T), None, dtype=values.dtype)
    forms = geometry.nifti
    if forms is None:
        volume = geometry.to(3)
        affine = np.eye(4)
        affine[:3, :3], affine[:3, 3] = volume.axes * volume.spacing, volume.origin
        affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
        forms = NiftiForms(_rows(affine), 1, _rows(affine), 1, "mm")
    image.header.set_xyzt_units(forms.unit)
    image.header.set_qform(np.array(forms.qform), forms.qform_code)
    image.header.set_sform(np.array(forms.sform), forms.sform_code)
    nibabel.save(image, path)


def write_with_itk(path: Path, values: NDArray[Any], geometry: Geometry | None) -> None:
    """Write ``values [*axes]`` as NRRD or MetaImage, compressed, with axes of length one as `write_nifti`."""
    if geometry is not None:
        values = values.reshape((1,) * (geometry.dimension - values.ndim) + values.shape)
    image = _ITK.GetImageFromArray(values, isVector=False)
    if geometry is not None:
        geometry = geometry.to(values.ndim)
        image.SetSpacing(geometry.spacing)
        image.SetOrigin(geometry.origin)
        image.SetDirection(geometry.direction)
    _ITK.WriteImage(image, str(path), True)


def read_forms(path: Path | str) -> tuple[tuple[int, ...], NiftiForms]:
    """The shape of a NIfTI and what it says of its place.

    Raises:
        What nibabel raises: where there is no such header.
    """
    image: Any = nibabel.load(path)
    header = image.header
    try:
        unit = header.get_xyzt_units()[0]
    except KeyError:
        unit = "unknown"
    sform, qform_code = header.get_sform(), int(header["qform_code"])
    try:
        qform = header.get_qform()
    except (ValueError, HeaderDataError):  # quaternions that are none
        qform, qform_code = sform, 0
    return tuple(image.shape), NiftiForms(_rows(qform), qform_code, _rows(sform), int(header["sform_code"]), unit)


def _rows(affine: NDArray[np.float64]) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(row) for row in affine.tolist())
