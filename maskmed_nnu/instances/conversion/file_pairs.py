"""Which mask belongs to which image, by their names."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path

from maskmed_nnu.errors import InputError
from maskmed_nnu.instances import formats
from maskmed_nnu.instances.conversion import source_images
from maskmed_nnu.instances.formats.other_formats import found_instead
from maskmed_nnu.instances.text import format_list

MASK_SUFFIXES = ("_cp_masks", "_masks", "_mask", "_seg", "_labels", "_label")
IMAGE_SUFFIXES = ("_img", "_image")
SYSTEM_FILES = ("Thumbs.db", "desktop.ini")
BYPRODUCTS = ("_flows", "_outlines")  # what Cellpose writes beside its masks


def pair_files(images: Path, masks: Path) -> tuple[dict[str, tuple[list[Path], Path]], list[str]]:
    """Name → images and mask, whose names agree up to a suffix; and the names of the masks without an image.

    An image is one file, or nnU-Net's ``X_0000``, ``X_0001`` …, a file for each channel, where the mask is called X.

    Raises:
        InputError: where an image has no mask, or two files claim the same name.
    """
    together = images.resolve() == masks.resolve()
    pictures = [p for p in source_images.files(images) if not together or not formats.stem(p).endswith(BYPRODUCTS)]
    image_files = [p for p in pictures if not together or not formats.stem(p).endswith(MASK_SUFFIXES)]
    mask_files = [p for p in pictures if p not in set(image_files)] if together else source_images.files(masks)
    if not image_files or not mask_files:
        folder, what = (images, "image") if not image_files else (masks, "mask")
        beside = f", and masks in the folder of the images are called X{', X'.join(MASK_SUFFIXES)}"
        raise InputError(f"{folder} holds no {what}: {found_instead(folder)}{beside if together else ''}.")
    exact = _by_name(image_files, formats.stem)
    by_mask = _by_name(mask_files, lambda p: _without_suffix(formats.stem(p), MASK_SUFFIXES))
    by_full_name = {formats.stem(p): p for p in mask_files}
    paired: dict[str, tuple[list[Path], Path]] = {}
    missing = []
    for name, image in exact.items():
        candidates = (by_full_name.get(name), by_mask.get(name), by_mask.get(_without_suffix(name, IMAGE_SUFFIXES)))
        mask = next((c for c in candidates if c), None)
        if mask is None:
            missing.append(name)
        else:
            paired[name] = [image], mask
    for case, names in _channels(missing).items():
        mask = by_full_name.get(case) or by_mask.get(case)
        if mask and case not in paired:
            paired[case] = [exact[name] for name in names], mask
            missing = [name for name in missing if name not in names]
    if missing:
        hint = "; Cellpose's _seg.npy is not read; save it as a TIFF or PNG" if any(images.glob("*_seg.npy")) else ""
        raise InputError(
            f"No mask in {masks} for {format_list(exact[name].name for name in missing)}; a mask has the name of its "
            f"image, alone or with one of {', '.join(MASK_SUFFIXES)}, and of the channels X_0000, X_0001 … of an "
            f"image the name X{hint}."
        )
    used = {mask for _, mask in paired.values()}
    return paired, [p.name for p in mask_files if p not in used]


def other_files(*folders: Path) -> list[str]:
    """The names of files in ``folders`` that are no pictures; hidden ones and those of the system are not named."""
    return [
        path.name
        for folder in dict.fromkeys(folder.resolve() for folder in folders)
        for path in sorted(folder.iterdir())
        if path.is_file() and not (path.name.startswith(".") or path.name in SYSTEM_FILES or formats.ending(path))
    ]


def _by_name(paths: Iterable[Path], name: Callable[[Path], str]) -> dict[str, Path]:
    named: dict[str, Path] = {}
    for path in paths:
        other = named.setdefault(name(path), path)
        if other != path:
            raise InputError(
                f"{other.name} and {path.name} in {path.parent} claim the same case {name(path)}; keep one of them."
            )
    return named


def _channels(names: Iterable[str]) -> dict[str, list[str]]:
    """Case → its names of channels, numbered from 0 without a gap."""
    cases: dict[str, list[str]] = {}
    for name in sorted(names):
        match = re.fullmatch(r"(.+)_(\d{4})", name)
        if match and int(match[2]) == len(cases.get(match[1], [])):
            cases.setdefault(match[1], []).append(name)
    return cases


def _without_suffix(text: str, suffixes: Iterable[str]) -> str:
    return next((text.removesuffix(s) for s in suffixes if text.endswith(s) and text != s), text)
