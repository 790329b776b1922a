"""Images of nibabel and SimpleITK, made fit for files."""

from __future__ import annotations

from typing import Any

import numpy as np


def without_metadata(image: Any) -> Any:
    """A SimpleITK image without the words of its file, about which ITK prints warnings when it writes another kind."""
    plain = image[(slice(None),) * image.GetDimension()]
    for key in plain.GetMetaDataKeys():
        plain.EraseMetaData(key)
    return plain


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
