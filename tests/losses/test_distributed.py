"""Two gloo processes against one process that sees the union of their batches."""

from __future__ import annotations

import inspect
import os

import pytest
import torch

from maskmed_nnu.losses import SetCriterion, semantic_targets
from maskmed_nnu.networks.layers.dot_product_mask_head import DotProductMaskHead
from maskmed_nnu.networks.output import QueryOutput

SCRIPT = """
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from maskmed_nnu.losses import SetCriterion, semantic_targets
from maskmed_nnu.networks.layers.dot_product_mask_head import DotProductMaskHead
from maskmed_nnu.networks.output import QueryOutput

{source}

def work(rank, folder):
    dist.init_process_group("gloo", init_method=f"file://{{folder}}/store", rank=rank, world_size=2)
    parameter, total = step(slice(2 * rank, 2 * rank + 2))
    dist.all_reduce(parameter.grad)  # what DDP does: the mean of the gradients
    dist.all_reduce(total)
    if rank == 0:
        torch.save((parameter.grad / 2, total / 2), f"{{folder}}/result.pt")
    dist.destroy_process_group()

if __name__ == "__main__":
    mp.start_processes(work, args=({folder!r},), nprocs=2, start_method="fork")
"""


def step(samples: slice) -> tuple[torch.Tensor, torch.Tensor]:
    """Loss and gradient of one shared parameter on some of four samples: three classes, one, ignored, partly so."""
    random = torch.Generator().manual_seed(0)
    labels = torch.randint(3, (4, 1, 6, 5), generator=random)
    labels[1], labels[2], labels[3, :, 3:] = 1, 9, 9
    classes = torch.randn(2, 4, 5, 4, generator=random)
    embeddings = torch.randn(2, 4, 5, 5, generator=random)
    features = torch.randn(4, 4, 6, 5, generator=random)
    parameter = torch.ones(3, requires_grad=True)
    output = QueryOutput(
        parameter[0] * classes[:, samples], parameter[1] * embeddings[:, samples], parameter[2] * features[samples]
    )
    criterion = SetCriterion(num_classes=3, mask_head=DotProductMaskHead(), num_points=None, semantic_weight=0.5)
    loss = criterion(output, semantic_targets(labels[samples], num_classes=3, ignore_label=9))
    loss.total.backward()
    return parameter, loss.total.detach()


@pytest.mark.skipif(not torch.distributed.is_available() or os.name == "nt", reason="needs gloo and fork")
def test_two_processes_equal_one_that_sees_all(run_python, checkout, tmp_path):
    done = run_python(SCRIPT.format(source=inspect.getsource(step), folder=str(tmp_path)), PYTHONPATH=str(checkout))
    assert done.returncode == 0, done.stderr
    gradient, total = torch.load(tmp_path / "result.pt", weights_only=True)
    union, loss = step(slice(0, 4))
    torch.testing.assert_close(gradient, union.grad)
    torch.testing.assert_close(total, loss)
