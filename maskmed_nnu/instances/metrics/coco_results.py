"""COCO results: predicted masks with scores, by the name of their image, for the average precision."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict

from maskmed_nnu.errors import InputError
from maskmed_nnu.instances import rle
from maskmed_nnu.instances.array_types import Integers, Mask
from maskmed_nnu.instances.boxes import box_slices
from maskmed_nnu.instances.coco_document import Id, References, describe_ids, without_repeats
from maskmed_nnu.instances.detections import Detections, make_detections
from maskmed_nnu.instances.text import count
from maskmed_nnu.json_file import read_json, shown
from maskmed_nnu.json_types import parse_entries


class _Result(BaseModel):
    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    image_id: Id
    category_id: int
    segmentation: Any
    score: float
    instance_id: int | None = None
    """Of an object of a volume: which one in its slices are one"""


class _Piece(NamedTuple):
    """An object, or what a slice shows of it: starts and stops ``[2, dim]``, and the mask in between."""

    result: _Result
    box: Integers
    mask: Mask


class CocoResults:
    """What a file of COCO results says of each image; `notes` tell what does not count."""

    def __init__(self, path: Path) -> None:
        """Read a list of objects with ``image_id`` (CASE, or of a volume CASE_z), ``segmentation`` and ``score``.

        Raises:
            InputError: where the file is not that.
        """
        content = read_json(path, expected="a list of COCO results")
        if not isinstance(content, list):
            found = f"an object with {', '.join(content)[:80]}" if isinstance(content, dict) else shown(content)
            raise InputError(
                f"{path} holds no COCO results but {found}; it must be a list of objects with "
                f"{', '.join(_Result.model_fields)}."
            )
        self.path = path
        self.notes: list[str] = []
        results, repeats = without_repeats(parse_entries(content, _Result, file=path, place="results"), repr)
        if repeats:
            self.notes.append(f"{count(repeats, 'result')} of {path.name} listed twice, counted once")
        self._results: dict[int | str, list[_Result]] = {}
        for result in results:
            self._results.setdefault(result.image_id, []).append(result)
        self.linked = all(result.instance_id is not None for result in results)
        """Whether the results of slices say which of them are one object."""
        self._images = References(self._results)
        self._used: set[int | str] = set()
        self._first = ""
        self._empty = 0

    def check_classes(self, classes: Mapping[str, int]) -> None:
        """Refuse results of other classes.

        Raises:
            InputError
        """
        found = {result.category_id for results in self._results.values() for result in results}
        unknown = sorted(found - set(classes.values()))
        if unknown:
            raise InputError(
                f"{self.path} holds results with category_id {describe_ids(unknown)}, but the classes of the data set "
                f"are {', '.join(f'{number} ({name})' for name, number in classes.items())}."
            )

    def detections(self, image: str, shape: tuple[int, ...]) -> Detections:
        """The objects of an image of the size `shape` (y, x), or of a volume (z, y, x) whose slices are `linked`.

        Raises:
            InputError: where a mask is none, or is that of an image of another size.
        """
        if len(shape) == 2:
            found = list(self._pieces(image, (shape[0], shape[1])))
        else:
            pieces: dict[int | None, list[_Piece]] = {}
            for z in range(shape[0]):
                for piece in self._pieces(f"{image}_{z}", (shape[1], shape[2])):
                    where = np.array([[z], [z + 1]])
                    in_space = piece._replace(box=np.hstack([where, piece.box]), mask=piece.mask[None])
                    pieces.setdefault(piece.result.instance_id, []).append(in_space)
            found = [_joined(parts) for parts in pieces.values()]
        return make_detections(
            shape,
            [piece.box.ravel() for piece in found],
            [piece.mask * np.uint8(255) for piece in found],
            [piece.result.score for piece in found],
            [piece.result.category_id for piece in found],
        )

    def _pieces(self, image: str, shape: tuple[int, int]) -> Iterator[_Piece]:
        """The masks of an image or slice."""
        self._first = self._first or image
        name = self._images.find(image)
        if name is None:
            return
        self._used.add(name)
        for result in self._results[name]:
            try:
                positions = rle.decode(result.segmentation, shape)
            except (LookupError, TypeError, ValueError, OverflowError) as error:
                reason = error if isinstance(error, rle.SegmentationError) else "its segmentation is not an RLE"
                raise InputError(
                    f"A COCO result of {image} ({shape[1]} × {shape[0]} pixels) in {self.path} is unusable: {reason}."
                ) from None
            if not len(positions):
                self._empty += 1
                continue
            (y, x), mask = rle.crop(positions, shape[0])
            yield _Piece(result, np.array([[y.start, x.start], [y.stop, x.stop]]), mask)

    def tell_unused(self) -> None:
        """Note what was not asked for after all images were.

        Raises:
            InputError: where that is everything.
        """
        unused = [name for name in self._results if name not in self._used]
        if unused and not self._used:
            raise InputError(
                f"No image_id in {self.path} is an image or slice that was evaluated, such as {self._first}; there are "
                f"only {describe_ids(unused[:3])} and the like, so they belong to another data set."
            )
        if unused:
            results = sum(len(self._results[name]) for name in unused)
            self.notes.append(
                f"{count(results, 'result')} of images without truth, not counted: {describe_ids(unused)}"
            )
        if self._empty:
            self.notes.append(f"{count(self._empty, 'result')} with an empty mask, not counted")


def _joined(pieces: Sequence[_Piece]) -> _Piece:
    """One object from its slices, with the class and score of the first."""
    low = np.min([piece.box[0] for piece in pieces], axis=0)
    high = np.max([piece.box[1] for piece in pieces], axis=0)
    mask = np.zeros(high - low, bool)
    for piece in pieces:
        mask[box_slices(piece.box.ravel().tolist(), low.tolist())] |= piece.mask
    return _Piece(pieces[0].result, np.stack([low, high]), mask)
