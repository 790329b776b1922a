"""Pictures, TIFF and volumes as arrays and back; a damaged file is refused, never read in part.

The libraries are more lenient: ITK gives zeros for what a truncated NIfTI lacks, tifffile fewer pages and a line in its
log.
"""

from maskmed_nnu.instances.formats.endings import ENDINGS, IMAGE_2D, NIFTI, TIFF, VOLUMES, WRITTEN_BY_ITK, ending, stem
from maskmed_nnu.instances.formats.files import count_channels, read, write
from maskmed_nnu.instances.formats.geometry import Geometry
from maskmed_nnu.instances.formats.raster import AXES, Raster
from maskmed_nnu.instances.formats.tiff import read_tiff_scale, read_tiff_spacing
from maskmed_nnu.instances.formats.tiff_scale import TiffScale

__all__ = [
    "AXES",
    "ENDINGS",
    "IMAGE_2D",
    "NIFTI",
    "TIFF",
    "VOLUMES",
    "WRITTEN_BY_ITK",
    "Geometry",
    "Raster",
    "TiffScale",
    "count_channels",
    "ending",
    "read",
    "read_tiff_scale",
    "read_tiff_spacing",
    "stem",
    "write",
]
