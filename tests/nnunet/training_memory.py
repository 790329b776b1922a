"""What a training step of a trainer really keeps: saved tensors of network and loss, weights, gradients, optimizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from maskmed_nnu.nnunet.trial.step_process import synthetic_batch
from tests.networks.saved import kept_by


class Step(NamedTuple):
    """Numbers of four bytes that a step keeps."""

    stored: float
    """For the backward pass, of one sample"""
    fixed: float
    """Weights, their gradients and the state of the optimizer"""


def trainer_of(trainer: type[nnUNetTrainer], plans: dict, configuration: str, dataset_json: dict) -> Any:
    """Ready for a step, without a data set."""
    made = trainer({**plans, "continue_training": False}, configuration, 0, dataset_json, torch.device("cpu"))
    Path(made.preprocessed_dataset_folder).mkdir(parents=True, exist_ok=True)
    (Path(made.preprocessed_dataset_folder) / "none.b2nd").touch()  # nnU-Net tells the format of cases by a file
    made.initialize()
    return made


def step_of(trainer: Any, *, samples: int = 2) -> Step:
    """Measured on noise and blocks of labels, or a grid of objects, of the planned patch."""
    trainer.batch_size = samples
    batch = synthetic_batch(trainer)
    parameters = list(trainer.network.parameters())
    stored, loss = kept_by(
        lambda: trainer.loss(trainer.network.train()(batch["data"]), batch["target"]), trainer.network
    )
    assert loss.isfinite()
    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter)
    trainer.optimizer.step()
    states = [value for state in trainer.optimizer.state.values() for value in state.values()]
    kept = [*parameters, *(parameter.grad for parameter in parameters), *(s for s in states if torch.is_tensor(s))]
    return Step(stored / 4 / samples, sum(tensor.numel() for tensor in kept))
