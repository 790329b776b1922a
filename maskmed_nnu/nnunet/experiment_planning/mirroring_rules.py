"""From training labels to what the plans say about mirroring: `maskmed_nnu.symmetry` along the axes of arrays."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from nnunetv2.configuration import default_num_processes
from nnunetv2.imageio.reader_writer_registry import determine_reader_writer_from_dataset_json
from nnunetv2.paths import nnUNet_raw
from numpy.typing import NDArray
from tqdm import tqdm

import maskmed_nnu.itk  # noqa: F401  nnU-Net's reader is called in threads
from maskmed_nnu.instances.formats.world_axes import in_world_order, turned_to_world, world_axes
from maskmed_nnu.instances.text import count, format_list
from maskmed_nnu.nnunet.experiment_planning.data_set_grids import training_cases
from maskmed_nnu.nnunet.plans_handling.settings.mirroring import SECTION, MirroringSettings
from maskmed_nnu.nnunet.preprocessing.orientation_checks import check_orientations, read_codes
from maskmed_nnu.symmetry.find import AxisSymmetry, find_symmetry
from maskmed_nnu.symmetry.places import ClassPlace, class_places

WORLD_AXES = ("left-right", "front-back", "up-down")
UNKNOWN = "unknown"
IMAGES = 40
"""Cases whose intensities are looked at, beside the labels of all."""
THREADS = 4  # a volume of 512³ voxels takes a gigabyte with its labels


class FoundMirroring(NamedTuple):
    """``axes``: what was found along those world axes (0 left-right, 1 front-back, 2 up-down) that images extend along.

    ``runs_along``: for each axis z, y, x of the arrays, the world axes along which it runs in some case.
    """

    axes: Mapping[int, AxisSymmetry]
    runs_along: tuple[frozenset[int], ...]
    orientations: Mapping[str, int]
    exchanged: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class _Case(NamedTuple):
    label: str
    images: Sequence[str]

    @property
    def first(self) -> str:
        """The file whose orientation is that of the arrays: labels often do not say theirs."""
        return self.images[0] if self.images else self.label


def find_mirroring(dataset_name: str, dataset_json: Mapping[str, Any], *, labels: Path | None = None) -> FoundMirroring:
    """What a mirror does to the classes of the training cases, by their label files.

    These are nnU-Net's raw ones, or those of the same names in the folder ``labels``.

    Raises
    ------
    InputError
        Where classes have partners, and the files do not all run the same way, so that left is on both sides of arrays.
    """
    cases = _cases(dataset_name, dataset_json, labels)
    names = _names(dataset_json["labels"])
    if not cases:
        return FoundMirroring({}, (frozenset(),) * 3, {})
    example = next(iter(cases.values())).first
    reader = determine_reader_writer_from_dataset_json(dict(dataset_json), example, verbose=False)
    known = read_codes([files.first for files in cases.values()], reader=reader.__name__)
    silent = [files.label for files in cases.values() if files.first not in known]
    by_label = read_codes(silent, reader=reader.__name__)
    codes = {case: known.get(files.first) or by_label.get(files.label) for case, files in cases.items()}
    runs_along = tuple(
        frozenset(axes) for axes in zip(*(world_axes(code) for code in set(codes.values())), strict=True)
    )
    orientations = dict(Counter(code or UNKNOWN for code in sorted(codes.values(), key=str)))
    if len(names) < 2:
        return FoundMirroring({}, runs_along, orientations, (), ("one class cannot be confused with another.",))
    places, extended = _measure(cases, codes, reader(), names)
    found = find_symmetry(places, names)
    partners = [" and ".join(names[label] for label in pair) for axis in found.axes for pair in axis.pairs]
    if partners:
        stored = {files.first: code for case, files in cases.items() if (code := codes[case]) is not None}
        check_orientations(stored, partners=partners[0], reader=reader.__name__, data_set=dataset_name)
    axes = dict(zip(extended, found.axes, strict=bool(found.axes)))
    notes = found.notes
    if partners and not any(files.images for files in cases.values()):
        notes += ("the raw images are missing, so the brightness of partners was not compared.",)
    return FoundMirroring(axes, runs_along, orientations, found.exchanged, notes)


def section_for(found: FoundMirroring, transpose_forward: Sequence[int], dimension: int) -> dict[str, Any] | None:
    """``mirroring`` of a configuration of so many dimensions; None where there were no label files to learn from."""
    if not found.orientations:
        return None
    axes: list[int] = []
    swap: dict[str, list[list[int]]] = {}
    reasons: dict[str, str] = {}
    for axis, array_axis in enumerate(transpose_forward[-dimension:]):
        one = _together([found.axes[world] for world in sorted(found.runs_along[array_axis]) if world in found.axes])
        if one is None:
            axes.append(axis)
            continue
        reasons[str(axis)] = one.reason
        if one.kind != "none":
            axes.append(axis)
        if one.kind == "swap":
            swap[str(axis)] = [list(pair) for pair in one.pairs]
    return MirroringSettings.plan(axes=axes, swap=swap, reasons=reasons, orientations=dict(found.orientations))


def add_mirroring(plans: dict[str, Any], dataset_name: str, dataset_json: Mapping[str, Any]) -> None:
    """Write ``mirroring`` into every configuration of ``plans`` for a data set, and print what was found."""
    found = find_mirroring(dataset_name, dataset_json)
    for line in say(found):
        print(line)
    for configuration in plans["configurations"].values():
        if "patch_size" in configuration:
            section = section_for(found, plans["transpose_forward"], len(configuration["patch_size"]))
            if section is not None:
                configuration[SECTION] = section


def say(found: FoundMirroring) -> Iterator[str]:
    """What was found, for the user, line by line."""
    if not found.orientations:
        yield "Mirroring: there are no label files of training cases, so every axis is mirrored."
        return
    total = sum(found.orientations.values())
    yield f"Mirroring, by the labels of {count(total, 'training case')}:"
    for axis, one in sorted(found.axes.items()):
        yield f"  {WORLD_AXES[axis]}: {one.reason}"
    yield from (f"  {note[:1].upper()}{note[1:]}" for note in found.notes)
    if found.exchanged:
        yield (
            f"  WARNING: in {format_list(found.exchanged)} the partners are on the opposite sides, unlike in all "
            "other cases: check whether left and right are swapped in the labels, or in the body (situs inversus)."
        )


def _together(found: Sequence[AxisSymmetry]) -> AxisSymmetry | None:
    """What holds along an axis of the arrays that runs along several axes of the world, in different cases."""
    if len({(one.kind, one.pairs) for one in found}) > 1:
        return AxisSymmetry("none", (), "cases differ in the direction of this axis, so nothing is mirrored along it.")
    return found[0] if found else None


def _cases(dataset_name: str, dataset_json: Mapping[str, Any], labels: Path | None) -> dict[str, _Case]:
    raw = Path(nnUNet_raw) / dataset_name if nnUNet_raw.is_set() else Path()
    listed = training_cases(raw, dataset_json)
    if labels is None:
        return {case: _Case(files["label"], files["images"]) for case, files in listed.items()}
    ending = dataset_json["file_ending"]
    files = {path.name.removesuffix(ending): str(path) for path in sorted(labels.glob(f"*{ending}"))}
    images = {case: [i for i in listed[case]["images"] if Path(i).is_file()] for case in files if case in listed}
    return {case: _Case(path, images.get(case, [])) for case, path in files.items()}


def _names(labels: Mapping[str, Any]) -> dict[int, str]:
    """Every label but background and ignore, by its name; those inside regions only have none of their own."""
    names: dict[int, str] = {}
    for name, value in labels.items():
        values = [int(one) for one in value] if isinstance(value, list | tuple) else [int(value)]
        for one in values if name != "ignore" else ():
            names[one] = name if len(values) == 1 else names.get(one, f"label {one}")
    return {value: name for value, name in sorted(names.items()) if value > 0}


def _measure(
    cases: Mapping[str, _Case], codes: Mapping[str, str | None], reader: Any, classes: Collection[int]
) -> tuple[dict[str, dict[int, ClassPlace]], tuple[int, ...]]:
    """The places of the classes in every case, and the world axes along which they are measured."""
    step = -(-len(cases) // IMAGES)
    with_image = set(list(cases)[::step])

    def measure(case: str) -> tuple[tuple[int, ...], dict[int, ClassPlace]]:
        labels, properties = reader.read_seg(cases[case].label)
        image: NDArray[Any] | None = None
        if case in with_image and cases[case].images:
            image, _ = reader.read_images(cases[case].images)
            image = turned_to_world(image, codes[case]) if image.shape[1:] == labels.shape[1:] else None
        turned, spacing = turned_to_world(labels[0], codes[case]), in_world_order(properties["spacing"], codes[case])
        extended = [0, 1, 2]
        if labels.shape[1] == 1:  # an image of two dimensions, or a slice
            thin = world_axes(codes[case])[0]
            extended.remove(thin)
            turned = turned.squeeze(thin)
            image = None if image is None else image.squeeze(thin + 1)
        return tuple(extended), class_places(turned, [spacing[i] for i in extended], image=image, classes=classes)

    with ThreadPoolExecutor(min(THREADS, default_num_processes)) as pool:
        measured = dict(
            zip(cases, tqdm(pool.map(measure, cases), total=len(cases), desc="classes in a mirror"), strict=True)
        )
    usual = Counter(extended for extended, _ in measured.values()).most_common(1)[0][0]
    return {case: places for case, (extended, places) in measured.items() if extended == usual}, usual
