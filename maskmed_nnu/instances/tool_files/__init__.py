"""Files in which other tools open what was found: QuPath, ImageJ and Fiji, 3D Slicer, ITK-SNAP.

Outlines run along the corners of pixels: the pixel in row y and column x is the square from (x, y) to (x + 1, y + 1),
as QuPath and ImageJ have it, so that what they fill is the mask, pixel for pixel.
"""

from maskmed_nnu.instances.tool_files.findings import Area, Findings
from maskmed_nnu.instances.tool_files.geojson import write_geojson
from maskmed_nnu.instances.tool_files.imagej_rois import write_rois
from maskmed_nnu.instances.tool_files.itk_snap import write_label_descriptions
from maskmed_nnu.instances.tool_files.polygons import polygons
from maskmed_nnu.instances.tool_files.seg_nrrd import write_segmentation

__all__ = [
    "Area",
    "Findings",
    "polygons",
    "write_geojson",
    "write_label_descriptions",
    "write_rois",
    "write_segmentation",
]
