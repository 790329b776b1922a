"""Patches mirrored with labels exchanged, through nnU-Net's own chain of transforms."""

from __future__ import annotations

import pytest
import torch
from batchgeneratorsv2.transforms.spatial.mirroring import MirrorTransform
from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
from batchgeneratorsv2.transforms.utils.nnunet_masking import MaskImageTransform
from batchgeneratorsv2.transforms.utils.pseudo2d import Convert2DTo3DTransform
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from maskmed_nnu.nnunet.plans_handling.mirroring import Mirroring
from maskmed_nnu.nnunet.training.mirror_transform import MirrorAndSwapTransform, with_swaps
from maskmed_nnu.nnunet.training.trainers.mirror_aware import MirrorAware

LEFT_RIGHT = Mirroring((0, 1, 2), {2: ((1, 2),)})
PATCH = (4, 6, 8)


def chain(mirroring: Mirroring, **arguments: object) -> ComposeTransforms:
    """nnU-Net's training transforms from the mirror on, without what depends on chance or changes intensities."""
    settings = {"patch_size": PATCH, "rotation_for_DA": (0, 0), "deep_supervision_scales": None, "is_cascaded": False}
    settings |= {"mirror_axes": mirroring.axes, "do_dummy_2d_data_aug": False, **arguments}
    transforms = with_swaps(nnUNetTrainer.get_training_transforms(**settings), mirroring)
    first = next(i for i, one in enumerate(transforms.transforms) if isinstance(one, MirrorTransform))
    transforms.transforms = [
        one
        for one in transforms.transforms[first:]
        if type(one).__name__ != "RandomTransform" and not isinstance(one, MaskImageTransform | Convert2DTo3DTransform)
    ]
    return transforms


def patch() -> dict[str, torch.Tensor]:
    """A label at each end of the last axis: 1 on the left, 2 on the right; a cascade's stage before beside it."""
    labels = torch.zeros((1, *PATCH), dtype=torch.int16)
    labels[..., :2], labels[..., 6:] = 1, 2
    labels[:, 0, 0] = 3
    return {"image": labels.float(), "segmentation": labels}


def mirror_always(monkeypatch: pytest.MonkeyPatch, *axes: int) -> None:
    monkeypatch.setattr(MirrorTransform, "get_parameters", lambda self, **_: {"axes": list(axes)})


def test_left_stays_left(monkeypatch):
    mirror_always(monkeypatch, 2)
    before, after = patch(), chain(LEFT_RIGHT)(**patch())
    assert torch.equal(after["image"], before["image"].flip(3))
    assert torch.equal(after["segmentation"][..., :1, 1:, :], before["segmentation"][..., :1, 1:, :])
    assert after["segmentation"].dtype == torch.int16


def test_the_other_axes_exchange_nothing(monkeypatch):
    mirror_always(monkeypatch, 0, 1)
    before, after = patch(), chain(LEFT_RIGHT)(**patch())
    assert torch.equal(after["segmentation"], before["segmentation"].flip(1, 2))


def test_regions_follow_their_labels(monkeypatch):
    mirror_always(monkeypatch, 2)
    regions = [(1, 2, 3), 1, 2]
    plain = chain(Mirroring((0, 1, 2), {}), regions=regions, ignore_label=4)(**patch())["segmentation"]
    swapped = chain(LEFT_RIGHT, regions=regions, ignore_label=4)(**patch())["segmentation"]
    assert torch.equal(swapped, plain[[0, 2, 1, 3]]) and not torch.equal(swapped, plain)


def test_the_stage_before_is_exchanged_too(monkeypatch):
    mirror_always(monkeypatch, 2)
    data = patch()
    data["segmentation"] = torch.cat([data["segmentation"]] * 2)
    plain = chain(Mirroring((0, 1, 2), {}), is_cascaded=True, foreground_labels=[1, 2, 3])(**data)
    swapped = chain(LEFT_RIGHT, is_cascaded=True, foreground_labels=[1, 2, 3])(**data)
    assert torch.equal(swapped["image"], plain["image"][[0, 2, 1, 3]])
    assert torch.equal(swapped["segmentation"], LEFT_RIGHT.relabel(plain["segmentation"], (2,)))


def test_supervised_scales_agree(monkeypatch):
    mirror_always(monkeypatch, 2)
    scales = chain(LEFT_RIGHT, deep_supervision_scales=[[1, 1, 1], [0.5, 0.5, 0.5]])(**patch())["segmentation"]
    assert [tuple(one.shape) for one in scales] == [(1, 4, 6, 8), (1, 2, 3, 4)]
    for one in scales:
        width = one.shape[-1]
        assert set(one[0, 1, 1:, : width // 4].unique().tolist()) == {1}
        assert set(one[0, 1, 1:, -width // 4 :].unique().tolist()) == {2}


def test_slices_of_a_2d_configuration(monkeypatch):
    mirror_always(monkeypatch, 1)
    mirroring = Mirroring((0, 1), {1: ((1, 2),)})
    data = {name: one[:, 1] for name, one in patch().items()}
    after = chain(mirroring, patch_size=PATCH[1:])(**data)
    assert torch.equal(after["segmentation"], data["segmentation"])


def test_data_without_partners_keep_nnunets_own_transform():
    transforms = nnUNetTrainer.get_training_transforms(PATCH, (0, 0), None, (0, 1, 2), False)
    before = list(transforms.transforms)
    assert with_swaps(transforms, Mirroring((0, 1, 2), {})) is transforms and transforms.transforms == before
    assert not any(isinstance(one, MirrorAndSwapTransform) for one in before)


def test_chance_is_drawn_as_in_nnunet():
    torch.manual_seed(3)
    ours = [MirrorAndSwapTransform((0, 1, 2), LEFT_RIGHT)(**patch())["image"] for _ in range(8)]
    torch.manual_seed(3)
    theirs = [MirrorTransform((0, 1, 2))(**patch())["image"] for _ in range(8)]
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


class OwnTransforms(MirrorAware):
    """A user's trainer, with a static method as nnU-Net has it."""

    mirroring = LEFT_RIGHT

    @staticmethod
    def get_training_transforms(*args: object, **kwargs: object) -> ComposeTransforms:
        transforms = MirrorAware.get_training_transforms(*args, **kwargs)
        transforms.transforms = [one for one in transforms.transforms if isinstance(one, MirrorTransform)]
        return transforms


def test_the_transforms_of_a_users_trainer_exchange_labels_too(monkeypatch):
    arguments = (PATCH, (0, 0), None, (0, 1, 2), False)
    monkeypatch.setattr(nnUNetTrainer, "get_dataloaders", lambda self: self.get_training_transforms(*arguments))
    trainer = object.__new__(OwnTransforms)
    (mirror,) = trainer.get_dataloaders().transforms
    assert isinstance(mirror, MirrorAndSwapTransform) and mirror.allowed_axes == (0, 1, 2)
    assert not vars(trainer), "nothing that the workers of a data loader could not pickle"
