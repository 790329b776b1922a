"""A picture with many objects, larger than memory, predicted in windows from OME-Zarr: time and memory as it grows.

The picture is drawn block by block: discs with gaps between them, whose intensities are their ids. The network is an
oracle that reads the ids out of its tile, so that all the rest is measured (reading, tiles, stitching, writing), and
what comes out must be the truth, pixel by pixel, which is checked. Each size runs in a process of its own, whose peak
is that of interpreter, packages and prediction together. Without options the picture has 30,000 x 30,000 pixels and
100,000 objects, then 4 and 9 times as many of both::

    python -m benchmarks.big_picture
    python -m benchmarks.big_picture --edge 3000 --objects 1000 --times 1 4
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

import maskmed_nnu as mm
from maskmed_nnu.instances.formats.blocks import blocks_of
from tests.cli.test_predict import oracle_model

CHUNK = 1000
BLOCK = 4000
TILE = 512


def draw(path: Path, edge: int, objects: int) -> int:
    """A picture of ``edge`` x ``edge`` pixels as OME-Zarr 0.4; how many discs are in it."""
    group = zarr.open_group(str(path), mode="w", zarr_format=2)
    pixels = group.create_array("0", shape=(edge, edge), chunks=(CHUNK, CHUNK), dtype="uint32")
    across = round(math.sqrt(objects))
    pitch = edge / across
    for block in blocks_of((edge, edge), (BLOCK, BLOCK)):
        (y0, y1), (x0, x1) = ((part.start, part.stop) for part in block)
        ids = np.zeros((y1 - y0, x1 - x0), np.uint32)
        for row in range(int(y0 / pitch), min(int(y1 / pitch) + 1, across)):
            for column in range(int(x0 / pitch), min(int(x1 / pitch) + 1, across)):
                radius, y, x = _disc(row, column, pitch)
                top, left = max(int(y - radius), y0), max(int(x - radius), x0)
                bottom, right = min(int(y + radius) + 2, y1), min(int(x + radius) + 2, x1)
                if top < bottom and left < right:
                    rows, columns = np.ogrid[top:bottom, left:right]
                    inside = (rows - y) ** 2 + (columns - x) ** 2 <= radius**2
                    ids[top - y0 : bottom - y0, left - x0 : right - x0][inside] = row * across + column + 1
        pixels[block] = ids
    axes = [{"name": axis, "type": "space"} for axis in "yx"]
    scale = [{"type": "scale", "scale": [1.0, 1.0]}]
    datasets = [{"path": "0", "coordinateTransformations": scale}]
    group.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": datasets}]
    return across**2


def _disc(row: int, column: int, pitch: float) -> tuple[float, float, float]:
    """Radius and centre, by chance, within a cell of the grid."""
    chance = np.random.default_rng((row, column)).random(3)
    radius = pitch * (0.2 + 0.2 * chance[0])
    room = pitch / 2 - radius - 2
    return radius, (row + 0.5) * pitch + room * (2 * chance[1] - 1), (column + 0.5) * pitch + room * (2 * chance[2] - 1)


def wrong_objects(truth: Any, found: Any) -> int:
    """How many objects of two pictures of ids do not have the same pixels."""
    pairs = set()
    for block in blocks_of(truth.shape, (BLOCK, BLOCK)):
        both = truth[block].astype(np.uint64) << np.uint64(32) | found[block].astype(np.uint64)
        pairs |= set(np.unique(both).tolist())
    ids = [divmod(pair, 2**32) for pair in pairs]
    sides = [np.unique([pair[side] for pair in ids], return_counts=True)[1] for side in range(2)]
    return int(sum((side > 1).sum() for side in sides)) + sum((a == 0) != (b == 0) for a, b in ids)


def measure(folder: Path, edge: int, objects: int) -> dict[str, Any]:
    """Draw, predict and check one size, in this process."""
    picture, labels = folder / "big.ome.zarr", folder / "labels.ome.zarr"
    began = time.perf_counter()
    number = draw(picture, edge, objects)
    drawn, cpu = time.perf_counter(), time.process_time()
    with pytest.MonkeyPatch.context() as patch:
        model = mm.load(
            oracle_model(folder / "model", patch, tile=(TILE, TILE)), folds=0, device="cpu", mirroring=False
        )
        stages: dict[str, float] = {}
        latest = ["begin", time.process_time()]

        def note(now: mm.Progress) -> None:
            stages[str(latest[0])] = stages.get(str(latest[0]), 0.0) + time.process_time() - float(latest[1])
            # between the last window and the first block nothing is told: that is the joining
            latest[:] = [
                "joining" if now.stage == "predicting" and now.done == now.total else now.stage,
                time.process_time(),
            ]

        summary = model.predict_big(picture, labels, progress=note)
    predicted, cpu = time.perf_counter(), time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    found = zarr.open_group(str(labels), mode="r")["0"]
    return {
        "edge": edge,
        "objects": number,
        "found": summary.objects,
        "wrong": wrong_objects(zarr.open_group(str(picture), mode="r")["0"], found),
        "windows": summary.windows,
        "drawing s": round(drawn - began, 1),
        "prediction s": round(predicted - drawn, 1),
        "CPU s": round(cpu, 1),
        "of these": {stage: round(seconds, 1) for stage, seconds in stages.items()},
        "peak GB": round(peak, 2),
    }


def main() -> None:
    """A row for each size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--edge", type=int, default=30_000)
    parser.add_argument("--objects", type=int, default=100_000)
    parser.add_argument("--times", type=int, nargs="+", default=[1, 4, 9], help="how many times the area")
    parser.add_argument("--work", type=Path, help="a folder with room: 9 times need about 6 GB")
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    for times in options.times:
        edge, objects = round(options.edge * math.sqrt(times)), options.objects * times
        if options.alone:
            with tempfile.TemporaryDirectory(dir=options.work) as folder:
                print(json.dumps(measure(Path(folder), edge, objects)), flush=True)
            continue
        size = ["--edge", str(edge), "--objects", str(objects), "--times", "1", "--alone"]
        where = ["--work", str(options.work)] if options.work else []
        subprocess.run([sys.executable, "-m", "benchmarks.big_picture", *size, *where], check=True)


if __name__ == "__main__":
    main()
