"""The loss of queries that have a place: against plain loops, and what it promises beside its value."""

from __future__ import annotations

import math
from itertools import product
from operator import floordiv
from typing import NamedTuple

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from maskmed_nnu.dimensions import MAX_POOL
from maskmed_nnu.losses.centres import at_cells, find_centres, heatmap, vote_targets
from maskmed_nnu.losses.location_criterion import LocationCriterion
from maskmed_nnu.losses.targets import SetTargets
from maskmed_nnu.networks import IAUNet
from maskmed_nnu.networks.layers.iaunet.tile_instances import to_pixels
from maskmed_nnu.networks.output import QueryOutput
from tests.networks.small_iaunet import encoder_kwargs

CLASSES, CHANNELS = 2, 2


class Grid(NamedTuple):
    """Sizes of an image or a volume with slices of four pixels, (z, y, x)."""

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    heat_stride: tuple[int, ...]
    window: tuple[int, ...]
    weights: tuple[float, ...]
    """of (x, y, z) in distances"""

    @property
    def dim(self) -> int:
        return len(self.shape)

    @property
    def scale(self) -> tuple[float, ...]:
        return tuple(edge / 2 for edge in reversed(self.window))

    def pixel(self, place: Tensor) -> tuple[int, ...]:
        """Where a point (x, y, z) in [0, 1] is."""
        return tuple((place * torch.tensor(self.shape[::-1])).int().tolist()[::-1])


IMAGE = Grid((24, 32), (2, 2), (4, 4), (6, 6), (1.0, 1.0))
VOLUME = Grid((6, 24, 32), (1, 2, 2), (2, 4, 4), (3, 6, 6), (0.25, 0.25, 1.0))
HEIGHT, WIDTH = IMAGE.shape
STRIDE, HEAT_STRIDE, WINDOW = IMAGE.stride[0], IMAGE.heat_stride[0], IMAGE.window[0]
grids = pytest.mark.parametrize("grid", [IMAGE, VOLUME], ids=["2d", "3d"])


class LinearHead:
    """A mask head that is short enough to be repeated: embedding · (features, votes, coordinates)."""

    def __init__(self, scale: tuple[float, ...] = IMAGE.scale) -> None:
        self.scale = scale

    def __call__(self, embeddings: Tensor, features: Tensor, relative: Tensor) -> Tensor:
        inputs = torch.cat([features, relative.to(features.dtype)], -1)
        return torch.einsum("lne,npe->lnp", embeddings, inputs)


def make_output(
    grid: Grid = IMAGE, *, queries: int = 9, layers: int = 2, batch: int = 2, seed: int = 0, dtype=torch.float64
) -> QueryOutput:
    random = torch.Generator().manual_seed(seed)

    def leaf(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random, dtype=torch.float64).to(dtype).requires_grad_()

    place = torch.tensor([(x, y, 3) for y in (2, 6, 10, 14, 18, 22) for x in (2, 6, 14, 18, 26, 30)])[:, : grid.dim]
    if grid.dim == 3:
        place[::3, 2], place[1::3, 2] = 1, 5
    place = torch.stack([place[torch.randperm(36, generator=random)[:queries]] for _ in range(batch)])
    return QueryOutput(
        leaf(layers, batch, queries, CLASSES + 1),
        leaf(layers, batch, queries, CHANNELS + 2 * grid.dim),
        leaf(batch, CHANNELS + grid.dim, *map(floordiv, grid.shape, grid.stride)),
        reference_points=place / torch.tensor(grid.shape[::-1]),
        centre_logits=leaf(batch, CLASSES, *map(floordiv, grid.shape, grid.heat_stride)),
    )


def make_targets(grid: Grid = IMAGE) -> list[SetTargets]:
    """Overlapping objects of two classes; two objects and a piece of unknown truth with junk in it."""
    maps = torch.zeros(2, 2, *grid.shape, dtype=torch.int16)
    maps[0, 0, ..., 1:9, 1:8], maps[0, 0, ..., 10:20, 10:22], maps[0, 0, ..., 4:7, 24:31] = 3, 1, 7
    maps[0, 1, ..., 12:23, 16:28], maps[0, 1, ..., 18:24, 0:5] = 4, 2
    maps[1, 0, ..., 0:16, 10:19], maps[1, 1, ..., 3:20, 14:32] = 2, 5
    if grid.dim == 3:  # none of them in all slices
        maps[:, 0, 4:], maps[:, 1, :2] = 0, 0
    valid = torch.ones(grid.shape, dtype=torch.bool)
    valid[..., 15:, :12] = False
    maps[1, ..., 17:, :11] = 9
    return [
        SetTargets(maps[0], *torch.tensor([(0, 3, 0), (1, 4, 1), (0, 1, 1), (0, 7, 0), (1, 2, 1)]).unbind(1)),
        SetTargets(maps[1], *torch.tensor([(1, 5, 1), (0, 2, 0)]).unbind(1), valid),
    ]


def make_criterion(grid: Grid = IMAGE, **settings) -> LocationCriterion:
    head = LinearHead(grid.scale)
    return LocationCriterion(num_classes=CLASSES, mask_head=head, window=grid.window, **settings)


def permuted(output: QueryOutput, order: Tensor) -> QueryOutput:
    return output._replace(
        class_logits=output.class_logits[:, :, order],
        mask_embeddings=output.mask_embeddings[:, :, order],
        reference_points=output.reference_points[:, order],
    )


def reference_loss(
    grid: Grid, output: QueryOutput, targets: list[SetTargets], duplicate_weight: float
) -> dict[str, Tensor]:
    """Everything once more, one query, object, cell and layer at a time."""
    layers, batch, queries, _ = output.class_logits.shape
    probability = output.class_logits.softmax(-1)
    count = sum(len(t.ids) for t in targets)
    parts = {name: torch.zeros((), dtype=torch.float64) for name in ("classes", "bce", "dice", "heat", "votes")}
    vote_error, voters = 0.0, 0
    for b, sample in enumerate(targets):
        found = find_centres(sample, weights=grid.weights)
        masks = sample.at_points(None).view(-1, *grid.shape)
        valid = torch.ones(grid.shape, dtype=torch.bool) if sample.valid is None else sample.valid
        cost = torch.full((queries, len(masks)), 1e4, dtype=torch.float64)
        inside = torch.zeros(queries, dtype=torch.bool)
        known = torch.zeros(queries, dtype=torch.bool)
        for q in range(queries):
            pixel = grid.pixel(output.reference_points[b, q])
            place = (output.reference_points[b, q] * torch.tensor(grid.shape[::-1])).tolist()
            known[q] = valid[pixel]
            for t, mask in enumerate(masks):
                steps = [abs(a - c) for a, c in zip(place, found.centre[t].tolist(), strict=True)]
                size = int(mask.sum()) * math.prod(grid.weights)
                radius = math.sqrt(size / math.pi) if grid.dim == 2 else (size * 0.75 / math.pi) ** (1 / 3)
                distance = math.hypot(*(a * w for a, w in zip(steps, grid.weights, strict=True))) / max(radius, 1)
                inside[q] |= mask[pixel]
                same_cell = all(a <= edge / 2 for a, edge in zip(steps, reversed(grid.heat_stride), strict=True))
                if mask[pixel] or distance < 0.5 or same_cell:
                    cost[q, t] = distance - probability[:, b, q, sample.classes[t]].mean().item()
        row, column = linear_sum_assignment(cost.numpy())
        pairs = {q: t for q, t in zip(row.tolist(), column.tolist(), strict=True) if cost[q, t] < 1e4}
        for layer, q in product(range(layers), range(queries)):
            wanted = torch.zeros(CLASSES + 1, dtype=torch.float64)
            wanted[-1] = 1
            weight = (duplicate_weight if inside[q] else 1.0) * known[q]
            if q in pairs:
                bce, dice, iou = reference_masks(grid, output, layer, b, q, masks[pairs[q]], valid)
                parts["bce"] += bce / layers / count
                parts["dice"] += dice / layers / count
                wanted = torch.zeros(CLASSES + 1, dtype=torch.float64)
                weight = 0.0 if iou is None else 1.0
                if iou is not None:
                    wanted[sample.classes[pairs[q]]], wanted[-1] = iou, 1 - iou
            entropy = -(wanted * output.class_logits[layer, b, q].log_softmax(0)).sum() * weight
            parts["classes"] += entropy / layers / (count + batch)
        peaks = heatmap(found, sample, num_classes=CLASSES, stride=grid.heat_stride).double()
        for c, *cell in product(*map(range, peaks.shape)):
            voxels = [slice(i * step, (i + 1) * step) for i, step in zip(cell, grid.heat_stride, strict=True)]
            if valid[tuple(voxels)].all():
                peak, p = peaks[(c, *cell)], output.centre_logits[(b, c, *cell)].sigmoid()
                on, off = -((1 - p) ** 2) * p.log(), -((1 - peak) ** 4) * p**2 * (1 - p).log()
                parts["heat"] += (on if peak == 1 else off) / count
        vote, has = vote_targets(found, sample, stride=grid.stride)
        has &= at_cells(valid, grid.stride)
        for cell in has.nonzero().tolist():
            for axis in range(grid.dim):
                unit = grid.stride[::-1][axis] * grid.scale[axis]
                error = output.mask_features[(b, CHANNELS + axis, *cell)] - vote[(axis, *cell)] / unit
                vote_error += 0.5 * error**2 / 0.05 if error.abs() < 0.05 else error.abs() - 0.025
        voters += len(has.nonzero())
    parts["votes"] += vote_error / voters * max(grid.scale) / 10
    return parts


def reference_masks(
    grid: Grid, output: QueryOutput, layer: int, b: int, q: int, mask: Tensor, valid: Tensor
) -> tuple[Tensor, Tensor, float | None]:
    """BCE, Dice and IoU (None: nothing to see) of one query's window."""
    cells = output.mask_features.shape[2:]
    place = (output.reference_points[b, q] * torch.tensor(cells[::-1])).tolist()
    first = [math.floor(at - edge / 2 + 0.5) for at, edge in zip(reversed(place), grid.window, strict=True)]
    logits, truth = [], []
    for cell in product(*(range(at, at + edge) for at, edge in zip(first, grid.window, strict=True))):
        pixel = tuple(i * step + step // 2 for i, step in zip(cell, grid.stride, strict=True))
        if all(0 <= i < edge for i, edge in zip(cell, cells, strict=True)) and valid[pixel]:
            relative = [(i + 0.5 - at) / one for i, at, one in zip(reversed(cell), place, grid.scale, strict=True)]
            inputs = torch.cat([output.mask_features[(b, slice(None), *cell)], torch.tensor(relative).double()])
            logits.append((output.mask_embeddings[layer, b, q] * inputs).sum())
            truth.append(mask[pixel])
    logits, truth = torch.stack(logits), torch.stack(truth)
    bce = nn.functional.binary_cross_entropy_with_logits(logits, truth.double())
    soft = logits.sigmoid()
    dice = 1 - (2 * soft[truth].sum() + 1) / (soft.sum() + truth.sum() + 1)
    union = ((logits > 0) | truth).sum().item()
    return bce, dice, ((logits > 0) & truth).sum().item() / union if union else None


# ------------------------------------------------------------------------------------------------------------- value
@pytest.mark.parametrize("duplicate_weight", [1.0, 0.3])
@pytest.mark.parametrize("seed", [0, 1, 2])
@grids
def test_it_equals_plain_loops(grid, seed, duplicate_weight):
    output, targets = make_output(grid, seed=seed, queries=12), make_targets(grid)
    loss = make_criterion(grid, duplicate_weight=duplicate_weight)(output, targets)
    expected = reference_loss(grid, output, targets, duplicate_weight)
    for name, value in expected.items():
        torch.testing.assert_close(getattr(loss, name), value, rtol=1e-5, atol=1e-6, msg=lambda m, n=name: f"{n}: {m}")
    weights = {"classes": 1, "bce": 2, "dice": 2, "heat": 1, "votes": 1}
    total = sum(weights[name] * value for name, value in expected.items())
    torch.testing.assert_close(loss.total, total, rtol=1e-5, atol=1e-6)
    assert (expected["bce"] > 0.1) and (0 < loss.quality < 1)


@grids
def test_gradients(grid):
    output, targets = make_output(grid, queries=4, layers=1, batch=1), make_targets(grid)[:1]
    criterion = make_criterion(grid)
    leaves = [output.class_logits, output.mask_embeddings, output.mask_features, output.centre_logits]

    def total(classes: Tensor, embeddings: Tensor, features: Tensor, centres: Tensor) -> Tensor:
        return criterion(
            output._replace(
                class_logits=classes, mask_embeddings=embeddings, mask_features=features, centre_logits=centres
            ),
            targets,
        ).total

    # logits away from zero, where the mask's border and so the score's target would jump
    assert torch.autograd.gradcheck(total, leaves, eps=1e-7, atol=1e-5, fast_mode=True)


@grids
def test_neither_the_order_of_the_targets_nor_of_the_queries_matters(grid):
    output, targets, criterion = make_output(grid), make_targets(grid), make_criterion(grid)
    loss = criterion(output, targets).total
    order = torch.tensor([3, 0, 4, 2, 1])
    first = targets[0]._replace(
        layers=targets[0].layers[order], ids=targets[0].ids[order], classes=targets[0].classes[order]
    )
    torch.testing.assert_close(criterion(output, [first, targets[1]]).total, loss)
    shuffled = permuted(output, torch.tensor([8, 1, 6, 3, 0, 5, 2, 7, 4]))
    torch.testing.assert_close(criterion(shuffled, targets).total, loss)
    swapped = QueryOutput(
        output.class_logits.flip(1),
        output.mask_embeddings.flip(1),
        output.mask_features.flip(0),
        reference_points=output.reference_points.flip(0),
        centre_logits=output.centre_logits.flip(0),
    )
    torch.testing.assert_close(criterion(swapped, targets[::-1]).total, loss)


# ----------------------------------------------------------------------------------------------------- unknown truth
@grids
def test_where_the_truth_is_unknown_nothing_matters(grid):
    output, targets, criterion = make_output(grid, queries=12), make_targets(grid), make_criterion(grid)
    valid = targets[1].valid
    loss = criterion(output, targets).total
    loss.backward()
    unknown = ~at_cells(valid, grid.stride)
    assert not output.mask_features.grad[1, :, unknown].any()
    assert output.mask_features.grad[1].any()
    touched = MAX_POOL[grid.dim]((~valid)[None].float(), grid.heat_stride)[0] > 0
    assert touched.any() and not output.centre_logits.grad[1, :, touched].any()
    assert output.centre_logits.grad[1][:, ~touched].all()
    lost = torch.tensor([not valid[grid.pixel(place)] for place in output.reference_points[1]])
    assert lost.any() and not lost.all()
    assert not output.class_logits.grad[:, 1, lost].any()
    assert output.class_logits.grad[:, 1, ~lost].any(-1).all()
    other = targets[1].maps.clone()
    other[..., 17:, :11] = 12
    assert criterion(output, [targets[0], targets[1]._replace(maps=other)]).total == loss


@grids
def test_no_truth_at_all_is_finite(grid):
    output, targets = make_output(grid), make_targets(grid)
    nowhere = torch.zeros(grid.shape, dtype=torch.bool)
    empty = [
        SetTargets(torch.full_like(t.maps, -1), *[torch.zeros(0, dtype=torch.int64)] * 3, nowhere) for t in targets
    ]
    loss = make_criterion(grid)(output, empty)
    assert loss.total == 0
    loss.total.backward()
    assert all(leaf.grad.isfinite().all() for leaf in (output.class_logits, output.mask_features))


@pytest.mark.parametrize("batch", ["no object", "one empty sample"])
@grids
def test_empty_samples_teach_that_there_is_nothing(grid, batch):
    output, targets = make_output(grid), make_targets(grid)
    empty = SetTargets(torch.zeros(2, *grid.shape, dtype=torch.int16), *[torch.zeros(0, dtype=torch.int64)] * 3)
    loss = make_criterion(grid)(output, [empty, targets[1] if batch == "one empty sample" else empty])
    loss.total.backward()
    for leaf in (output.class_logits, output.mask_embeddings, output.mask_features, output.centre_logits):
        assert leaf.grad is not None and leaf.grad.isfinite().all()
    assert (output.class_logits.grad[:, 0, :, -1] < 0).all()  # "no object" goes up everywhere
    assert (output.centre_logits.grad[0] > 0).all()
    assert not output.mask_embeddings.grad[:, 0].any()
    if batch == "no object":
        assert loss.bce == loss.dice == loss.votes == loss.quality == 0


# ---------------------------------------------------------------------------------------------------------- matching
def test_an_object_smaller_than_a_cell_of_the_heatmap_is_matched_with_its_peak():
    output = make_output(queries=36, batch=1)
    maps = torch.zeros(1, HEIGHT, WIDTH, dtype=torch.int16)
    maps[0, 8, 16] = 1  # in the corner of the cell whose middle, and query, is at (18, 10)
    one = torch.ones(1, dtype=torch.int64)
    targets = [SetTargets(maps, one - 1, one, one)]
    (sample, query, target), _ = make_criterion()._match(output, targets, [find_centres(targets[0])], (HEIGHT, WIDTH))
    assert (sample.tolist(), target.tolist()) == ([0], [0])
    assert (output.reference_points[0, query[0]] * torch.tensor([WIDTH, HEIGHT])).tolist() == [18, 10]


def test_each_object_has_one_query_and_only_one_that_is_near():
    output, targets = make_output(queries=36), make_targets()
    found = [find_centres(t) for t in targets]
    (sample, query, target), _ = make_criterion()._match(output, targets, found, (HEIGHT, WIDTH))
    assert sorted(target.tolist()) == list(range(7))
    assert len(set(zip(sample.tolist(), query.tolist(), strict=True))) == 7
    few, _ = make_criterion()._match(permuted(output, torch.arange(2)), targets, found, (HEIGHT, WIDTH))
    assert len(few[0]) <= 4 and (few[0].bincount() <= 2).all()


def test_duplicates_are_taught_with_their_own_weight():
    """Two queries on one object, one elsewhere: the weight acts on the one that was not matched."""
    output = make_output(queries=3, batch=1)
    place = torch.tensor([[[6.0, 6.0], [8.5, 6.0], [26.0, 20.0]]])
    output = output._replace(reference_points=place / torch.tensor([WIDTH, HEIGHT]))
    with torch.no_grad():
        output.class_logits.zero_()
    maps = torch.zeros(1, HEIGHT, WIDTH, dtype=torch.int16)
    maps[0, 2:10, 2:10] = 1
    one = torch.ones(1, dtype=torch.int64)
    targets = [SetTargets(maps, one - 1, one, one - 1)]
    gradients = []
    for weight in (1.0, 4.0):
        make_criterion(duplicate_weight=weight)(output, targets).total.backward()
        gradients.append(output.class_logits.grad)
        output.class_logits.grad = None
    for query, factor in ((0, 1.0), (1, 4.0), (2, 1.0)):
        torch.testing.assert_close(gradients[1][:, 0, query], factor * gradients[0][:, 0, query])
        assert gradients[0][:, 0, query].any()


# ---------------------------------------------------------------------------------------------------- sampled points
def test_fewer_points_than_the_window_are_right_on_average():
    """BCE over all draws; the IoU, which the score is taught, over those in which a point fell on the masks at all."""
    torch.manual_seed(0)
    window, count = 16, 24
    output, targets = make_output(queries=36, dtype=torch.float32), make_targets()
    with torch.no_grad():  # masks that are not far from the truth: inside the circle around the query
        output.mask_embeddings[..., :CHANNELS] *= 0.3
    head = LinearHead()
    criterion = LocationCriterion(num_classes=CLASSES, mask_head=head, window=(window, window))
    found = [find_centres(t) for t in targets]
    pairs, _ = criterion._match(output, targets, found, (HEIGHT, WIDTH))
    with torch.no_grad():
        bce, dice, iou, _ = criterion._masks(output, targets, pairs, IMAGE.stride)
        criterion.num_points = count * len(pairs[0])
        assert len(criterion._sample_cells(len(pairs[0]), bce.device)[0]) == count
        draws = [torch.stack([*criterion._masks(output, targets, pairs, IMAGE.stride)]) for _ in range(1500)]
    sampled = torch.stack(draws)  # [draws, 4, L, pairs]
    seen = sampled[:, 3]
    assert 0.5 < seen.mean() < 1
    for value, whole, weight in ((sampled[:, 0], bce, torch.ones_like(seen)), (sampled[:, 2], iou, seen)):
        total = weight.sum(0)
        mean = (value * weight).sum(0) / total
        error = (((value - mean) ** 2 * weight).sum(0) / total / total).sqrt()
        assert ((mean - whole).abs() < 4 * error + 0.02).all()
        assert ((mean - whole).mean()).abs() < 0.01
    # a ratio with smoothing is not: a few points say little
    assert (sampled[:, 1].mean(0) - dice).abs().max() < 0.25


def test_an_object_that_no_point_fell_on_is_not_taught_to_be_none():
    output = make_output(queries=36, batch=1)
    with torch.no_grad():
        output.mask_embeddings.zero_()  # logits of zero: empty masks
    maps = torch.zeros(1, HEIGHT, WIDTH, dtype=torch.int16)
    maps[0, 10, 14] = 1  # no cell of stride 2 reads an even pixel
    one = torch.ones(1, dtype=torch.int64)
    targets = [SetTargets(maps, one - 1, one, one)]
    criterion = make_criterion()
    (_, query, _), _ = criterion._match(output, targets, [find_centres(targets[0])], (HEIGHT, WIDTH))
    criterion(output, targets).total.backward()
    assert not output.class_logits.grad[:, 0, query].any()
    assert output.class_logits.grad[:, 0].any(-1).sum() == 2 * 35


@pytest.mark.parametrize("window", [(96, 96), (12, 24, 32)], ids=["2d", "3d"])
def test_the_points_of_a_batch_do_not_grow_with_the_objects(window):
    criterion = LocationCriterion(num_classes=1, mask_head=LinearHead(), window=window, num_points=2**14)
    for objects in (1, 2, 30, 300):
        cells = torch.stack(criterion._sample_cells(objects, torch.device("cpu")), 1)
        assert len(cells) * objects <= 2**14
        assert len(cells.unique(dim=0)) == len(cells) and cells.min() >= 0
        assert (cells.amax(0) < torch.tensor(window[::-1])).all()
    whole = torch.stack(criterion._sample_cells(1, torch.device("cpu")), 1)
    assert whole.tolist() == [list(cell[::-1]) for cell in np.ndindex(*window)]


# -------------------------------------------------------------------------------------------------- it trains a network
@pytest.mark.parametrize(
    ("dim", "settings"),
    [
        (2, {}),
        pytest.param(2, {"masked_attention": True}, marks=pytest.mark.slow),
        pytest.param(2, {"pyramid": (16,), "query_stride": 2}, marks=pytest.mark.slow),
        (3, {"window": [8, 24, 24], "blocks_per_level": 0}),
    ],
    ids=["default", "masked attention", "masks of stride 2", "volume"],
)
def test_a_network_overfits_one_case(dim, settings):
    """Six cells, in 2D two of them each half over another one: all of them found once, with their whole masks."""
    torch.manual_seed(0)
    image, targets = touching_and_overlapping_cells() if dim == 2 else touching_balls_in_thick_slices()
    network = IAUNet(
        **encoder_kwargs((8, 16, 24), convolutions=2, spatial_dims=dim),
        input_channels=1,
        num_classes=2,
        num_things=1,
        **(
            {
                "width": 32,
                "levels": 1,
                "blocks_per_level": 2,
                "pyramid": (16, 12),
                "heads": 4,
                "ffn": 64,
                "num_queries": 20,
                "query_stride": 2,
                "window": 32,
                "dense": False,
            }
            | settings
        ),
    )
    criterion = LocationCriterion(num_classes=1, mask_head=network.mask_head, window=network.window)
    optimizer = torch.optim.AdamW(network.parameters(), 5e-3)
    steps = 160 if dim == 2 else 40
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = 5e-3 * min(1, (step + 1) / 10) * (1 - step / steps) ** 0.9
        optimizer.zero_grad()
        criterion(network.train()(image), [targets]).total.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 12)
        optimizer.step()
    found = network.eval().predict_instances(image)[0]
    masks = torch.zeros(len(found.scores), *image.shape[2:], dtype=torch.bool)
    for mask, box, crop in zip(masks, found.boxes.tolist(), found.masks, strict=True):
        mask[tuple(map(slice, box[:dim], box[dim:]))] = crop >= 128
    masks = masks[found.scores >= 0.5].flatten(1)[:, None]
    truth = targets.at_points(None)
    iou = (masks & truth).sum(2) / (masks | truth).sum(2)
    assert iou.shape == (6, 6)
    truth = truth.view(-1, *image.shape[2:])
    bar = (0.95 * best_possible_iou(truth, network.mask_stride)).clamp(max=0.9)
    assert ((iou >= bar).sum(0) == 1).all() and ((iou >= 0.5).sum(0) == 1).all()


def best_possible_iou(truth: Tensor, stride: tuple[int, ...]) -> Tensor:
    """IoU of the true masks ``[T, *spatial]`` with themselves as a grid of ``stride`` draws them (2: 0.90 to 0.93)."""
    drawn = to_pixels(at_cells(truth[:, None], stride).float() * 2 - 1, stride)[:, 0] >= 0
    return (drawn & truth).flatten(1).sum(1) / (drawn | truth).flatten(1).sum(1)


def touching_and_overlapping_cells() -> tuple[Tensor, SetTargets]:
    y, x = torch.meshgrid(torch.arange(64) + 0.5, torch.arange(64) + 0.5, indexing="ij")
    maps, image = torch.zeros(2, 64, 64, dtype=torch.int16), torch.zeros(64, 64)
    cells = [(16, 14, 9, 0), (16, 32, 9, 0), (30, 24, 8, 1), (48, 16, 9, 0), (46, 46, 12, 0), (50, 57, 8, 1)]
    for number, (row, column, radius, layer) in enumerate(cells, 1):
        distance = torch.hypot(y - row, x - column) / radius
        mask = (distance < 1) & (maps[layer] == 0)
        maps[layer][mask] = number
        image += mask * (1.5 - distance.clamp(max=1) ** 2)
    assert (maps > 0).all(0).sum() > 90  # pixels of two cells
    layers = torch.tensor([layer for *_, layer in cells])
    targets = SetTargets(maps, layers, torch.arange(1, 7), torch.zeros(6, dtype=torch.int64))
    return (image + 0.1 * torch.randn(64, 64))[None, None], targets


def touching_balls_in_thick_slices() -> tuple[Tensor, SetTargets]:
    """Six balls in 10 slices, each as thick as three pixels; some touch within a slice, some along z."""
    z, y, x = torch.meshgrid(*(torch.arange(n) + 0.5 for n in (10, 32, 48)), indexing="ij")
    ids, image = torch.zeros(10, 32, 48, dtype=torch.int16), torch.zeros(10, 32, 48)
    balls = [(3, 9, 9, 8), (3, 9, 25, 8), (7.5, 11, 10, 7), (5, 24, 18, 7), (4, 22, 38, 9), (8, 8, 34, 6)]
    for number, (slice_, row, column, radius) in enumerate(balls, 1):
        distance = ((3 * (z - slice_)) ** 2 + (y - row) ** 2 + (x - column) ** 2).sqrt() / radius
        mask = (distance < 1) & (ids == 0)
        ids[mask] = number
        image += mask * (1.5 - distance.clamp(max=1) ** 2)
    number = torch.arange(1, 7)
    return (image + 0.1 * torch.randn(image.shape))[None, None], SetTargets(ids[None], number * 0, number, number * 0)
