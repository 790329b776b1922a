"""The process that measures training steps: ``python -m … FOLDER``, which holds a ``job.json``.

Each network trains on noise and random labels of the planned patch and batch, with its own trainer, loss and optimizer.
On a CPU, where a step takes as long as its samples together, two samples stand for the batch. Loading and
augmentation are skipped: they run beside the steps, in processes of their own.
"""

from __future__ import annotations

import io
import itertools
import statistics
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

from maskmed_nnu.errors import InputError
from maskmed_nnu.json_file import read_json, write_json

CPU_SAMPLES = 2
STEPS, SECONDS = 5, 20.0
"""So many steps after the first one, or as many as fit into the time; at least one."""


def main(folder: Path) -> None:
    """``job.json``: ``device``, ``dataset_json``, ``rows`` with ``plans``, ``trainer`` and ``configuration``.

    ``result.json`` holds for each row ``seconds`` of a step or an ``error``, on a GPU ``memory_gb`` too.
    """
    job = read_json(folder / "job.json", expected="what to measure")
    steps = sys.stdout
    results: list[dict[str, Any]] = []
    for row in job["rows"]:
        print(f"{row['plans']['plans_name']} {row['configuration']}", file=steps, flush=True)
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            try:
                results.append(_measure(row, job["dataset_json"], job["device"]))
            except (InputError, RuntimeError, MemoryError) as error:  # torch's lack of memory is a RuntimeError
                results.append({"error": str(error).strip().splitlines()[0]})
    write_json(folder / "result.json", results)


def _measure(row: dict[str, Any], dataset_json: dict[str, Any], device: str) -> dict[str, float]:
    import torch
    from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name

    trainer = recursive_find_trainer_class_by_name(row["trainer"])(
        {**row["plans"], "continue_training": False}, row["configuration"], 0, dataset_json, torch.device(device)
    )
    Path(trainer.preprocessed_dataset_folder).mkdir(parents=True, exist_ok=True)
    (Path(trainer.preprocessed_dataset_folder) / "none.b2nd").touch()  # nnU-Net tells the format of cases by a file
    trainer.initialize()
    planned = trainer.batch_size
    if trainer.device.type == "cpu":
        trainer.batch_size = min(planned, CPU_SAMPLES)
    batch = synthetic_batch(trainer)
    trainer.network.train()
    if trainer.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    trainer.train_step(batch)
    seconds: list[float] = []
    while not seconds or (len(seconds) < STEPS and sum(seconds) + seconds[-1] < SECONDS):
        start = time.perf_counter()
        trainer.train_step(batch)
        seconds.append(time.perf_counter() - start)
    result = {"seconds": statistics.median(seconds) * planned / trainer.batch_size}
    if trainer.device.type == "cuda":
        result["memory_gb"] = torch.cuda.max_memory_reserved() / 1e9
    return result


def synthetic_batch(trainer: Any) -> dict[str, Any]:
    """``data [B, C, *patch]``, noise, and what the trainer takes as ``target``."""
    import torch

    patch = [int(edge) for edge in trainer.configuration_manager.patch_size]
    data = torch.randn(trainer.batch_size, trainer.num_input_channels, *patch)
    if "instances" in trainer.configuration_manager.configuration:
        return {"data": data, "target": _objects(trainer, patch)}
    labels = torch.tensor([label for label in trainer.label_manager.all_labels if label >= 0])
    blocks = torch.randint(len(labels), (trainer.batch_size, *(max(1, edge // 8) for edge in patch)))
    coarse = labels[blocks].float()[:, None]
    segmentation = torch.nn.functional.interpolate(coarse, size=patch, mode="nearest")
    label_manager = trainer.label_manager
    transform = trainer.get_validation_transforms(
        trainer._get_deep_supervision_scales(),
        foreground_labels=label_manager.foreground_labels,
        regions=label_manager.foreground_regions if label_manager.has_regions else None,
        ignore_label=label_manager.ignore_label,
    )
    made = [
        transform(image=image, segmentation=one)["segmentation"] for image, one in zip(data, segmentation, strict=True)
    ]
    if isinstance(made[0], list):
        return {"data": data, "target": [torch.stack(scale) for scale in zip(*made, strict=True)]}
    return {"data": data, "target": torch.stack(made)}


def _objects(trainer: Any, patch: list[int]) -> Any:
    """``[B, 1 + L, *patch]``: classes, and ids in the layer of the first class of things; a grid of squares or
    cubes."""
    import torch

    settings = trainer.configuration_manager.configuration["instances"]
    target = torch.zeros(trainer.batch_size, 1 + len(settings["layer_classes"]), *patch, dtype=torch.int16)
    side = max(4, min(patch) // 8)
    corners = itertools.product(*(range(0, max(edge - side, 1), 2 * side) for edge in patch))
    for number, corner in enumerate(corners, start=1):
        place = [slice(start, start + side) for start in corner]
        target[(slice(None), slice(0, 1), *place)] = settings["layer_classes"][0]
        target[(slice(None), slice(1, 2), *place)] = number
    return target


if __name__ == "__main__":
    main(Path(sys.argv[1]))
