"""Every kind of file, pixel and layout that is read: one list for the tests and for docs/reference/formats.md.

``python -m tests.instances.formats_matrix`` writes the table; a test compares it. A family of files (``FILES``) writes
an array of its own and says which kinds of pixels and layouts its format can hold. What is expected is what viewers
show, computed from that array without the package.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import nibabel
import numpy as np
import SimpleITK
import tifffile
from PIL import Image

SHAPE = (12, 16)
LAYOUTS = {"image": (), "stack": (3,), "channels": (2,), "stack of channels": (3, 2)}
"""The axes before rows and columns: slices, channels, or slices and channels."""
PALETTE = np.stack([np.arange(255, -1, -1), np.arange(256) // 2, np.arange(256)], -1).astype(np.uint8)
EXACT, CLOSE, RGB, REFUSED, NONE = "exact", "close", "as RGB", "refused", "–"


@dataclass(frozen=True)
class Pixels:
    """A kind of pixel: the array that is stored for it, and the one that viewers show."""

    dtype: type
    samples: int = 1
    shown: Callable[[np.ndarray], np.ndarray] = field(default=lambda stored: stored)
    outcome: str = EXACT

    def stored(self, layout: str) -> np.ndarray:
        """``[*layout, Y, X]``, with the samples in a last axis where there are several."""
        shape = (*LAYOUTS[layout], *SHAPE) + (self.samples,) * (self.samples > 1)
        ramp = np.arange(np.prod(shape)).reshape(shape)
        if np.issubdtype(self.dtype, np.floating):
            return (ramp / 8 - 30).astype(self.dtype)
        return (ramp % 251 * (np.iinfo(self.dtype).max // 300 or 1)).astype(self.dtype)


def _rgb_of_ycbcr(stored: np.ndarray) -> np.ndarray:
    flat = Image.fromarray(stored.reshape(-1, *stored.shape[-2:]), "YCbCr")
    return np.asarray(flat.convert("RGB")).reshape(stored.shape)


PIXELS = {
    "grey 8 bit": Pixels(np.uint8),
    "grey 16 bit": Pixels(np.uint16),
    "grey 32 bit": Pixels(np.uint32),
    "float": Pixels(np.float32),
    "RGB": Pixels(np.uint8, 3),
    "RGBA": Pixels(np.uint8, 4, lambda stored: stored[..., :3], RGB),
    "palette": Pixels(np.uint8, 1, lambda stored: PALETTE[stored], RGB),
    "min-is-white": Pixels(np.uint8, 1, lambda stored: 255 - stored, "turned round"),
    "YCbCr": Pixels(np.uint8, 3, _rgb_of_ycbcr, RGB),
}


class Files(NamedTuple):
    """A family of files: its ending, what it can hold, and how other programs write it."""

    ending: str
    pixels: tuple[str, ...]
    layouts: tuple[str, ...]
    write: Callable[[Path, np.ndarray, str, str], None]  # path, stored, pixels, layout
    lossy: bool = False
    refused: dict[str, str] = {}  # layout → the sentence's words


def _picture(path: Path, stored: np.ndarray, pixels: str, layout: str) -> None:
    image = Image.fromarray(stored)
    if pixels == "palette":
        image = image.convert("P")
        image.putpalette(PALETTE.tobytes())
    image.save(path, **({"quality": 100, "subsampling": 0} if path.suffix == ".jpg" else {}))


def _tiff(**more: object) -> Callable[[Path, np.ndarray, str, str], None]:
    def write(path: Path, stored: np.ndarray, pixels: str, layout: str) -> None:
        names = {"RGB": "rgb", "RGBA": "rgb", "palette": "palette", "min-is-white": "miniswhite", "YCbCr": "ycbcr"}
        options: dict = {"photometric": names.get(pixels, "minisblack"), **more}
        if "metadata" in options:
            axes = {"image": "", "stack": "Z", "channels": "C", "stack of channels": "ZC"}[layout]
            options["metadata"] = options["metadata"] | {"axes": axes + "YX" + "S" * (PIXELS[pixels].samples > 1)}
        if pixels == "palette":
            options["colormap"] = PALETTE.T.astype(np.uint16) * 257
        tifffile.imwrite(path, stored, **options)

    return write


def _nifti(path: Path, stored: np.ndarray, pixels: str, layout: str) -> None:
    """Channels are the fourth axis, as everywhere."""
    if PIXELS[pixels].samples > 1:
        samples = np.dtype([(name, np.uint8) for name in "RGBA"[: stored.shape[-1]]])
        stored = np.ascontiguousarray(stored).view(samples)[..., 0]
    if "channels" in layout:
        stored = stored.swapaxes(0, 1) if layout == "stack of channels" else stored[:, None]
    nibabel.save(nibabel.Nifti1Image(stored.T, np.diag([0.5, 0.5, 2, 1])), path)


def _itk(path: Path, stored: np.ndarray, pixels: str, layout: str) -> None:
    """Channels are several values at a voxel, as colours are."""
    if "channels" in layout:
        stored = np.moveaxis(stored, -3, -1)
    vector = "channels" in layout or PIXELS[pixels].samples > 1
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(stored, isVector=vector), str(path), True)


_PAGES_OF_TWO_KINDS = {"stack of channels": "has the axes QQYX"}
_GREY = ("grey 8 bit", "grey 16 bit", "grey 32 bit", "float")
_FLAT = ("image",)

FILES = {
    "PNG": Files(".png", ("grey 8 bit", "grey 16 bit", "RGB", "RGBA", "palette"), _FLAT, _picture),
    "BMP": Files(".bmp", ("grey 8 bit", "RGB", "palette"), _FLAT, _picture),
    "JPEG": Files(".jpg", ("grey 8 bit", "RGB"), _FLAT, _picture, lossy=True),
    "TIFF, plain pages": Files(".tif", tuple(PIXELS), tuple(LAYOUTS), _tiff(), refused=_PAGES_OF_TWO_KINDS),
    "BigTIFF": Files(".tiff", tuple(PIXELS), tuple(LAYOUTS), _tiff(bigtiff=True), refused=_PAGES_OF_TWO_KINDS),
    "TIFF with axes": Files(".tif", tuple(PIXELS), tuple(LAYOUTS), _tiff(metadata={}, compression="zlib")),
    "OME-TIFF": Files(".ome.tif", tuple(PIXELS), tuple(LAYOUTS), _tiff(ome=True, metadata={})),
    "TIFF with JPEG inside": Files(
        ".tif",
        ("grey 8 bit", "RGB"),
        _FLAT,
        _tiff(compression="jpeg", compressionargs={"level": 100}, subsampling=(1, 1)),
        lossy=True,
    ),
    "ImageJ": Files(
        ".tif", ("grey 8 bit", "grey 16 bit", "float", "RGB"), tuple(LAYOUTS), _tiff(imagej=True, metadata={})
    ),
    "NIfTI": Files(".nii.gz", (*_GREY, "RGB", "RGBA"), tuple(LAYOUTS), _nifti),
    "NIfTI, not compressed": Files(".nii", (*_GREY, "RGB", "RGBA"), tuple(LAYOUTS), _nifti),
    "NRRD": Files(".nrrd", (*_GREY, "RGB"), tuple(LAYOUTS), _itk),
    "NRRD, header apart": Files(".nhdr", (*_GREY, "RGB"), tuple(LAYOUTS), _itk),
    "MetaImage": Files(".mha", (*_GREY, "RGB"), tuple(LAYOUTS), _itk),
    "MetaImage, header apart": Files(".mhd", (*_GREY, "RGB"), tuple(LAYOUTS), _itk),
}


class Entry(NamedTuple):
    """A file of the matrix; ``sentence`` are words of the refusal, None where it is read."""

    family: str
    pixels: str
    layout: str
    sentence: str | None

    @property
    def outcome(self) -> str:
        if self.sentence:
            return REFUSED
        return CLOSE if FILES[self.family].lossy else PIXELS[self.pixels].outcome

    def write(self, folder: Path, stored: np.ndarray | None = None) -> Path:
        path = folder / f"a{FILES[self.family].ending}"
        stored = PIXELS[self.pixels].stored(self.layout) if stored is None else stored
        FILES[self.family].write(path, stored, self.pixels, self.layout)
        return path

    def expected(self) -> np.ndarray:
        """``[C, *spatial]`` as viewers show it."""
        kind = PIXELS[self.pixels]
        shown = kind.shown(kind.stored(self.layout))
        axes = {"image": "", "stack": "Z", "channels": "C", "stack of channels": "ZC"}[self.layout] + "YX"
        axes += "C" * (shown.ndim > len(axes))
        order = [axes.index(axis) for axis in "CZYX" if axis in axes]
        return shown.transpose(order) if "C" in axes else shown[None]


def entries() -> Iterator[Entry]:
    """The matrix: what a format cannot hold is left out, and so are several channels of colours."""
    for family, files in FILES.items():
        for layout in files.layouts:
            for pixels in files.pixels:
                shown = PIXELS[pixels].outcome == RGB or PIXELS[pixels].samples > 1
                if not (shown and "channels" in layout):
                    yield Entry(family, pixels, layout, files.refused.get(layout))


def table() -> str:
    """The matrix in Markdown: a row for each family and layout, a column for each kind of pixel."""
    cells = {(e.family, e.layout, e.pixels): e.outcome for e in entries()}
    rows = [["file", "layout", *PIXELS], ["---"] * (2 + len(PIXELS))]
    for family, files in FILES.items():
        for layout in files.layouts:
            rows.append([family, layout, *(cells.get((family, layout, pixels), NONE) for pixels in PIXELS)])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


PAGE = Path(__file__).parents[2] / "docs" / "reference" / "formats.md"
BEGIN, END = "<!-- matrix: make docs writes it -->", "<!-- end of the matrix -->"


def page() -> str:
    """``docs/reference/formats.md`` with the table of today."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    return f"{before}{BEGIN}\n{table()}\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
