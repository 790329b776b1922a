"""Where within an epoch a training is: what a checkpoint keeps of it beside weights, optimizer and log."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

KEY = "maskmed_nnu"
"""Its key in the state of the optimizer, which nnU-Net saves and loads, and torch lets be."""


@dataclass(frozen=True)
class Position:
    """Of the epoch that comes next: its steps that are done, and the random numbers that come after them.

    ``outputs`` is what these steps have returned, ``iterations`` how many the epoch has, ``seconds`` how long it has
    run, ``random`` the state of the generators of each process, by its rank.
    """

    outputs: Sequence[Mapping[str, Any]] = ()
    iterations: int | None = None
    seconds: float = 0.0
    random: Sequence[Mapping[str, Any]] = field(default_factory=list)

    def to_state(self) -> dict[str, Any]:
        """Tensors and numbers only, which torch reads without unpickling objects."""
        keys = self.outputs[0] if self.outputs else ()
        outputs = {key: torch.from_numpy(np.stack([output[key] for output in self.outputs])) for key in keys}
        return {
            "outputs": outputs,
            "iterations": self.iterations,
            "seconds": self.seconds,
            "random": [dict(of_rank) for of_rank in self.random],
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Position:
        """What `to_state` has made, its tensors on any device."""
        outputs = {key: values.cpu().numpy() for key, values in state["outputs"].items()}
        rows = [
            dict(zip(outputs, map(np.asarray, values), strict=True)) for values in zip(*outputs.values(), strict=True)
        ]
        return cls(rows, state["iterations"], state["seconds"], state["random"])


def random_state(device: torch.device) -> dict[str, Any]:
    """Of Python, NumPy, torch and the GPU."""
    version, words, normal = random.getstate()
    _, keys, position, has_normal, cached = np.random.get_state()
    state: dict[str, Any] = {
        "python": (version, torch.tensor(words), normal),
        "numpy": (torch.from_numpy(np.asarray(keys).astype(np.int64)), int(position), int(has_normal), float(cached)),
        "torch": torch.get_rng_state(),
    }
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def restore_random_state(state: Mapping[str, Any], device: torch.device) -> None:
    """The reverse of `random_state`; a GPU goes on with its own numbers where the state is of a training without."""
    version, words, normal = state["python"]
    random.setstate((version, tuple(words.tolist()), normal))
    keys, *others = state["numpy"]
    np.random.set_state(("MT19937", keys.cpu().numpy().astype(np.uint32), *others))
    torch.set_rng_state(state["torch"].cpu())
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"].cpu(), device)
