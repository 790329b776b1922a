"""The objects' part of a data set's fingerprint, kept in ``dataset_fingerprint.json``: of slices, and of volumes."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
from nnunetv2.configuration import default_num_processes
from tqdm import tqdm

from maskmed_nnu.atomic_write import write_atomically
from maskmed_nnu.instances.instance_map import InstanceMap
from maskmed_nnu.instances.statistics import InstanceTable, measure, merge, summarise
from maskmed_nnu.json_file import read_json
from maskmed_nnu.nnunet.imageio.instance_io import InstanceIO

FINGERPRINT_KEYS = {2: "objects", 3: "objects_in_volumes"}
"""Where the statistics are, by the number of axes that were measured; the latter only of data sets of volumes."""
AXES_KEY, STORED_AXES = "objects_axes", [0, 1, 2]
"""The order of axes that they were measured in; that of the files where nothing is said."""
SECONDS_BEFORE_POOL = 20.0
"""Seconds. Most data sets are measured by then, which is sooner than new processes have started."""


def instance_statistics(
    label_files: Sequence[str | Path],
    classes: dict[str, int],
    *,
    transpose: Sequence[int] = (0, 1, 2),
    dims: Sequence[int] = (2,),
) -> dict[str, Any]:
    """Statistics of all label files, as they are in the fingerprint; what is left after ``SECONDS_BEFORE_POOL`` is
    measured in nnU-Net's number of processes.

    ``classes`` maps the foreground names to 1..K; ``transpose`` is the plan's, the first axis after it is sliced.
    ``dims``: 2 for slices, 3 for volumes.

    Raises
    ------
    InputError
        Where a label file is not what ``dataset.json`` declares.
    """
    jobs = [(str(file), len(classes), tuple(transpose), tuple(dims)) for file in label_files]
    with tqdm(desc="Measuring objects", total=len(jobs)) as progress:
        tables = []
        for of_file in _measure_all(jobs):
            tables.append(of_file)
            progress.update()
    measured: dict[str, Any] = {
        FINGERPRINT_KEYS[dim]: summarise(merge(of_dim), classes)
        for dim, of_dim in zip(dims, zip(*tables, strict=True), strict=True)
    }
    return measured | {AXES_KEY: [int(axis) for axis in transpose]}


def _measure_all(jobs: list[tuple]) -> Iterator[list[InstanceTable]]:
    start = monotonic()
    while jobs and monotonic() - start < SECONDS_BEFORE_POOL:
        yield measure_file(*jobs[0])
        jobs = jobs[1:]
    if not jobs:
        return
    with ProcessPoolExecutor(min(default_num_processes, len(jobs)), multiprocessing.get_context("spawn")) as pool:
        try:
            for job in as_completed([pool.submit(measure_file, *job) for job in jobs]):
                yield job.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)  # the first error is raised at once, not after the last image
            raise


def measure_file(file: str, num_classes: int, transpose: tuple[int, ...], dims: tuple[int, ...]) -> list[InstanceTable]:
    """A table for each of ``dims``."""
    objects, properties = InstanceIO().read_instances(file)
    spacing = [properties["spacing"][axis] for axis in transpose]
    objects = transposed(objects, transpose)
    return [measure(objects, num_classes=num_classes, spacing=spacing[-dim:]) for dim in dims]


def transposed(objects: InstanceMap, transpose: Sequence[int]) -> InstanceMap:
    """The same objects with the spatial axes ``(z, y, x)`` in another order."""
    ids = objects.ids.transpose(0, *(axis + 1 for axis in transpose))
    return InstanceMap(ids, objects.classes, np.transpose(objects.stuff, transpose))


def add_to_fingerprint(file: Path, statistics: dict[str, Any]) -> None:
    """Write the statistics into nnU-Net's fingerprint, whole or not at all, in the place of those of other axes."""
    fingerprint = read_json(file, expected="nnU-Net's fingerprint of the data set")
    if fingerprint.get(AXES_KEY, STORED_AXES) != statistics.get(AXES_KEY):
        fingerprint = {key: value for key, value in fingerprint.items() if key not in FINGERPRINT_KEYS.values()}
    text = json.dumps({**fingerprint, **statistics}, indent=4)
    write_atomically(file, lambda partial: partial.write_text(text))
