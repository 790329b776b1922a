"""Pictures, TIFF and volumes as arrays and back; a damaged file is refused, never read in part.

The libraries are more lenient: ITK gives zeros for what a truncated NIfTI lacks, tifffile fewer pages and a line in its
log.
"""

from maskmed_nnu.instances.formats.endings import ENDINGS, IMAGE_2D, NIFTI, TIFF, VOLUMES, ending
from maskmed_nnu.instances.formats.files import read, write
from maskmed_nnu.instances.formats.geometry import Geometry
from maskmed_nnu.instances.formats.raster import Raster

__all__ = ["ENDINGS", "IMAGE_2D", "NIFTI", "TIFF", "VOLUMES", "Geometry", "Raster", "ending", "read", "write"]
