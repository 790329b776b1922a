"""What a training step of a trainer really keeps: saved tensors of network and loss, weights, gradients, optimizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from torch import Tensor

from maskmed_nnu.nnunet.trial.step_process import synthetic_batch


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
    left_out = {parameter.untyped_storage().data_ptr() for parameter in parameters}
    storages = {}

    def remember(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in left_out:
            storages[storage.data_ptr()] = storage  # held, so that no address is used twice
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(remember, lambda tensor: tensor):
        loss = trainer.loss(trainer.network.train()(batch["data"]), batch["target"])
    assert loss.isfinite()
    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter)
    trainer.optimizer.step()
    states = [value for state in trainer.optimizer.state.values() for value in state.values()]
    kept = [*parameters, *(parameter.grad for parameter in parameters), *(s for s in states if torch.is_tensor(s))]
    return Step(sum(s.nbytes() for s in storages.values()) / 4 / samples, sum(tensor.numel() for tensor in kept))
