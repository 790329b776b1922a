"""StarDist-3D from scratch for so many minutes, as its own example trains it; run by a Python that has stardist.

    python3 -m venv ENV && ENV/bin/pip install stardist tensorflow-cpu
    ENV/bin/python benchmarks/stardist3d.py DATA OUT --minutes 20 --threads 2

DATA has ``train`` and ``test`` with a file NAME.npz for each volume: ``image`` and, to train on, ``ids`` [z, y, x]. OUT
gets NAME.npz for each of ``test``: ``ids``, and ``scores`` of ids 1, 2 and so on; and ``record.json``. It needs nothing
of maskmed_nnu.

What is StarDist's own: 96 rays on a Fibonacci lattice with the anisotropy of the objects' extents, a grid of 2 along
axes that are not coarse, normalisation by percentiles, batches of 2, flips, turns in the plane and changes of
brightness, Adam at 3e-4, the weights of the lowest validation loss, thresholds optimised on the validation volumes: 15%
of those to train on, or, where there is one only, the same. What is ours: patches of 48 × 96 × 96 or what the volumes
have, epochs of 20 steps, so that a short training is validated often, and the end by wall time, which starts with the
first step and runs through validations.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

PATCH, RAYS, BATCH, STEPS = (48, 96, 96), 96, 2, 20
MOST_PER_SECOND = 20


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


ARGS = options() if __name__ == "__main__" else argparse.Namespace(threads=2)
os.environ |= {"OMP_NUM_THREADS": str(ARGS.threads), "TF_CPP_MIN_LOG_LEVEL": "2", "CUDA_VISIBLE_DEVICES": "-1"}

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
from csbdeep.utils import normalize  # noqa: E402
from stardist import Rays_GoldenSpiral, calculate_extents, fill_label_holes  # noqa: E402
from stardist.geometry import polyhedron_to_label  # noqa: E402
from stardist.models import Config3D, StarDist3D  # noqa: E402

keras = tf.keras


class Clock(keras.callbacks.Callback):
    """Ends the training after so many seconds, and counts its steps."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds, self.start, self.steps = seconds, 0.0, 0

    def on_train_begin(self, logs: Any = None) -> None:
        self.start = time.monotonic()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.steps += 1
        if time.monotonic() - self.start > self.seconds:
            self.model.stop_training = True


def augment(image: np.ndarray, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Flips of all axes, turns in the plane, brightness and contrast, as in StarDist's example."""
    for axis in range(3):
        if np.random.rand() < 0.5:
            image, ids = np.flip(image, axis), np.flip(ids, axis)
    if image.shape[1] == image.shape[2]:
        turns = np.random.randint(4)
        image, ids = np.rot90(image, turns, (1, 2)), np.rot90(ids, turns, (1, 2))
    return image * np.random.uniform(0.6, 2) + np.random.uniform(-0.2, 0.2), ids


def read(folder: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Name → normalised image and ids; to be predicted without ids."""
    cases = {}
    for path in sorted(folder.glob("*.npz")):
        arrays = np.load(path)
        ids = fill_label_holes(arrays["ids"].astype(np.int32)) if "ids" in arrays else np.zeros(0, np.int32)
        cases[path.stem] = normalize(arrays["image"].astype(np.float32), 1, 99.8, axis=(0, 1, 2)), ids
    return cases


def train(args: argparse.Namespace) -> tuple[StarDist3D, dict[str, Any]]:
    cases = list(read(args.data / "train").values())
    order = np.random.permutation(len(cases))
    held_out = round(0.15 * len(cases)) or 1
    validation = [cases[i] for i in order[:held_out]]
    training = [cases[i] for i in order[held_out:]] or validation
    extents = calculate_extents([ids for _, ids in cases])
    anisotropy = tuple(float(value) for value in np.max(extents) / extents)
    grid = tuple(1 if ratio > 1.5 else 2 for ratio in anisotropy)
    smallest = np.min([image.shape for image, _ in cases], axis=0)
    divisors = 4 * np.array(grid)  # two poolings below the grid
    patch = tuple((np.minimum(PATCH, smallest) // divisors * divisors).tolist())
    config = Config3D(
        rays=Rays_GoldenSpiral(RAYS, anisotropy=anisotropy),
        grid=grid,
        anisotropy=anisotropy,
        use_gpu=False,
        n_channel_in=1,
        train_patch_size=patch,
        train_batch_size=BATCH,
        train_tensorboard=False,
    )
    model = StarDist3D(config, name="model", basedir=str(args.out))
    model.prepare_for_training()
    clock = Clock(60 * args.minutes)
    model.callbacks.append(clock)
    images, ids = zip(*training, strict=True)
    most = max(1, int(args.minutes * 60 * MOST_PER_SECOND / STEPS))  # epochs; the clock ends them
    model.train(
        list(images),
        list(ids),
        validation_data=tuple(map(list, zip(*validation, strict=True))),
        augmenter=augment,
        seed=args.seed,
        epochs=most,
        steps_per_epoch=STEPS,
    )
    seconds = time.monotonic() - clock.start
    model.optimize_thresholds(*map(list, zip(*validation, strict=True)))
    record = {"anisotropy": anisotropy, "grid": grid, "patch": patch, "validation": held_out}
    record |= {"parameters": int(model.keras_model.count_params()), "iterations": clock.steps, "seconds": seconds}
    return model, record | {"thresholds": model.thresholds._asdict()}


def predict(model: StarDist3D, args: argparse.Namespace) -> dict[str, Any]:
    seconds, cases = 0.0, read(args.data / "test")
    for name, (image, _) in cases.items():
        begin = time.monotonic()
        _, found = model.predict_instances(image, n_tiles=model._guess_n_tiles(image), show_tile_progress=False)
        ids = np.zeros(image.shape, np.int32)
        if len(found["prob"]):  # the labels of `predict_instances` are renumbered, and would lose their scores
            ids = polyhedron_to_label(found["dist"], found["points"], found["rays"], image.shape, prob=found["prob"])
        seconds += time.monotonic() - begin
        np.savez_compressed(args.out / f"{name}.npz", ids=ids, scores=np.asarray(found["prob"], np.float32))
    return {"images": len(cases), "prediction_seconds": seconds}


def main() -> None:
    args = ARGS
    args.out.mkdir(parents=True, exist_ok=True)
    tf.config.threading.set_intra_op_parallelism_threads(args.threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    keras.utils.set_random_seed(args.seed)
    model, record = train(args)
    record |= predict(model, args)
    (args.out / "record.json").write_text(json.dumps(record, indent=2))


if __name__ == "__main__":
    sys.exit(main())
