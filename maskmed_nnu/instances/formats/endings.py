"""Which files are read, by their endings."""

from __future__ import annotations

from pathlib import Path

NIFTI = (".nii.gz", ".nii")
TIFF = (".ome.tif", ".ome.tiff", ".tif", ".tiff")
NRRD = (".nrrd", ".nhdr")
META_IMAGE = (".mha", ".mhd")
VOLUMES = (*NIFTI, *NRRD, *META_IMAGE)
WRITTEN_BY_ITK = (".nrrd", ".mha")
"""Header and voxels in one file."""
IMAGE_2D = (".png", ".bmp", ".jpg", ".jpeg")
ENDINGS = (*IMAGE_2D, *TIFF, *VOLUMES)


def stem(path: Path | str) -> str:
    """The name of the file without its ending."""
    path = Path(path)
    return path.name[: -len(ending(path) or path.suffix) or None]


def ending(path: Path | str) -> str | None:
    """The ending of ``path`` among ``ENDINGS``, in lower case; None where it is none of them."""
    name = Path(path).name.lower()
    return next((e for e in (*NIFTI, *ENDINGS) if name.endswith(e)), None)
