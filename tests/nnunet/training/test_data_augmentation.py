"""Labels come out of augmentation as ids of the same objects, in the same place as the image."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
import torch

from maskmed_nnu.nnunet.training import data_augmentation
from maskmed_nnu.nnunet.training.data_augmentation import (
    SymmetryTransform,
    initial_patch_size,
    training_transforms,
    validation_transforms,
)

PATCH = (64, 64)


def sample(patch=PATCH, seed: int = 0) -> dict[str, torch.Tensor]:
    """Discs with sparse ids up to the largest; the image is bright where an object is."""
    rng = np.random.default_rng(seed)
    shape = initial_patch_size(patch)
    seg = np.zeros((3, *shape), np.int16)
    grid = np.indices(shape)
    for number in rng.choice(32767, 12, replace=False) + 1:
        centre = rng.uniform(0, shape)[:, None, None]
        disc = ((grid - centre) ** 2).sum(0) < rng.uniform(20, 60)
        seg[0][disc], seg[rng.integers(1, 3)][disc] = 1, number
    image = torch.from_numpy(np.where(seg[:1] > 0, 3.0, -3.0).astype(np.float32))
    return {"image": image, "segmentation": torch.from_numpy(seg)}


def test_examples():
    assert doctest.testmod(data_augmentation).failed == 0


@pytest.mark.parametrize("patch", [PATCH, (48, 64)])
def test_no_label_is_invented_and_labels_stay_on_their_image(patch):
    torch.manual_seed(0)
    np.random.seed(0)
    transforms = training_transforms(patch)
    scaled = 0
    for seed in range(40):
        before = sample(patch, seed)
        ids = set(before["segmentation"].unique().tolist())
        margins = torch.tensor(before["image"].shape[1:]) - torch.tensor(patch)
        centre = before["segmentation"][:, margins[0] // 2 :, margins[1] // 2 :][:, : patch[0], : patch[1]].clone()
        after = transforms(**before)
        seg, image = after["segmentation"], after["image"]
        assert image.shape == (1, *patch) and seg.shape == (3, *patch) and seg.dtype == torch.int16
        assert set(seg.unique().tolist()) <= ids  # the initial patch is large enough to need no padding
        scaled += (seg > 0).sum() != (centre > 0).sum()
        assert np.corrcoef(image[0].flatten(), seg[0].flatten() > 0)[0, 1] > 0.7
    assert 10 <= scaled <= 30  # half of 40


def test_outside_stays_unknown():
    np.random.seed(0)
    transforms = training_transforms(PATCH)
    seen = set()
    for _ in range(30):
        inputs = {"image": torch.zeros(1, *PATCH), "segmentation": torch.ones(2, *PATCH, dtype=torch.int16)}
        seen |= set(transforms(**inputs)["segmentation"].unique().tolist())
    assert seen == {1, data_augmentation.OUTSIDE}


def test_all_symmetries_of_a_square_and_a_rectangle():
    np.random.seed(0)
    for patch, count in (((3, 3), 8), ((3, 5), 4)):
        image = torch.arange(patch[0] * patch[1], dtype=torch.float32).view(1, *patch)
        transform = SymmetryTransform(patch)
        results = [transform(image=image, segmentation=image.short()) for _ in range(200)]
        assert all(torch.equal(result["image"].short(), result["segmentation"]) for result in results)
        assert len({tuple(result["image"].flatten().tolist()) for result in results}) == count


def test_validation_changes_nothing():
    before = sample()
    after = validation_transforms()(**{key: value.clone() for key, value in before.items()})
    assert all(torch.equal(before[key], after[key]) for key in before)
