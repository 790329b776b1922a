"""What a folder holds that has no file to read, and how that is made one."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from maskmed_nnu.instances.formats.endings import ENDINGS, ending
from maskmed_nnu.instances.text import count, format_list

_MICROSCOPES = "czi dv flex ims lif lsm mvd2 nd nd2 oib oif r3d sld stk vsi zvi".split()
_SLIDES = "bif mrxs ndpi scn svs vms vmu".split()
_PICTURES = "avif gif heic heif j2k jp2 jxl pbm pgm ppm psd tga webp".split()
_ARRAYS = "h5 hdf5 mat npy npz".split()
CURES = {
    **dict.fromkeys(_MICROSCOPES, "save them as OME-TIFF (Fiji does, with Bio-Formats)"),
    **dict.fromkeys(_SLIDES, "save the regions to use as TIFF (QuPath does)"),
    **dict.fromkeys(_PICTURES, "save them as PNG"),
    **dict.fromkeys(_ARRAYS, 'save the arrays as TIFF (tifffile.imwrite(path, array, metadata={"axes": "ZYX"}))'),
    **dict.fromkeys(("dcm", "dicom", "ima"), "convert them to NIfTI with dcm2niix"),
    **dict.fromkeys(("mnc", "mgz", "mgh", "hdr", "img"), "convert them to NIfTI"),
    **dict.fromkeys(("zip", "tar", "tgz", "7z", "rar"), "unpack them"),
    **dict.fromkeys(("avi", "mp4", "mov"), "save each frame to use as PNG"),
}
DICOM = "dcm"


def found_instead(folder: Path) -> str:
    """What ``folder`` holds beside hidden files, none of them to be read, and the cure, as a clause."""
    paths = sorted(p for p in folder.iterdir() if not p.name.startswith("."))
    files = [p for p in paths if p.is_file()]
    below = [p for p in paths if p.is_dir() and any(ending(f) for f in p.iterdir())]
    if below:
        return f"its images are in subfolders ({format_list((p.name for p in below), 3)}), so name one of these"
    kinds = Counter(kind for p in files if (kind := _kind(p)))
    if not kinds:
        return f"{'its files have other endings' if files else 'it is empty'}; legal are {', '.join(ENDINGS)}"
    kind, number = kinds.most_common(1)[0]
    what = "DICOM" if kind == DICOM else f".{kind}"
    return f"it holds {count(number, f'{what} file')} in an unsupported format, so {CURES[kind]}"


def _kind(path: Path) -> str | None:
    """A key of `CURES`; DICOM often has no ending."""
    kind = path.suffix[1:].lower()
    if kind in CURES:
        return DICOM if kind in ("dicom", "ima") else kind
    try:
        with path.open("rb") as file:
            return DICOM if file.read(132)[128:] == b"DICM" else None
    except OSError:
        return None
