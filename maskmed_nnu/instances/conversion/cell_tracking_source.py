"""The layout of the Cell Tracking Challenge: sequences of frames, and segmentations of some of them."""

from __future__ import annotations

import re
from pathlib import Path

from maskmed_nnu.errors import InputError
from maskmed_nnu.instances.conversion import source_images
from maskmed_nnu.instances.conversion.paired_cases import Reading
from maskmed_nnu.instances.conversion.source_case import SourceCase
from maskmed_nnu.instances.conversion.sources import LabelMapSource
from maskmed_nnu.instances.text import count

TRUTHS = ("GT", "ST")
"""Gold truth, of people; silver truth, of the participants' agreement."""


class CellTrackingSource(LabelMapSource):
    """``01/t000.tif`` with ``01_GT/SEG/man_seg000.tif``, and so on for all sequences and frames.

    Where a sequence has no whole frame in its gold truth, its silver truth, ``01_ST/SEG``, is taken. Left out and told
    are frames without a segmentation, and single slices of a volume (``man_seg_000_012.tif``), whose other slices
    would be learned as background.

    Raises:
        InputError: where there is no sequence or no segmentation of a whole frame.
    """

    def __init__(
        self,
        folder: Path,
        class_name: str,
        *,
        order: str | None = None,
        spacing: tuple[float, ...] | None = None,
    ) -> None:
        self._reading = Reading(order, spacing)
        self.classes = {class_name: 1}
        self.channel_names: list[str] = []
        self.notes: list[str] = []
        self.cases: list[SourceCase] = []
        if not folder.is_dir():
            raise InputError(f"{folder} is not a folder; name the one that holds the sequences 01, 02 and so on.")
        sequences = sorted(path for path in folder.iterdir() if path.is_dir() and re.fullmatch(r"\d{2}", path.name))
        if not sequences:
            raise InputError(
                f"{folder} holds no sequence 01, 02 and so on of the Cell Tracking Challenge; name the folder of "
                "a data set."
            )
        for sequence in sequences:
            self._add(sequence)
        if not self.cases:
            raise InputError(
                f"{folder} holds no segmentation of a whole frame, such as 01_GT/SEG/man_seg000.tif; single "
                "slices and the markers in TRA do not show the outlines of all cells, so take the silver truth "
                "(01_ST) if there is one."
            )

    def _add(self, sequence: Path) -> None:
        frames = _numbered(sequence, r"t(\d{3,4})")
        masks: dict[str, Path] = {}
        for truth in TRUTHS:
            folder = sequence.with_name(f"{sequence.name}_{truth}") / "SEG"
            masks = masks or _numbered(folder, r"man_seg(\d{3,4})")
            slices = _numbered(folder, r"man_seg_(\d{3,4}_\d{3,4})")
            if slices:
                self.notes.append(f"{count(len(slices), 'single slice')} in {folder}, skipped")
        if without := len(set(frames) - set(masks)):
            self.notes.append(f"{count(without, 'frame')} of {sequence.name} without a segmentation, skipped")
        for number in sorted(set(frames) & set(masks)):
            name, image = f"{sequence.name}/{frames[number].stem}", frames[number]
            self.cases.append(SourceCase(name, image, (image, masks[number])))


def _numbered(folder: Path, pattern: str) -> dict[str, Path]:
    """Number → TIFF of that name; of a folder that is not there nothing."""
    files = source_images.files(folder) if folder.is_dir() else []
    matches = ((re.fullmatch(rf"{pattern}\.tiff?", path.name), path) for path in files)
    return {match[1]: path for match, path in matches if match}
