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
SQUARE, CUBE, THICK = (1.0, 1.0), (1.0, 1.0, 1.0), (5.0, 1.0, 1.0)
SAMPLES = [(PATCH, SQUARE), ((48, 64), SQUARE), ((24, 24, 24), CUBE), ((4, 32, 32), CUBE), ((6, 48, 48), THICK)]


def sample(patch=PATCH, spacing=SQUARE, seed: int = 0) -> dict[str, torch.Tensor]:
    """Balls with sparse ids up to the largest; the image is bright where an object is."""
    rng = np.random.default_rng(seed)
    shape = initial_patch_size(patch, spacing)
    seg = np.zeros((3, *shape), np.int16)
    grid = np.indices(shape).T
    for number in rng.choice(32767, 12, replace=False) + 1:
        centre = rng.uniform(0, shape)
        distance = (((grid - centre) * np.array(spacing)) ** 2).sum(-1).T
        disc = distance < rng.uniform(20, 60)
        seg[0][disc], seg[rng.integers(1, 3)][disc] = 1, number
    image = torch.from_numpy(np.where(seg[:1] > 0, 3.0, -3.0).astype(np.float32))
    return {"image": image, "segmentation": torch.from_numpy(seg)}


def test_examples():
    assert doctest.testmod(data_augmentation).failed == 0


@pytest.mark.parametrize(("patch", "spacing"), SAMPLES)
def test_no_label_is_invented_and_labels_stay_on_their_image(patch, spacing):
    torch.manual_seed(0)
    np.random.seed(0)
    transforms = training_transforms(patch, spacing)
    scaled = 0
    for seed in range(40):
        before = sample(patch, spacing, seed)
        ids = set(before["segmentation"].unique().tolist())
        corner = [(whole - edge) // 2 for whole, edge in zip(before["image"].shape[1:], patch, strict=True)]
        inner = tuple(slice(start, start + edge) for start, edge in zip(corner, patch, strict=True))
        centre = before["segmentation"][(slice(None), *inner)].clone()
        after = transforms(**before)
        seg, image = after["segmentation"], after["image"]
        assert image.shape == (1, *patch) and seg.shape == (3, *patch) and seg.dtype == torch.int16
        assert set(seg.unique().tolist()) <= ids  # the initial patch is large enough to need no padding
        scaled += (seg > 0).sum() != (centre > 0).sum()
        assert np.corrcoef(image[0].flatten(), seg[0].flatten() > 0)[0, 1] > 0.7
    assert 10 <= scaled <= 30  # half of 40


def test_outside_stays_unknown():
    np.random.seed(0)
    for patch, spacing in SAMPLES[::2]:
        transforms = training_transforms(patch, spacing)
        seen = set()
        for _ in range(30):
            inputs = {"image": torch.zeros(1, *patch), "segmentation": torch.ones(2, *patch, dtype=torch.int16)}
            seen |= set(transforms(**inputs)["segmentation"].unique().tolist())
        assert seen == {1, data_augmentation.OUTSIDE}


def test_nothing_is_interpolated_between_thick_slices():
    """Each slice has a value of its own, and keeps it."""
    np.random.seed(0)
    torch.manual_seed(0)
    values = torch.arange(1, 7).view(1, 6, 1, 1)
    transforms = training_transforms((6, 32, 32), THICK)
    spatial = type(transforms)(transforms.transforms[:3] + transforms.transforms[-1:])
    for _ in range(20):
        seg = values.expand(2, 6, 48, 48).short()
        after = spatial(image=values.expand(1, 6, 48, 48).float(), segmentation=seg)
        assert sorted(after["segmentation"][0, :, 16, 16].tolist()) == [1, 2, 3, 4, 5, 6]
        assert torch.allclose(after["image"][0], after["segmentation"][0].float())


@pytest.mark.parametrize(
    ("patch", "spacing", "count"),
    [
        ((3, 3), SQUARE, 8),
        ((3, 5), SQUARE, 4),
        ((3, 3), (1.0, 1.5), 4),
        ((2, 2, 2), CUBE, 48),
        ((2, 2, 2), THICK, 16),
        ((3, 2, 2), CUBE, 16),
        ((2, 3, 4), CUBE, 8),
    ],
)
def test_all_symmetries_of_a_patch(patch, spacing, count):
    np.random.seed(0)
    image = torch.arange(np.prod(patch), dtype=torch.float32).view(1, *patch)
    transform = SymmetryTransform(patch, spacing)
    results = [transform(image=image, segmentation=image.short()) for _ in range(25 * count)]
    assert all(torch.equal(result["image"].short(), result["segmentation"]) for result in results)
    assert len({tuple(result["image"].flatten().tolist()) for result in results}) == count


def test_validation_changes_nothing():
    before = sample()
    after = validation_transforms()(**{key: value.clone() for key, value in before.items()})
    assert all(torch.equal(before[key], after[key]) for key in before)
