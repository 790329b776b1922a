"""PNG, TIFF and NIfTI files as arrays and back; a damaged file is refused, never read in part.

The libraries are more lenient: ITK gives zeros for what a truncated NIfTI lacks, tifffile fewer pages and a line in its
log.
"""

from maskmed_nnu.instances.formats.endings import ENDINGS, IMAGE_2D, NIFTI, TIFF, ending
from maskmed_nnu.instances.formats.files import read, write
from maskmed_nnu.instances.formats.raster import Geometry, Raster

__all__ = ["ENDINGS", "IMAGE_2D", "NIFTI", "TIFF", "Geometry", "Raster", "ending", "read", "write"]
