"""Images of nibabel and SimpleITK, made fit for files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from maskmed_nnu.instances.formats.geometry import UNITS


def without_metadata(image: Any) -> Any:
    """A SimpleITK image without the words of its file, about which ITK prints warnings when it writes another kind."""
    plain = image[(slice(None),) * image.GetDimension()]
    for key in plain.GetMetaDataKeys():
        plain.EraseMetaData(key)
    return plain


def unit_of(image: Any) -> float:
    """The unit of an image of nibabel in mm; 1 where it names none."""
    header = image.header
    return UNITS.get(header.get_xyzt_units()[0], 1.0) if hasattr(header, "get_xyzt_units") else 1.0


def nifti_unit(path: Path) -> float:
    """`unit_of` a file that nibabel reads."""
    import nibabel

    return unit_of(nibabel.load(path))


def plain_nifti(image: Any) -> Any:
    """A NIfTI-1 of the same voxels, not of rounded ones, as nibabel saves what it has scaled."""
    import nibabel

    data = np.asanyarray(image.dataobj)
    if data.dtype.kind in "fiub":
        kept = {"b": np.uint8, "i": data.dtype, "u": data.dtype, "f": data.dtype}[data.dtype.kind]
        too_wide = data.dtype.itemsize > (4 if data.dtype.kind in "iu" else 8) or data.dtype == np.float16
        data = data.astype(np.float64 if too_wide else kept, copy=False)
    header = image.header if type(image) is nibabel.Nifti1Image else nibabel.Nifti1Image.from_image(image).header
    header = header.copy()
    header.set_data_dtype(data.dtype)
    header.set_slope_inter(1, 0)
    return nibabel.Nifti1Image(data, image.affine, header)
