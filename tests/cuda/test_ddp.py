"""A training step of each trainer in two processes, as DDP runs them, against one process with the batches of both."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from tests.nnunet.tiny_models import NETWORKS, OBJECTS, tiny_model

pytestmark = pytest.mark.skipif(not dist.is_available() or os.name == "nt", reason="needs gloo and fork")
PATCH, SAMPLES = (32, 32), 4
Results = dict[str, tuple[Tensor, dict[str, Tensor]]]


@pytest.fixture(scope="module")
def steps(tmp_path_factory) -> tuple[Results, list[Results]]:
    """Loss and gradients by network: of one process, and of each of two. Forked, since imports take longer."""
    folder = tmp_path_factory.mktemp("ddp")
    for network in NETWORKS:
        tiny_model(folder / network, network, folds=())
    for ranks in (1, 2):
        mp.start_processes(take_steps, (ranks, folder), nprocs=ranks, start_method="fork")
    alone, *both = [torch.load(folder / name, weights_only=True) for name in ("0 of 1.pt", "0 of 2.pt", "1 of 2.pt")]
    return alone, both


@pytest.mark.parametrize("network", NETWORKS)
def test_two_processes_take_the_step_of_one_with_the_batches_of_both(steps, network):
    alone, both = steps
    loss, gradients = alone[network]
    torch.testing.assert_close(sum(rank[network][0] for rank in both) / 2, loss, rtol=1e-5, atol=1e-5)
    for rank in both:
        assert rank[network][1].keys() == gradients.keys()
        for name, gradient in rank[network][1].items():
            difference = float((gradient - gradients[name]).abs().max())
            assert difference < 1e-5 * max(1, float(gradients[name].abs().max())), name


def take_steps(rank: int, ranks: int, folder: Path) -> None:
    """In a process of its own: a step of each trainer on its share of the samples."""
    torch.set_num_threads(1)  # the threads that this process has of its parent do not run
    os.environ.update({f"nnUNet_{name}": str(folder) for name in ("raw", "preprocessed", "results")})
    os.environ["nnUNet_compile"] = "f"
    if ranks > 1:
        dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=ranks)
    share = slice(rank * SAMPLES // ranks, (rank + 1) * SAMPLES // ranks)
    results = {network: take_step(folder / network, network, share) for network in NETWORKS}
    torch.save(results, folder / f"{rank} of {ranks}.pt")
    if ranks > 1:
        dist.destroy_process_group()


def take_step(folder: Path, network: str, samples: slice) -> tuple[Tensor, dict[str, Tensor]]:
    """Loss and gradients of the real trainer's step, without the clipping of large ones."""
    from nnunetv2.training.nnUNetTrainer import nnUNetTrainer as stock

    from maskmed_nnu.nnunet.training.trainers import iaunet, maskattn_unet, maskmed, simple_unet

    # nnU-Net knows DDP on GPUs only, and looks into the folder of preprocessed cases
    stock.DDP = lambda module, device_ids: DistributedDataParallel(module)
    stock.infer_dataset_class = lambda folder: None
    torch.nn.utils.clip_grad_norm_ = lambda *_: None
    trainers = {
        "MaskMed": maskmed.nnUNetTrainerMaskMed,
        "SimpleUNet": simple_unet.nnUNetTrainerSimpleUNet,
        "IAUNet": iaunet.nnUNetTrainerIAUNet,
        "MaskAttnUNet": maskattn_unet.nnUNetTrainerMaskAttnUNet,
        "MaskAttnUNetPanoptic": maskattn_unet.nnUNetTrainerMaskAttnUNetPanoptic,
    }
    plans, dataset = (json.loads((folder / name).read_text()) for name in ("plans.json", "dataset.json"))
    configuration = plans["configurations"]["2d"]
    configuration["batch_dice"] = False
    if network == "IAUNet":
        configuration["instance_loss"]["num_points"] = 2**30  # all, since each process draws its own
    trainer = trainers[network]({**plans, "continue_training": False}, "2d", 0, dataset, torch.device("cpu"))
    trainer.device, trainer.grad_scaler = torch.device("cpu"), None
    torch.manual_seed(0)
    trainer.initialize()
    trainer.network.train()
    loss = trainer.train_step(batch(network in OBJECTS, trainer.enable_deep_supervision, samples))["loss"]
    parameters = trainer.network.named_parameters()
    return torch.from_numpy(loss), {name.removeprefix("module."): parameter.grad for name, parameter in parameters}


def batch(objects: bool, deep_supervision: bool, samples: slice) -> dict:
    """Some of four samples that differ in how much there is to find: none, one, three and six boxes."""
    label, ids = torch.zeros(SAMPLES, 1, *PATCH), torch.zeros(SAMPLES, 1, *PATCH)
    for sample, count in enumerate((0, 1, 3, 6)):
        for number in range(count):
            y, x = 2 + 10 * (number // 3), 1 + 10 * (number % 3)
            box = (sample, 0, slice(y, y + 5 + number % 2), slice(x, x + 6))
            label[box], ids[box] = 1 if objects else 1 + number % 2, number + 1
    noise = torch.randn(label.shape, generator=torch.Generator().manual_seed(0))
    target: Tensor | list[Tensor] = torch.cat((label, ids), 1).short()[samples] if objects else label[samples]
    if deep_supervision and not objects:
        target = [label[samples], label[samples, :, ::2, ::2]]
    return {"data": (label + 0.3 * noise)[samples], "target": target}
