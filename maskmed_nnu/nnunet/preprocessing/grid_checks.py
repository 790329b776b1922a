"""Whether the files of a case lie on one grid that its reader can take, by their headers alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from nibabel.orientations import inv_ornt_aff, io_orientation

from maskmed_nnu.instances.formats import NIFTI, VOLUMES, ending
from maskmed_nnu.instances.formats.geometry import (
    Geometry,
    difference,
    disagreement,
    elsewhere_sentence,
    sheared_sentence,
    unknown_sentence,
)
from maskmed_nnu.instances.formats.volumes import MAX_SKEW, Header, read_forms, read_header
from maskmed_nnu.instances.formats.world_axes import code_as_read, codes_as_read
from maskmed_nnu.instances.text import format_list

MAX_NAMES = 3


@dataclass
class GridIssues:
    """``faults`` are sentences that name the file; the others are files that are taken as they are.

    ``forms`` has the NIfTIs whose sform and qform disagree, by the form that is used; ``codes`` the orientation of each
    case's first image as its reader gives it, which is no issue of one case alone.
    """

    faults: list[str] = field(default_factory=list)
    sheared: list[str] = field(default_factory=list)
    forms: dict[str, list[str]] = field(default_factory=dict)
    codes: dict[str, str] = field(default_factory=dict, compare=False)

    def add(self, other: GridIssues) -> None:
        self.faults += other.faults
        self.sheared += other.sheared
        self.codes |= other.codes
        for form, files in other.forms.items():
            self.forms.setdefault(form, []).extend(files)

    def notes(self) -> list[str]:
        """A sentence for each kind of thing that is taken as it is, with the names of a few files."""
        notes = [
            f"sform and qform disagree in {_count(files)}; the {form} is used. Correct the one that is wrong."
            for form, files in self.forms.items()
        ]
        if self.sheared:
            notes.append(
                f"The axes of {_count(self.sheared)} are sheared (not perpendicular); nnU-Net takes them as if they "
                "were perpendicular."
            )
        return notes


def check_grid(image_files: Sequence[str], seg_file: str | None, *, reader: str) -> GridIssues:
    """Compare each channel and the label map with the first channel; ``reader`` is the name of nnU-Net's class.

    Files that say nothing about their place are left out, and so are those that cannot be read: the reader tells.
    """
    files = [f for f in [*image_files, *([] if seg_file is None else [seg_file])] if ending(f) in VOLUMES]
    first = image_files[0]
    place = _common_place(files) if first in files else None
    if place is not None:
        code = code_as_read(place, reader=reader)
        return GridIssues(codes={} if code is None else {first: code})
    code = codes_as_read(first, reader=reader)
    headers: dict[str, Header] = {}
    issues = GridIssues(codes={} if code is None else {first: code})
    for file in files:
        try:
            header = read_header(file)
        except Exception:  # the libraries raise whatever they like at damaged files
            continue
        if not header.geometry.known:
            issues.faults.append(unknown_sentence(file))
            continue
        if not header.readable and not reader.startswith("Nibabel"):
            issues.faults.append(sheared_sentence(file, header.geometry))
            continue
        if header.geometry.skew() > MAX_SKEW:
            issues.sheared.append(str(file))
        form = disagreement(header.geometry, header.size)
        if form is not None:
            issues.forms.setdefault("sform" if reader.startswith("Nibabel") else form, []).append(str(file))
        headers[file] = _turned(header) if reader.endswith("WithReorient") else header
    if first in headers:
        for file, header in headers.items():
            if file is not first:
                issues.faults += _faults(file, header, first, headers[first], file == seg_file, reader)
    return issues


def _common_place(files: Sequence[str]) -> Geometry | None:
    """Of NIfTIs of the same shape and the same words for one place, as most are: a look that costs less."""
    if not all(ending(f) in NIFTI for f in files):
        return None
    try:
        said = {read_forms(file) for file in files}
    except Exception:
        return None
    if len(said) != 1:
        return None
    shape, forms = said.pop()
    used = [f for f, code in ((forms.qform, forms.qform_code), (forms.sform, forms.sform_code)) if code > 0]
    places = [Geometry.from_form(form, forms) for form in used or [forms.qform]]
    straight = all(place.skew() < _STRAIGHT for place in places)
    same = len(places) < 2 or difference(places[0], places[1], shape) is None
    return places[0].to(min(len(shape), 3)) if straight and same else None


_STRAIGHT = 0.001  # degrees, far below what ITK refuses


def _faults(file: str, header: Header, first: str, its: Header, is_label: bool, reader: str) -> list[str]:
    size, image_size = ((*h.size, 1, 1)[:3] for h in (header, its))
    own = header.geometry
    if size != image_size:
        if reader != "InstanceIO":  # whose label maps may have layers: it compares sizes itself
            what = "the labels have" if is_label else "the channel has"
            return [
                f"{file}: {what} the shape {_shape(size)}, the image has {_shape(image_size)} ({first}). They must be "
                "on the same grid; resample one of them."
            ]
        if image_size[2] == 1:
            own = own.to(2)
    found = difference(own, its.geometry, image_size)
    what = f"its image {Path(first).name}" if is_label else f"{Path(first).name} of the same case"
    return [elsewhere_sentence(file, what, found)] if found else []


def _turned(header: Header) -> Header:
    """As nnU-Net turns a volume before it is used: the axes in the order and the directions of the body's."""
    geometry = header.geometry.to(3)
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = geometry.axes * geometry.spacing, geometry.origin
    size = (*header.size, 1, 1)[:3]
    turn = io_orientation(affine)
    turned = Geometry.from_affine(affine @ inv_ornt_aff(turn, size), geometry.nifti)
    return header._replace(size=tuple(size[i] for i in np.argsort(turn[:, 0])), geometry=turned)


def _count(files: Sequence[str]) -> str:
    names = format_list((Path(file).name for file in files), MAX_NAMES)
    return names if len(files) == 1 else f"{len(files):,} files ({names})"


def _shape(size: Sequence[int]) -> str:
    return "×".join(str(n) for n in size[::-1])
