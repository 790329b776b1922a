"""What the 2D code answered before it took volumes, bit for bit: changes that should change nothing change nothing."""

from __future__ import annotations

import hashlib
import io

import numpy as np

from maskmed_nnu.instances.boxes import find_boxes
from maskmed_nnu.instances.detections import Detections, flatten, make_detections, pack, to_instance_map
from maskmed_nnu.instances.stitching.merging import mask_nms, merge_views
from maskmed_nnu.instances.stitching.stitch import stitch
from maskmed_nnu.instances.stitching.tiles import plan_tiles
from tests.instances.stitching.scenes import crop, noisy, random_scene

SHAPE = (90, 110)


def digest(*arrays: np.ndarray) -> str:
    parts = hashlib.sha256()
    for array in map(np.ascontiguousarray, arrays):
        parts.update(f"{array.dtype}{array.shape}".encode() + array.tobytes())
    return parts.hexdigest()[:16]


def of(detections: Detections) -> str:
    stuff = [] if detections.stuff is None else [detections.stuff]
    arrays = (detections.boxes, *detections.masks, detections.scores, detections.classes, *stuff)
    return digest(np.array(detections.shape), *arrays)


def results(seed: int) -> dict[str, str]:
    rng = np.random.default_rng(seed)
    truth = random_scene(rng, SHAPE, count=14, overlap=bool(seed % 2))
    tiles = plan_tiles(SHAPE, (40, 48), (12, 20))
    answers = [noisy(rng, crop(truth, tile)) for tile in tiles]
    stuff = rng.integers(0, 3, SHAPE).astype(np.int16)
    soft = noisy(rng, truth)
    soft = make_detections(SHAPE, soft.boxes, soft.masks, soft.scores, soft.classes, stuff)
    views = [noisy(rng, truth) for _ in range(4)]
    ids, classes, dropped = to_instance_map(soft, 2)
    found = find_boxes(ids)
    packed = np.load(io.BytesIO(pack([soft, *answers]).tobytes()))
    return {
        "scene": of(truth),
        "stitch": of(stitch(tiles, answers, SHAPE)),
        "merge_views": of(merge_views(views)),
        "mask_nms": of(mask_nms(merge_views(views[:2]), 0.3)),
        "resize": of(soft.resize((61, 173))),
        "shift": of(soft.shift((-17, 9), (70, 100))),
        "flip": of(soft.flip((0, 1)).flip((1,))),
        "flatten": of(flatten(soft)),
        "to_instance_map": digest(ids, classes, np.array(dropped)),
        "find_boxes": digest(*found),
        "pack": digest(*(packed[name] for name in packed.files)),
    }


EXPECTED = {
    "scene": "40b44610924a9579",
    "stitch": "2fe9a2fe0e1432de",
    "merge_views": "c2c3b5b689653dc8",
    "mask_nms": "9f782a928df5b87d",
    "resize": "c8c277f7c6955701",
    "shift": "17551c8e31f05af4",
    "flip": "3aec9daed894a73e",
    "flatten": "8958b1d3c7c6e4c0",
    "to_instance_map": "c963a383073081f1",
    "find_boxes": "fb5c02d2254455e1",
    "pack": "a16c99ef1451e82d",
}


def test_2d_results_are_what_they_were_bit_for_bit():
    scenes = [results(seed) for seed in range(6)]
    joined = {name: "".join(scene[name] for scene in scenes).encode() for name in EXPECTED}
    assert {name: hashlib.sha256(parts).hexdigest()[:16] for name, parts in joined.items()} == EXPECTED
