"""A COCO json as people write it: ids in quotes or not, null for nothing, lists or objects keyed by id.

What the tools behind such files are known to do is understood where it has one meaning; anything else is refused with
its place in the file.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar

from annotated_types import Ge, MinLen
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from maskmed_nnu.errors import InputError
from maskmed_nnu.instances.text import count, format_list
from maskmed_nnu.json_file import read_json, shown
from maskmed_nnu.json_types import parse_entries
from maskmed_nnu.legal_values import Words

Id = Annotated[int | str, Words("a whole number or a text", "whole numbers or texts")]
Name = Annotated[str, MinLen(1), Field(coerce_numbers_to_str=True), Words("a text that is not empty", "texts")]
Edge = Annotated[int, Ge(1)]
Crowd = Annotated[bool, BeforeValidator(lambda value: value or False), Words("0 or 1", "0 or 1")]
# keys of the document or of its first entry, and what it is
FOREIGN: tuple[tuple[set[str], str], ...] = (
    ({"shapes", "imagePath"}, "annotations of LabelMe; convert them with labelme2coco"),
    ({"_via_img_metadata"}, "a project of the VGG Image Annotator; export its annotations as COCO there"),
    ({"filename", "regions"}, "annotations of the VGG Image Annotator; export them as COCO there"),
    ({"data", "annotations"}, "tasks of Label Studio; export them as COCO there"),
    ({"data", "completions"}, "tasks of Label Studio; export them as COCO there"),
    ({"items", "categories"}, "a data set of Datumaro or CVAT; export it as COCO there"),
    ({"type", "features"}, "GeoJSON, as QuPath writes it; export label images there and convert them as masks"),
    ({"type", "geometry"}, "GeoJSON, as QuPath writes it; export label images there and convert them as masks"),
    ({"image", "annotations"}, "annotations of CreateML, which are boxes; masks are needed"),
    ({"image_id", "category_id"}, "a list of annotations or results alone; name the document with its images"),
    ({"labels", "file_ending"}, "a dataset.json of nnU-Net; name the file with the annotations"),
    ({"mag", "nuc"}, "nuclei of HoVer-Net; save them as label maps and convert them as masks"),
    ({"segments_info"}, "COCO panoptic, which stores masks as separate PNG files; save them as label maps"),
)

Key = TypeVar("Key", bound=Hashable)
Entry = TypeVar("Entry", bound=BaseModel)
Item = TypeVar("Item")


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, allow_inf_nan=False)


class CocoImage(_Entry):
    """An image that the json lists."""

    id: Id
    file_name: Name
    height: Edge | None = None
    width: Edge | None = None

    @property
    def shape(self) -> tuple[int, int] | None:
        """(y, x), None where the json does not say."""
        return None if self.height is None or self.width is None else (self.height, self.width)


class CocoCategory(_Entry):
    """A class; only those with annotations become one of the data set."""

    id: Id
    name: Name


class CocoAnnotation(_Entry):
    """An object or a crowd region of an image; ``id`` only names it in sentences, so that it may be missing."""

    image_id: Id
    category_id: Id
    id: Any = None
    iscrowd: Crowd = False
    segmentation: Any = None
    bbox: Any = None


@dataclass(frozen=True)
class CocoDocument:
    """The content of the file, checked except for references between its parts; `notes` say what was left out."""

    images: list[CocoImage]
    annotations: list[CocoAnnotation]
    categories: list[CocoCategory]
    notes: list[str]


class References(Generic[Key]):
    """Finds what an id refers to, also where one of the two is in quotes and the other is not: ``"007"`` is 7.

    >>> References([1, "2", "a"]).find("1"), References([1, "1"]).find("1"), References([1]).find(2)
    (1, '1', None)
    """

    def __init__(self, ids: Iterable[Key]) -> None:
        self._exact: dict[Hashable, Key] = {one: one for one in ids}
        times = Counter(map(_meaning, self._exact))
        self._unambiguous = {_meaning(one): one for one in self._exact.values() if times[_meaning(one)] == 1}

    def find(self, reference: Hashable) -> Key | None:
        """The id that ``reference`` means, None where there is none or more than one."""
        return self._exact.get(reference, self._unambiguous.get(_meaning(reference)))


def natural_order(key: int | str) -> tuple[bool, Any]:
    """Sorts ids: numbers by their size, in quotes or not, before texts."""
    meaning = _meaning(key)
    return isinstance(meaning, str), meaning


def read_document(path: Path) -> CocoDocument:
    """Read the COCO json at `path`.

    Raises:
        InputError: where it is none, a value has no meaning, or two images or categories contradict each other.
    """
    content = read_json(path, expected="a COCO json of instances")
    foreign = _other_format(content)
    if foreign:
        raise InputError(f"{path} holds {foreign}; COCO json holds images, annotations and categories.")
    missing = [k for k in ("images", "annotations", "categories") if not isinstance(content, dict) or k not in content]
    if missing:
        raise InputError(f"{path} has no {', '.join(missing)}; COCO json holds images, annotations and categories.")
    notes: list[str] = []
    images = _distinct(_parse(content, "images", CocoImage, path), "images", path, notes)
    if not images:
        raise InputError(f"{path} lists no images (images is {shown(content['images'])}); COCO json lists every one.")
    _refuse_twice("Two images", "file_name", images, path)
    categories = _distinct(_parse(content, "categories", CocoCategory, path), "categories", path, notes)
    _refuse_twice("Two categories", "name", categories, path)
    annotations = _parse(content, "annotations", CocoAnnotation, path)
    if annotations and not categories:
        raise InputError(
            f"{path} has {count(len(annotations), 'annotation')} but no categories (categories is "
            f'{shown(content["categories"])}); declare them, as in [{{"id": 1, "name": "cell"}}].'
        )
    return CocoDocument(images, annotations, categories, notes)


def without_repeats(items: Sequence[Item], content: Callable[[Item], Hashable | None]) -> tuple[list[Item], int]:
    """``items`` without those whose ``content`` stands before them, and their number; None is unlike anything."""
    seen: set[Hashable] = set()
    kept = []
    for item in items:
        key = content(item)
        if key is None or key not in seen:
            kept.append(item)
            seen.add(key)
    return kept, len(items) - len(kept)


def _meaning(key: Hashable) -> Any:
    """A number in quotes is that number."""
    match = re.fullmatch(r"\s*(-?\d{1,18})(?:\.0*)?\s*", key) if isinstance(key, str) else None
    return int(match[1]) if match else key


def _parse(content: dict[str, Any], name: str, model: type[Entry], path: Path) -> list[Entry]:
    group = content[name]
    if group is None:
        return []
    if not isinstance(group, (list, dict)):
        raise InputError(f"{name} in {path} is {shown(group)}, but it must be a list of objects.")
    return parse_entries(group, model, file=path, place=name)


def _distinct(entries: list[Entry], name: str, path: Path, notes: list[str]) -> list[Entry]:
    """Without the entries that are listed again as they are; an id with two meanings is refused."""
    distinct, repeats = without_repeats(entries, repr)
    if repeats:
        notes.append(f"{repeats:,} of the {name} listed twice, counted once")
    _refuse_twice(f"Two {name}", "id", distinct, path)
    return distinct


def _refuse_twice(what: str, attribute: str, entries: Sequence[BaseModel], path: Path) -> None:
    values = [getattr(entry, attribute) for entry in entries]
    twice = next((value for value, times in Counter(values).items() if times > 1), None)
    if twice is not None:
        raise InputError(f"{what} in {path} have the {attribute} {twice!r}; it must be unique, so correct one of them.")


def _other_format(content: Any) -> str | None:
    """What else the file holds, recognised by the keys of the document or of its first entry."""
    if isinstance(content, dict) and {"images", "annotations"} <= content.keys():
        samples: list[Any] = [*_first(content["annotations"])]
        table = [one for one in FOREIGN if one[0] == {"segments_info"}]
    else:
        samples, table = [content, *_first(content)], list(FOREIGN)
    keys = [set(sample) for sample in samples if isinstance(sample, Mapping)]
    return next((what for needed, what in table for found in keys if needed <= found), None)


def _first(group: Any) -> list[Any]:
    entries = group.values() if isinstance(group, dict) else group if isinstance(group, list) else ()
    return list(entries)[:1]


def describe_ids(ids: Iterable[object]) -> str:
    """Ids as a sentence lists them, texts in quotes."""
    return format_list(map(shown, ids))
