"""Learning rate as a pure function of the training step, so that a resumed training follows the same curve."""

from __future__ import annotations

import math
from typing import Protocol

from torch.optim import Optimizer

WARMUP_START = 0.1
COSINE_END = 1e-6


def warmup_poly_factor(step: float, *, total_steps: int, warmup_steps: float, power: float = 0.9) -> float:
    """Share of the initial learning rate at ``step`` (from 0), between 0 and 1.

    Linear warm-up from a tenth over ``warmup_steps``, multiplied with nnU-Net's polynomial decay to zero at
    ``total_steps``.

    >>> [round(warmup_poly_factor(s, total_steps=100, warmup_steps=2, power=1.0), 4) for s in (0, 1, 2, 50, 100)]
    [0.1, 0.5445, 0.98, 0.5, 0.0]
    """
    decay = max(0.0, 1.0 - step / total_steps) ** power
    warmup = WARMUP_START + (1.0 - WARMUP_START) * step / warmup_steps if step < warmup_steps else 1.0
    return warmup * decay


def warmup_steps_for(total_steps: int, *, fraction: float = 0.05, at_most: int = 1000) -> float:
    """Steps of warm-up: a fixed share of a short training, a fixed number of a long one."""
    return min(total_steps * fraction, at_most)


class EpochSchedule(Protocol):
    """The interface by which nnU-Net calls a schedule."""

    def step(self, epoch: float) -> None:
        """Set the learning rate for this epoch, which may be a fraction."""


class WarmupPolyLR:
    """Sets the learning rate of every parameter group for a fractional epoch (nnU-Net calls ``step(epoch)``).

    A group with ``lr_scale`` gets that share of it.
    """

    def __init__(self, optimizer: Optimizer, *, initial_lr: float, epochs: int, steps_per_epoch: int) -> None:
        self.optimizer = optimizer
        self.initial_lr = initial_lr
        self.steps_per_epoch = steps_per_epoch
        self.total_steps = max(1, epochs * steps_per_epoch)
        self.warmup_steps = warmup_steps_for(self.total_steps)

    def step(self, epoch: float) -> None:
        """``epoch`` counts from 0 and may lie between two epochs: epoch + iteration / iterations per epoch."""
        factor = warmup_poly_factor(
            epoch * self.steps_per_epoch, total_steps=self.total_steps, warmup_steps=self.warmup_steps
        )
        for group in self.optimizer.param_groups:
            group["lr"] = self.initial_lr * factor * group.get("lr_scale", 1.0)


def cosine_rate(share: float, *, initial_lr: float, final_lr: float = COSINE_END) -> float:
    """Learning rate where ``share`` of the training, between 0 and 1, is over: half a period of a cosine.

    >>> [round(cosine_rate(share, initial_lr=1.0, final_lr=0.2), 4) for share in (0, 0.25, 0.5, 1)]
    [1.0, 0.8828, 0.6, 0.2]
    """
    return final_lr + (initial_lr - final_lr) * (1.0 + math.cos(math.pi * min(share, 1.0))) / 2


class CosineLR:
    """Sets `cosine_rate` in every parameter group for a fractional epoch (nnU-Net calls ``step(epoch)``)."""

    def __init__(self, optimizer: Optimizer, *, initial_lr: float, epochs: int) -> None:
        self.optimizer = optimizer
        self.initial_lr = initial_lr
        self.epochs = epochs

    def step(self, epoch: float) -> None:
        """``epoch`` counts from 0 and may lie between two epochs: epoch + iteration / iterations per epoch."""
        for group in self.optimizer.param_groups:
            group["lr"] = cosine_rate(epoch / self.epochs, initial_lr=self.initial_lr)
