"""``-pretrained_weights``: what fits is loaded, what does not is refused in one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from nnunetv2.run.load_pretrained_weights import load_pretrained_weights
from torch import nn

from maskmed_nnu.errors import InputError


class Ours(nn.Linear):
    __module__ = "maskmed_nnu.networks.of_a_test"


class Theirs(nn.Linear):
    __module__ = "dynamic_network_architectures.of_a_test"


def checkpoint(folder: Path, **weights: torch.Tensor) -> str:
    path = folder / "checkpoint_final.pth"
    torch.save({"network_weights": weights}, path)
    return str(path)


def test_weights_that_fit(tmp_path):
    network = Ours(3, 2)
    load_pretrained_weights(network, checkpoint(tmp_path, weight=torch.ones(2, 3), bias=torch.ones(2)))
    assert float(network.weight.detach().sum()) == 6


@pytest.mark.parametrize(
    ("weights", "where"), [({"weight": torch.ones(2, 4), "bias": torch.ones(2)}, "weight"), ({}, "weight")]
)
def test_weights_of_another_network(tmp_path, weights, where):
    file = checkpoint(tmp_path, **weights)
    with pytest.raises(InputError, match=rf"final.pth belong to another network than this one \(first at {where}\)"):
        load_pretrained_weights(Ours(3, 2), file)
    with pytest.raises(AssertionError):
        load_pretrained_weights(Theirs(3, 2), file)


def test_what_is_no_checkpoint(tmp_path):
    with pytest.raises(InputError, match="is not a file"):
        load_pretrained_weights(Ours(3, 2), str(tmp_path / "none.pth"))
    (tmp_path / "text.pth").write_text("weights")
    torch.save({"other": 1}, tmp_path / "other.pth")
    for name in ("text.pth", "other.pth"):
        with pytest.raises(InputError, match="cannot be read as a checkpoint of nnU-Net"):
            load_pretrained_weights(Ours(3, 2), str(tmp_path / name))
    whole = Path(checkpoint(tmp_path, weight=torch.ones(2, 3), bias=torch.ones(2)))
    whole.write_bytes(whole.read_bytes()[:-200])
    with pytest.raises(InputError, match="cannot be read as a checkpoint of nnU-Net"):
        load_pretrained_weights(Ours(3, 2), str(whole))
