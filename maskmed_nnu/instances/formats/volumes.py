"""Volumes with a place in space: NIfTI."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import SimpleITK as sitk

from maskmed_nnu.instances.formats.raster import Geometry, Raster


def read_volume(path: Path) -> Raster:
    image: Any = nibabel.load(path)
    values = np.asanyarray(image.dataobj).T
    # SimpleITK ships py.typed, but its classes have no types
    reader: Any = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    geometry = Geometry(reader.GetSpacing(), reader.GetOrigin(), reader.GetDirection()).to(values.ndim)
    if values.dtype.names:  # NIfTI's RGB
        return Raster(np.stack([values[name] for name in values.dtype.names], axis=-1), True, geometry)
    return Raster(values, False, geometry)
