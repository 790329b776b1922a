"""``dataset.json`` as people write it: every fault at once, each a sentence with its cure.

Refused is what nnU-Net 2 cannot work with, or takes in silence for something else; what its label manager, planner and
readers understand (regions, an ignore label, ``modality``, numbers in quotes, keys of others) is left alone.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from maskmed_nnu.errors import InputError
from maskmed_nnu.json_file import read_json, shown

NEEDED = ("channel_names", "labels", "numTraining", "file_ending")
EXAMPLES = {
    "channel_names": '{"0": "CT"}',
    "labels": '{"background": 0, "tumour": 1}',
    "numTraining": "the number of training cases",
    "file_ending": '".nii.gz"',
}
ENDINGS = (".nii.gz", ".nii", ".nrrd", ".mha", ".gipl", ".png", ".bmp", ".tif", ".tiff")
"""What nnU-Net finds a reader for by itself."""
READERS = ("InstanceIO", "SimpleITKIO", "NibabelIO", "NibabelIOWithReorient", "NaturalImage2DIO", "Tiff3DIO")
READER_KEY = "overwrite_image_reader_writer"


def read_dataset_json(path: Path | str, *, needs: Sequence[str] = NEEDED) -> dict[str, Any]:
    """The content of a ``dataset.json``, of which the keys that the reader ``needs`` are there and legal.

    Raises:
        InputError: one for all faults; also where the file is missing, damaged or no JSON.
    """
    content = read_json(path, expected="nnU-Net's dataset.json")
    faults = dataset_json_faults(content, str(path), needs=needs)
    if len(faults) > 1:
        raise InputError(f"{path} has {len(faults)} faults:\n- " + "\n- ".join(faults))
    if faults:
        raise InputError(faults[0])
    assert isinstance(content, dict)
    return content


def dataset_json_faults(content: Any, name: str, *, needs: Sequence[str] = NEEDED) -> list[str]:
    """Every fault of what a ``dataset.json`` called ``name`` holds, in a sentence; of the keys that are needed only."""
    if not isinstance(content, dict):
        return [f"{name} holds {shown(content)}; nnU-Net's dataset.json is an object with {', '.join(NEEDED)}."]
    present = [k for k in needs if k in content or (k == "channel_names" and "modality" in content)]
    missing = [f"{key} (such as {EXAMPLES[key]})" for key in needs if key not in present]
    faults = [f"{name} lacks {' and '.join(missing)}; add what nnU-Net needs."] if missing else []
    for key in [*present, *(["dataset"] if "dataset" in content and "numTraining" in needs else [])]:
        faults += [f"{name}: {fault}" for fault in CHECKS[key](content)]
    return faults


def label_number(value: Any) -> int | None:
    """A label's number as nnU-Net takes it, who understands ``1``, ``1.0`` and ``"1"``; None for anything else."""
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if isinstance(value, str) or number == value else None


def _channel_names(content: dict[str, Any]) -> Iterator[str]:
    key = "channel_names" if "channel_names" in content else "modality"
    names = content[key]
    if isinstance(names, (list, str)) and names:
        cure = _numbered(names if isinstance(names, list) else [names])
        yield f"{key} is {shown(names)}; write an object with a number for each channel, {shown(cure)}."
    elif not isinstance(names, dict) or not names:
        yield f"{key} is {shown(names)}; it must name each channel, as in {EXAMPLES['channel_names']}."
    elif [label_number(number) for number in names] != list(range(len(names))):
        swapped = all(label_number(value) is not None for value in names.values())
        in_order = sorted(names, key=lambda key: -1 if (number := label_number(key)) is None else number)
        cure = {str(v): key for key, v in names.items()} if swapped else _numbered([names[key] for key in in_order])
        yield (
            f'the keys of {key} are {", ".join(map(shown, names))}; they must count the channels from "0" in the '
            f"order of the files' _0000, _0001, as in {shown(cure)}."
        )
    elif not all(isinstance(value, str) for value in names.values()):
        yield f"{key} is {shown(names)}; the name of each channel must be a text."


def _labels(content: dict[str, Any]) -> Iterator[str]:
    labels = content["labels"]
    if isinstance(labels, dict) and labels and all(map(_swapped, labels.items())):
        right = shown({value: label_number(number) for number, value in labels.items()})
        yield f"labels is {shown(labels)} as in version 1; nnU-Net 2 has names before numbers: {right}."
        return
    if not isinstance(labels, dict) or not labels:
        names = labels if isinstance(labels, list) and all(isinstance(one, str) for one in labels) else None
        cure = EXAMPLES["labels"] if not names else shown({one: i for i, one in enumerate(names)})
        yield f"labels is {shown(labels)}; it must give each class a number, background first, as in {cure}."
        return
    wrong = {name: value for name, value in labels.items() if name != "ignore" and not _legal_label(value)}
    if wrong:
        yield (
            f"labels has {shown(wrong)}; the label of a class is a whole number of 0 or more, or of a region a list "
            "of such numbers."
        )
        return
    if "background" not in labels:
        near = next((name for name in labels if name.lower() in ("background", "bg") or labels[name] == 0), None)
        yield (
            "labels has no background, which must be 0; "
            + (f"call {shown(near)} background." if near and labels[near] == 0 else 'add "background": 0.')
        )
    elif isinstance(labels["background"], list) or label_number(labels["background"]) != 0:
        yield f"the label of background is {shown(labels['background'])}; it must be 0, and classes count from 1."
    yield from _label_values(labels, content.get("regions_class_order"))


def _swapped(label: tuple[str, Any]) -> bool:
    number, name = label
    return label_number(number) is not None and isinstance(name, str) and label_number(name) is None


def _legal_label(value: Any) -> bool:
    numbers = [label_number(one) for one in value] if isinstance(value, list) else [label_number(value)]
    return bool(numbers) and all(number is not None and number >= 0 for number in numbers)


def _label_values(labels: dict[str, Any], order: Any) -> Iterator[str]:
    """Gaps, regions and the ignore label of labels whose types are legal."""
    classes = {name: value for name, value in labels.items() if name != "ignore"}
    values = {label_number(one) or 0 for v in classes.values() for one in (v if isinstance(v, list) else [v])}
    largest, has_regions = max(values), any(isinstance(v, list) and len(v) > 1 for v in classes.values())
    if largest == 0:
        yield f"labels is {shown(labels)}; there must be a class besides the background."
    missing = [number for number in range(1, min(largest, 2**16)) if number not in values]
    if missing and not has_regions:
        more = " and more" if len(missing) > 10 else ""
        yield (
            f"the labels go up to {largest}, but no class has {', '.join(map(str, missing[:10]))}{more}; they must be "
            "consecutive, so renumber the classes here and in the label files."
        )
    if has_regions:
        yield from _regions(classes, order)
    ignore = labels.get("ignore")
    if ignore is not None and (not isinstance(ignore, int) or ignore != largest + 1):
        yield (
            f"the ignore label is {shown(ignore)}; it must be the highest one, {largest + 1} here, in the label files "
            "as well."
        )


def _regions(classes: dict[str, Any], order: Any) -> Iterator[str]:
    regions = {n: v for n, v in classes.items() if set(v if isinstance(v, list) else [v]) not in ({0}, {"0"})}
    quoted = {
        n: v for n, v in classes.items() if any(isinstance(one, str) for one in (v if isinstance(v, list) else [v]))
    }
    if quoted:
        yield f"labels has {shown(quoted)}; apart from regions, every label must be a number without quotes."
    if not isinstance(order, list) or len(order) != len(regions) or not all(type(one) is int for one in order):
        found = "is missing" if order is None else f"is {shown(order)}"
        yield (
            f"regions_class_order {found}, but labels has {len(regions)} regions ({', '.join(regions)}); give it "
            "that many numbers: the value of each region in predicted maps, where later regions are drawn over "
            "earlier ones."
        )


def _number(content: dict[str, Any]) -> Iterator[str]:
    number = content["numTraining"]
    if type(number) not in (int, float) or number != number or number < 1 or number % 1:
        yield f"numTraining is {shown(number)}; it must be the number of training cases, without quotes."


def _listed_cases(content: dict[str, Any]) -> Iterator[str]:
    cases = content["dataset"]
    if not lists_cases(cases):
        yield (
            f"dataset is {shown(cases)}; where it is given, it must list the files of each case, as in "
            '{"case_1": {"images": ["imagesTr/case_1_0000.nii.gz"], "label": "labelsTr/case_1.nii.gz"}}.'
        )


def lists_cases(cases: Any) -> bool:
    """Whether ``dataset`` names the files of each case itself, which is optional."""
    return isinstance(cases, dict) and bool(cases) and all(map(_legal_case, cases.values()))


def _legal_case(files: Any) -> bool:
    images, label = (files.get("images"), files.get("label")) if isinstance(files, dict) else (None, None)
    return isinstance(label, str) and isinstance(images, list) and all(isinstance(one, str) for one in images)


def _file_ending(content: dict[str, Any]) -> Iterator[str]:
    ending, reader = content["file_ending"], content.get(READER_KEY, "None")
    bare = ending.strip().lstrip("*").lower() if isinstance(ending, str) else ""
    if not bare.strip("."):
        yield f"file_ending is {shown(ending)}; it must be one text, such as {EXAMPLES['file_ending']}."
    elif not ending.startswith(".") or any(one in ending for one in "*?/\\") or ending != ending.strip():
        cure = bare if bare.startswith(".") else f".{bare}"
        yield f'file_ending is {shown(ending)}; it must begin with the dot and hold no wildcard or folder: "{cure}".'
    elif ending.lower() not in ENDINGS and reader not in READERS:
        yield f"file_ending is {shown(ending)}, for which nnU-Net has no reader; it reads {', '.join(ENDINGS)}."
    if not isinstance(reader, str):
        yield f"{READER_KEY} is {shown(reader)}; it must be the name of a reader, or be left out."
    elif reader not in (*READERS, "None"):
        near = difflib.get_close_matches(reader.lower(), [one.lower() for one in READERS], n=1)
        right = next((one for one in READERS if near and one.lower() == near[0]), None)
        if right:  # another name may be a reader of the user's own
            yield f"{READER_KEY} is {shown(reader)}, which nnU-Net ignores without a message; {right} is meant."


CHECKS = {
    "channel_names": _channel_names,
    "labels": _labels,
    "numTraining": _number,
    "dataset": _listed_cases,
    "file_ending": _file_ending,
}


def _numbered(names: list[Any]) -> dict[str, Any]:
    return {str(number): name for number, name in enumerate(names)}
