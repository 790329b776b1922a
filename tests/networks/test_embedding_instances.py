"""Objects from embeddings whose truth is known: ideal, noisy, blurred, of every awkward shape."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

from maskmed_nnu.networks.layers.maskattn_unet.embedding_instances import cluster, instances_from_embeddings

SHAPE = (64, 80)
SETTINGS = {"threshold": 0.6, "min_pixels": 12}


def discs() -> np.ndarray:
    """Touching discs, cut from the plane nearest centre first, in raster order of their first pixels."""
    y, x = np.indices(SHAPE)
    centres = np.random.default_rng(3).uniform(4, 60, (14, 2)) * [1, SHAPE[1] / SHAPE[0]]
    distance = np.stack([np.hypot(y - cy, x - cx) for cy, cx in centres])
    return in_order(np.where(distance.min(0) < 12, distance.argmin(0) + 1, 0))


def c_shape() -> np.ndarray:
    """A C that holds a disc, touched at its back by a bar, and a concave L beside them."""
    y, x = np.indices(SHAPE)
    distance = np.hypot(y - 30, x - 30)
    ids = np.where((distance < 20) & (distance >= 10) & ~((x > 30) & (abs(y - 30) < 4)), 1, 0)
    ids[distance < 10] = 2
    ids[10:50, 4:11] = 3
    ids[52:60, 20:70] = ids[20:60, 62:70] = 4
    return in_order(ids)


def in_order(ids: np.ndarray) -> np.ndarray:
    values, first, inverse = np.unique(ids, return_index=True, return_inverse=True)
    rank = np.zeros(len(values), np.int32)
    rank[np.argsort(np.where(values > 0, first, -1))] = np.arange(len(values))
    return rank[inverse].reshape(ids.shape)


def embed(ids: np.ndarray, *, noise: float = 0.0, blur: float = 0.0, channels: int = 16, seed: int = 0) -> Tensor:
    """Orthogonal vectors, one per object; ``noise`` is the mean length of what is added to them."""
    random = np.random.default_rng(seed)
    vectors = np.linalg.qr(random.normal(size=(channels, channels)))[0]
    rows = vectors[ids % channels]
    if blur:
        rows = ndimage.gaussian_filter(rows, (blur, blur, 0))
    rows = rows + noise * random.normal(size=rows.shape) / np.sqrt(channels)
    rows /= np.linalg.norm(rows, axis=-1, keepdims=True)
    return torch.from_numpy(rows).movedim(-1, 0).float()


def things_of(ids: np.ndarray) -> Tensor:
    return torch.from_numpy((ids > 0).astype(np.int64))


def least_iou(found: np.ndarray, truth: np.ndarray) -> float:
    """Of every object and the one that it has most pixels in common with."""
    ious = []
    for number in np.unique(truth[truth > 0]):
        mine = truth == number
        other = found == np.bincount(found[mine]).argmax()
        ious.append((mine & other).sum() / (mine | other).sum())
    return min(ious)


@pytest.mark.parametrize("scene", [discs, c_shape])
def test_ideal_embeddings_give_the_truth_numbered_by_first_pixels(scene):
    truth = scene()
    ids = cluster(embed(truth), things_of(truth), **SETTINGS)
    assert ids.dtype == torch.int32
    np.testing.assert_array_equal(ids.numpy(), truth)


@pytest.mark.parametrize("scene", [discs, c_shape])
@pytest.mark.parametrize(
    ("noise", "blur", "iou"), [(0.5, 0.0, 0.99), (0.8, 0.0, 0.9), (0.0, 1.0, 0.85), (0.4, 1.0, 0.8)]
)
def test_objects_survive_noise_and_blur(scene, noise, blur, iou):
    truth = scene()
    ids = cluster(embed(truth, noise=noise, blur=blur), things_of(truth), **SETTINGS).numpy()
    assert ids.max() == truth.max()
    assert least_iou(ids, truth) > iou


def test_an_embedding_that_turns_over_four_pixels_still_parts_two_objects():
    angle = torch.full((20, 40), 0.0)
    angle[:, 18:22] = torch.tensor([0.2, 0.4, 0.6, 0.8]) * torch.pi / 2
    angle[:, 22:] = torch.pi / 2
    embeddings = torch.stack((angle.cos(), angle.sin()))
    steps = (embeddings[:, :, 1:] * embeddings[:, :, :-1]).sum(0)
    assert steps.min() > 0.9  # neighbours are alike everywhere, so components of like neighbours would be one
    ids = cluster(embeddings, torch.ones(20, 40, dtype=torch.int64), **SETTINGS)
    assert ids.max() == 2
    assert (ids[:, :19] == 1).all() and (ids[:, 21:] == 2).all()


def test_classes_part_objects_of_one_embedding():
    truth = c_shape()
    things = torch.from_numpy(np.array([0, 2, 1, 2, 1])[truth])
    touching = torch.from_numpy(np.where(truth > 0, 1, 0))
    ids = cluster(embed(touching.numpy()), things, **SETTINGS).numpy()
    expected = np.zeros_like(truth)
    for thing in (1, 2):
        part = ndimage.label(things.numpy() == thing)[0]
        expected[part > 0] = part[part > 0] + expected.max()
    np.testing.assert_array_equal(ids, in_order(expected))


def test_an_object_two_pixels_wide_between_two_others_is_found():
    truth = np.ones(SHAPE, np.int64)
    truth[:, 30:32], truth[:, 32:] = 2, 3
    np.testing.assert_array_equal(cluster(embed(truth), things_of(truth), **SETTINGS).numpy(), truth)


def test_small_pieces_join_what_they_are_most_like_or_vanish():
    truth = np.zeros(SHAPE, np.int64)
    truth[4:40, 4:40], truth[4:40, 40:76] = 1, 2
    embeddings = embed(truth)
    first, second = embeddings[:, 10, 10], embeddings[:, 10, 60]
    strange = torch.linalg.qr(torch.stack((first, second, torch.ones(16)), 1))[0][:, 2]
    like_second = torch.nn.functional.normalize(strange + 0.3 * second, dim=0)
    embeddings[:, 20:23, 38:40] = like_second[:, None, None]  # 6 pixels of the first object, at the border of both
    embeddings[:, 10:13, 20:23] = strange[:, None, None]  # 9 pixels inside the first
    things = things_of(truth)
    things[50:53, 10:13] = 1  # 9 pixels on their own
    expected = truth.copy()
    expected[20:23, 38:40] = 2
    np.testing.assert_array_equal(cluster(embeddings, things, **SETTINGS).numpy(), expected)
    things[50:54, 10:13] = 1
    assert cluster(embeddings, things, **SETTINGS).max() == 3


@pytest.mark.parametrize(("height", "apart"), [(3, False), (5, False), (6, True)])
def test_a_piece_that_touches_an_object_must_be_twice_as_large_as_one_alone(height, apart):
    ids = np.zeros(SHAPE, np.int64)
    ids[10:30, 10:30], ids[10 : 10 + height, 30:34], ids[50 : 50 + height, 60:64] = 1, 2, 3
    found = cluster(embed(ids), things_of(ids), **SETTINGS).numpy()  # of 12 pixels at least
    assert (found[10, 30] != found[20, 20]) == apart
    assert found[50, 60] not in (0, found[20, 20])


def test_a_turned_picture_has_the_same_objects():
    truth = discs()
    embeddings, things = embed(truth, noise=0.9, blur=0.7), things_of(truth)
    ids = cluster(embeddings, things, **SETTINGS).numpy()
    turned = cluster(embeddings.mT, things.T, **SETTINGS).numpy().T
    mirrored = cluster(embeddings.flip(2), things.flip(1), **SETTINGS).numpy()[:, ::-1]
    np.testing.assert_array_equal(in_order(turned), ids)
    np.testing.assert_array_equal(in_order(mirrored), ids)


def probabilities_of(truth: np.ndarray, classes: np.ndarray) -> Tensor:
    """``[4, h, w]``: background, stuff and two things; ``classes`` (2 or 3) of the objects."""
    random = np.random.default_rng(5)
    logits = random.normal(size=(4, *truth.shape))
    label = np.concatenate([[0], classes])[truth]
    np.put_along_axis(logits, label[None], logits.max(0, keepdims=True) + 0.5, 0)
    return torch.from_numpy(logits).softmax(0).float()


def test_a_tiles_instances_are_the_clusters_with_masks_classes_and_scores():
    truth = discs()
    classes = np.arange(truth.max()) % 2 + 2
    embeddings, probabilities = embed(truth, noise=0.4), probabilities_of(truth, classes)
    found = instances_from_embeddings(embeddings, probabilities, thing_channels=(3, 2), **SETTINGS)
    assert found.semantic is None
    assert found.classes.tolist() == [{3: 0, 2: 1}[c] for c in classes]
    for number, (score, box, mask) in enumerate(zip(found.scores, found.boxes, found.masks, strict=True), 1):
        inside = torch.from_numpy(truth == number)
        y0, x0, y1, x1 = box.tolist()
        pasted = torch.zeros(SHAPE, dtype=torch.uint8)
        pasted[y0:y1, x0:x1] = mask
        assert torch.equal(pasted >= 128, inside)
        probability = probabilities[classes[number - 1]]
        sure = inside & (probability > 0.51)
        assert torch.equal(pasted[sure], (probability[sure] * 255).round().byte())
        rim = torch.from_numpy(ndimage.binary_dilation(inside.numpy()) & (truth == 0))
        assert torch.equal(pasted[rim], (probability[rim] * 255).round().clamp(max=127).byte())
        rows = embeddings[:, inside].T
        cosine = torch.nn.functional.cosine_similarity(rows, rows.mean(0, keepdim=True))
        assert float(score) == pytest.approx(float(cosine.mean() * probability[inside].mean()), abs=1e-5)


@pytest.mark.parametrize("small", [False, True])
def test_a_tile_without_objects_answers_with_none(small):
    truth = np.zeros((16, 16), np.int64)
    truth[3:6, 3:6] = int(small)
    found = instances_from_embeddings(
        embed(truth), probabilities_of(truth, np.array([2])), thing_channels=(2, 3), **SETTINGS
    )
    assert found.scores.shape == (0,) and found.classes.shape == (0,)
    assert found.boxes.shape == (0, 4) and found.masks == []
