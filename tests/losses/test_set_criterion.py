from __future__ import annotations

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from maskmed_nnu.errors import InputError
from maskmed_nnu.losses import SetCriterion, SetTargets, region_targets, semantic_targets
from maskmed_nnu.networks.layers.dot_product_mask_head import DotProductMaskHead
from maskmed_nnu.networks.output import QueryOutput

IGNORE = 3


def criterion(**options) -> SetCriterion:
    return SetCriterion(**{"num_classes": 3, "mask_head": DotProductMaskHead(), "num_points": None} | options)


def real(count: int) -> torch.Tensor:
    """One sample whose ``count`` targets are all there."""
    return torch.ones(1, count, dtype=torch.bool)


def gradients(output: QueryOutput, loss: torch.Tensor) -> tuple[torch.Tensor, ...]:
    return torch.autograd.grad(loss, output[:3])


def objects(count: int, edge: int, maps: int = 1) -> SetTargets:
    """``count`` objects, spread over ``maps`` overlap layers."""
    random = torch.Generator().manual_seed(count)
    grid = torch.randint(1, count + 1, (maps, edge, edge), generator=random, dtype=torch.int32)
    ids = torch.arange(1, count + 1)
    return SetTargets(grid, ids % maps, ids, torch.zeros_like(ids))


class Recorder(TorchDispatchMode):
    """Counts the elements of all new tensors, and what goes from the device to the host by value."""

    def __init__(self) -> None:
        super().__init__()
        self.elements, self.reads = 0, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        self.reads += func in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default)
        known = {
            a.untyped_storage().data_ptr() for a in (*args, *(kwargs or {}).values()) if isinstance(a, torch.Tensor)
        }
        for tensor in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(tensor, torch.Tensor) and tensor.untyped_storage().data_ptr() not in known:
                self.elements += tensor.numel()
        return result


@pytest.mark.parametrize("spatial", [(6, 7), (5, 6, 7)])
@pytest.mark.parametrize("matching", ["bipartite", "fixed"])
@pytest.mark.parametrize("num_points", [None, 20, 10**6])
def test_total_is_the_weighted_sum_and_everything_gets_a_gradient(
    make_output, make_labels, spatial, matching, num_points
):
    output = make_output(layers=3, spatial=spatial)
    targets = semantic_targets(make_labels(spatial=spatial), num_classes=3)
    loss = criterion(matching=matching, num_points=num_points, semantic_weight=0.5)(output, targets)
    parts = (0.2 * loss.classes + 1.2 * loss.bce + 1.2 * loss.dice).sum() / 3
    torch.testing.assert_close(loss.total, parts + 0.5 * loss.semantic)
    assert loss.classes.shape == loss.bce.shape == loss.dice.shape == (3,)
    for gradient in gradients(output, loss.total):
        assert gradient.isfinite().all() and gradient.abs().sum() > 0


def test_as_many_points_as_voxels_is_dense(make_output, make_labels):
    output, targets = make_output(), semantic_targets(make_labels(), num_classes=3)
    assert torch.equal(criterion(num_points=210)(output, targets).total, criterion()(output, targets).total)


def test_sampled_loss_approaches_the_dense_one(make_output, make_labels):
    torch.manual_seed(0)
    output = make_output(spatial=(20, 20))
    targets = semantic_targets(make_labels(spatial=(20, 20)), num_classes=3)
    dense = criterion(matching="fixed")(output, targets)  # the same pairs in both
    loss = criterion(matching="fixed", num_points=300, importance_ratio=0, balanced_ratio=0)
    sampled = [loss(output, targets).bce for _ in range(40)]
    torch.testing.assert_close(torch.stack(sampled).mean(0), dense.bce, rtol=0.02, atol=0)


def test_importance_prefers_voxels_near_the_border(make_output, make_labels):
    torch.manual_seed(0)
    output = make_output(layers=1, batch=1, spatial=(40, 40))
    targets = semantic_targets(make_labels(batch=1, spatial=(40, 40)), num_classes=3)
    loss = criterion(num_points=200)
    classes, real = targets[0].classes[None], torch.ones(1, 3, dtype=torch.bool)
    query, points = loss._match(output, output.class_logits, targets, classes, real, [3], None)
    logits = DotProductMaskHead().dense(output.mask_embeddings, output.mask_features)[0, 0, query[0, 0]]
    certainty = logits.abs().amin(0)
    drawn = certainty[points.index[0]]
    # three candidates for each of three quarters of the points, the surest left out
    assert drawn[:150].max() < certainty.quantile(0.4) < drawn[150:].max()


@pytest.mark.parametrize("balanced_ratio", [0.25, 0])
def test_one_voxel_in_a_large_patch_has_points_and_finds_its_query(balanced_ratio):
    """Two queries claim the small class; only where its voxel is seen can they be distinguished."""
    labels = torch.zeros(1, 1, 64, 64, 64)
    labels[0, 0, 40, 50, 60] = 1
    targets = semantic_targets(labels, num_classes=2)
    voxel = int(labels.flatten().argmax())
    # features: the voxel, and the rest; masks of queries: nothing, everything else, the voxel
    features = torch.cat([labels, 1 - labels], 1)
    embeddings = 20 * torch.tensor([[-1.0, -1.0, 0.0], [-1.0, 1.0, 0.0], [1.0, -1.0, 0.0]])[None, None]
    classes = torch.tensor([[0.0, 5.0, 0.0], [5.0, 0.0, 0.0], [0.0, 5.0, 0.0]])[None, None]
    loss = criterion(num_classes=2, num_points=2000, balanced_ratio=balanced_ratio)
    output = QueryOutput(classes, embeddings, features)
    seen, found = [], []
    for seed in range(20):
        torch.manual_seed(seed)
        query, points = loss._match(output, classes, targets, targets[0].classes[None], real(2), [2], None)
        seen.append(bool((points.index == voxel).any()))
        found.append(query[0, 0].tolist() == [1, 2])
    always = balanced_ratio > 0
    assert all(seen) == all(found) == always


def test_balanced_points_carry_the_loss_of_a_small_region(make_output):
    """Regions that overlap, one of a single voxel: their masks get a gradient in every step."""
    stack = torch.zeros(1, 3, 40, 40, dtype=torch.bool)
    stack[0, 0, :30], stack[0, 1, 10:20, 10:20], stack[0, 2, 15, 15] = True, True, True
    output = make_output(batch=1, spatial=(40, 40))
    loss = criterion(num_points=400, regions=True)
    for seed in range(20):
        torch.manual_seed(seed)
        gradient = gradients(output, loss(output, region_targets(stack, has_ignore=False)).total)[2]
        assert (gradient[0, :, 15, 15] != 0).all()


@pytest.mark.parametrize("num_points", [None, 60])
@pytest.mark.parametrize("regions", [False, True])
def test_predictions_under_ignored_voxels_do_not_matter(make_output, make_labels, num_points, regions):
    output = make_output()
    ignored = torch.rand(2, 1, 5, 6, 7, generator=torch.Generator().manual_seed(1)) < 0.4
    if regions:
        stack = torch.cat([make_labels() > 0, make_labels() > 1, make_labels(seed=1) > 0, ignored], 1)
        targets = region_targets(stack, has_ignore=True)
    else:
        labels = make_labels().masked_fill(ignored, IGNORE)
        targets = semantic_targets(labels, num_classes=3, ignore_label=IGNORE)
    loss = criterion(num_points=num_points, regions=regions, semantic_weight=1.0)
    torch.manual_seed(0)
    first = loss(output, targets)
    gradient = gradients(output, first.total)[2]
    assert (gradient[ignored.expand_as(gradient)] == 0).all()
    assert (gradient[~ignored.expand_as(gradient)] != 0).float().mean() > (0.99 if num_points is None else 0.2)

    changed = torch.where(ignored, 100 * torch.randn_like(output.mask_features), output.mask_features)
    torch.manual_seed(0)
    second = loss(output._replace(mask_features=changed), targets)
    for here, there in zip(first, second, strict=True):
        torch.testing.assert_close(here, there)


def test_what_lies_under_ignored_voxels_does_not_matter(make_output, make_labels):
    """Dense over the valid voxels is the dense loss of an image that consists of them alone."""
    output, labels = make_output(spatial=(8, 6)), make_labels(spatial=(8, 6))
    cut = output._replace(mask_features=output.mask_features[:, :, :5])
    whole = semantic_targets(labels[:, :, :5], num_classes=3)
    labels[:, :, 5:] = IGNORE
    partly = semantic_targets(labels, num_classes=3, ignore_label=IGNORE)
    loss = criterion(semantic_weight=1.0)
    for here, there in zip(loss(output, partly), loss(cut, whole), strict=True):
        torch.testing.assert_close(here, there)


@pytest.mark.parametrize("num_points", [None, 20])
@pytest.mark.parametrize("matching", ["bipartite", "fixed"])
def test_fully_ignored_sample_counts_for_nothing(make_output, make_labels, num_points, matching):
    output, labels = make_output(), make_labels()
    labels[1] = IGNORE
    loss = criterion(num_points=num_points, matching=matching, semantic_weight=1.0)
    torch.manual_seed(0)
    result = loss(output, semantic_targets(labels, num_classes=3, ignore_label=IGNORE))
    classes, embeddings, features = gradients(output, result.total)
    assert (classes[:, 1] == 0).all() and (embeddings[:, 1] == 0).all() and (features[1] == 0).all()
    if num_points is None:
        first = QueryOutput(output.class_logits[:, :1], output.mask_embeddings[:, :1], output.mask_features[:1])
        for here, there in zip(result, loss(first, semantic_targets(labels[:1], num_classes=3)), strict=True):
            torch.testing.assert_close(here, there)


@pytest.mark.parametrize("num_points", [None, 20])
def test_batch_without_any_valid_voxel_is_zero(make_output, make_labels, num_points):
    output = make_output()
    labels = torch.full_like(make_labels(), IGNORE)
    loss = criterion(num_points=num_points, semantic_weight=1.0)
    result = loss(output, semantic_targets(labels, num_classes=3, ignore_label=IGNORE))
    assert result.total == 0
    assert all((gradient == 0).all() for gradient in gradients(output, result.total))


@pytest.mark.parametrize("num_points", [None, 20])
def test_empty_targets_teach_no_object_only(make_output, num_points):
    output = make_output()
    none = torch.zeros(0, dtype=torch.int64)
    empty = SetTargets(torch.zeros(1, 5, 6, 7, dtype=torch.int32), none, none, none)
    result = criterion(num_points=num_points)(output, [empty, empty])
    assert (result.bce == 0).all() and (result.dice == 0).all()
    expected = -output.class_logits.log_softmax(-1)[..., -1].mean((1, 2))
    torch.testing.assert_close(result.classes, expected)
    assert all(gradient.isfinite().all() for gradient in gradients(output, result.total))


def test_absent_class_is_no_target(make_output, make_labels):
    output = make_output(layers=1, batch=1)
    labels = make_labels(batch=1, classes=2)  # class 2 is absent
    result = criterion(matching="fixed", no_object_weight=1.0)(output, semantic_targets(labels, num_classes=3))
    wanted = torch.tensor([0, 1, 3, 3, 3])
    expected = torch.nn.functional.cross_entropy(output.class_logits[0, 0], wanted)
    torch.testing.assert_close(result.classes[0], expected)


def test_fixed_matching_gives_class_c_to_query_c(make_output, make_labels):
    output, labels = make_output(), make_labels()
    result = criterion(matching="fixed")(output, semantic_targets(labels, num_classes=3))
    logits = DotProductMaskHead().dense(output.mask_embeddings, output.mask_features)[:, :, :3]
    truth = torch.stack([labels.flatten(1) == c for c in range(3)], 1).float().expand_as(logits)
    bce = torch.nn.functional.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    torch.testing.assert_close(result.bce, bce.mean((1, 2, 3)))
    gradient = gradients(output, result.total)[1]
    assert (gradient[:, :, 3:] == 0).all() and (gradient[:, :, :3] != 0).any()


@pytest.mark.parametrize("maps", [1, 3])
def test_objects_in_overlap_layers(make_output, maps):
    """The same masks, once in few maps and once in a map each, cost the same; one object, and more than queries."""
    output = make_output(batch=3, queries=8, classes=1, spatial=(12, 12))
    packed = [objects(count, 12, maps) for count in (1, 6, 11)]
    single = []
    for targets in packed:
        masks, ids = targets.at_points(None).unflatten(1, (12, 12)), torch.ones_like(targets.ids)
        single.append(SetTargets(masks.to(torch.int16), torch.arange(len(ids)), ids, targets.classes))
    loss = criterion(num_classes=1)
    for here, there in zip(loss(output, packed), loss(output, single), strict=True):
        torch.testing.assert_close(here, there)


@pytest.mark.parametrize("kind", ["labels", "regions", "ignore"])
def test_gradients_in_float64(make_output, make_labels, kind):
    spatial = (2, 3, 2)
    output = make_output(batch=2, channels=2, spatial=spatial, dtype=torch.float64)
    labels = make_labels(spatial=spatial)
    if kind == "regions":
        targets = region_targets(torch.cat([labels > 0, labels > 1, labels == 0], 1), has_ignore=False)
    else:
        labels[0, 0, 0] = IGNORE if kind == "ignore" else 0
        targets = semantic_targets(labels, num_classes=3, ignore_label=IGNORE)
    loss = criterion(semantic_weight=0.7, regions=kind == "regions")
    tensors = output[:3]
    assert loss(output, targets).total.dtype == torch.float64
    assert torch.autograd.gradcheck(lambda *leaves: loss(QueryOutput(*leaves), targets).total, tensors)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("num_points", [None, 50])
def test_half_precision_is_finite_and_close(make_output, make_labels, dtype, num_points):
    full, targets = make_output(), semantic_targets(make_labels(), num_classes=3)
    half = QueryOutput(*(tensor.detach().to(dtype).requires_grad_() for tensor in full[:3]))
    loss = criterion(num_points=num_points, semantic_weight=1.0)
    torch.manual_seed(0)
    result = loss(half, targets)
    torch.manual_seed(0)
    assert result.total.dtype == torch.float32
    assert all(gradient.isfinite().all() for gradient in gradients(half, result.total))
    torch.testing.assert_close(result.classes, loss(full, targets).classes, rtol=0.05, atol=0.05)


def test_large_logits_in_half_precision_are_finite(make_output, make_labels):
    output = make_output(dtype=torch.float16)
    output = output._replace(mask_features=(output.mask_features * 1000).detach().requires_grad_())
    result = criterion(semantic_weight=1.0)(output, semantic_targets(make_labels(), num_classes=3))
    assert all(gradient.isfinite().all() for gradient in (result.total, *gradients(output, result.total)))


def test_autocast_leaves_the_loss_in_float32(make_output, make_labels):
    output, targets = make_output(), semantic_targets(make_labels(), num_classes=3)
    plain = criterion(semantic_weight=1.0)(output, targets)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = criterion(semantic_weight=1.0)(output, targets)
    assert all(part.dtype == torch.float32 for part in result)
    torch.testing.assert_close(result.total, plain.total, rtol=0.02, atol=0)
    assert all(gradient.isfinite().all() for gradient in gradients(output, result.total))


@pytest.mark.parametrize("num_points", [None, 40])
@pytest.mark.parametrize("ignore", [False, True])
def test_one_transfer_to_the_host(make_output, make_labels, monkeypatch, num_points, ignore):
    output, labels = make_output(layers=4), make_labels()
    labels[0, 0, 0] = IGNORE if ignore else 0
    targets = semantic_targets(labels, num_classes=3, ignore_label=IGNORE)
    transfers = []
    to_host = torch.Tensor.cpu
    monkeypatch.setattr(torch.Tensor, "cpu", lambda self: transfers.append(self.shape) or to_host(self))
    with Recorder() as recorder:
        criterion(num_points=num_points, semantic_weight=1.0)(output, targets).total.backward()
    assert transfers == [(4, 2, 5, 3)]
    assert recorder.reads == 0


def test_fixed_matching_needs_no_transfer(make_output, make_labels, monkeypatch):
    targets = semantic_targets(make_labels(), num_classes=3)
    monkeypatch.setattr(torch.Tensor, "cpu", None)
    with Recorder() as recorder:
        criterion(matching="fixed", num_points=40)(make_output(), targets)
    assert recorder.reads == 0


def test_matching_costs_the_same_for_any_number_of_objects(make_output):
    output = make_output(batch=1, queries=64, classes=1, channels=8, spatial=(128, 128))
    counts = []
    for count in (3, 30):
        targets, loss = objects(count, 128), criterion(num_classes=1, num_points=8192)
        loss._uncertain_points = lambda output, query, real, sampler: sampler.points(sampler.uniform(2048))
        with Recorder() as recorder, torch.no_grad():
            real = torch.ones(1, count, dtype=torch.bool)
            loss._match(output, output.class_logits, [targets], targets.classes[None], real, [count], None)
        counts.append(recorder.elements)
    assert counts[1] < 1.1 * counts[0]


def test_ten_times_the_objects_cost_less_than_four_times(make_output):
    """Only matched queries have a gradient, at the points: no term grows with objects times voxels."""
    output = make_output(layers=4, batch=1, queries=600, classes=1, channels=4, spatial=(96, 96))
    counts = []
    for count in (30, 300):
        with Recorder() as recorder:
            loss = criterion(num_classes=1, num_points=4096)
            loss(output, [objects(count, 96)]).total.backward()
        counts.append(recorder.elements)
    assert counts[1] < 4 * counts[0]


def test_cost_of_an_object_does_not_grow_with_the_volume(make_output):
    growth = []
    for edge in (64, 256):
        output, counts = make_output(batch=1, queries=60, classes=1, spatial=(edge, edge)), []
        for count in (3, 30):
            with Recorder() as recorder:
                criterion(num_classes=1, num_points=256)(output, [objects(count, edge)]).total.backward()
            counts.append(recorder.elements)
        growth.append(counts[1] - counts[0])
    assert growth[1] == growth[0]


@pytest.mark.parametrize("regions", [False, True])
def test_loss_can_be_driven_to_zero(regions):
    torch.manual_seed(0)
    labels = torch.zeros(2, 1, 6, 6)
    labels[:, :, 2:] = 1
    labels[0, :, 4:, 3:] = 2
    if regions:
        targets = region_targets(torch.cat([labels >= 0, labels > 0, labels > 1], 1), has_ignore=False)
    else:
        targets = semantic_targets(labels, num_classes=3)
    voxel = torch.eye(36).unflatten(1, (6, 6)).expand(2, -1, -1, -1)  # one channel per voxel: any mask can be written
    classes = torch.randn(2, 2, 5, 4).requires_grad_()
    embeddings = torch.randn(2, 2, 5, 37).requires_grad_()
    optimizer = torch.optim.Adam([classes, embeddings], lr=0.2)
    loss = criterion(semantic_weight=1.0, regions=regions)
    output = QueryOutput(classes, embeddings, voxel)
    start = loss(output, targets).total.item()
    for _ in range(250):
        optimizer.zero_grad()
        result = loss(output, targets)
        result.total.backward()
        optimizer.step()
    assert result.total < 0.01 < start


def test_semantic_term_is_the_plain_formula(make_output, make_labels):
    output, labels = make_output(layers=1), make_labels()
    result = criterion(semantic_weight=1.0)(output, semantic_targets(labels, num_classes=3))
    masks = DotProductMaskHead().dense(output.mask_embeddings, output.mask_features)[0].sigmoid()
    score = torch.einsum("bqk,bqn->bkn", output.class_logits[0].softmax(-1)[..., :3], masks)
    p = score / score.sum(1, keepdim=True)
    truth = torch.stack([labels.flatten(1) == c for c in range(3)], 1).float()
    dice = (2 * (p * truth).sum(2) + 1) / (p.sum(2) + truth.sum(2) + 1)
    expected = -(truth * p.log()).sum(1).mean() + (1 - dice).mean()
    torch.testing.assert_close(result.semantic, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("queries", [1, 5])
def test_semantic_term_of_regions_is_the_plain_formula(make_output, make_labels, queries):
    output = make_output(layers=1, queries=queries)
    stack = torch.cat([make_labels() > 0, make_labels() > 1, make_labels(seed=1) > 5], 1)  # the last one is absent
    result = criterion(semantic_weight=1.0, regions=True)(output, region_targets(stack, has_ignore=False))
    masks = DotProductMaskHead().dense(output.mask_embeddings, output.mask_features)[0].sigmoid()
    score = torch.einsum("bqk,bqn->bkn", output.class_logits[0].softmax(-1)[..., :3], masks)
    truth, capped = stack.flatten(2).float(), score.clamp(max=1)
    beyond = (score - 0.99).clamp(min=0)  # several queries may claim a voxel: a straight line above 0.99
    assert (beyond > 0).any() == (queries > 1)
    bce = -truth * capped.log() - (1 - truth) * ((1 - score.clamp(max=0.99)).log() - beyond / 0.01)
    dice = (2 * (capped * truth).sum(2) + 1) / (capped.sum(2) + truth.sum(2) + 1)
    torch.testing.assert_close(result.semantic, bce.mean() + (1 - dice).mean(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"matching": "greedy"}, "bipartite, fixed"),
        ({"num_points": 0}, "num_points"),
        ({"oversample_ratio": 0.5}, "oversample_ratio"),
        ({"importance_ratio": 1.5}, "importance_ratio"),
        ({"balanced_ratio": -0.1}, "balanced_ratio"),
        ({"balanced_ratio": 1.1}, "balanced_ratio"),
    ],
)
def test_settings_that_are_refused(options, named):
    with pytest.raises(InputError, match=named):
        criterion(**options)


def test_targets_that_are_refused(make_output, make_labels):
    targets = semantic_targets(make_labels(), num_classes=3)
    with pytest.raises(InputError, match="1 targets for 2 samples"):
        criterion()(make_output(), targets[:1])
    with pytest.raises(InputError, match="2 queries for 3 classes"):
        criterion(matching="fixed")(make_output(queries=2), targets)


def test_a_quarter_of_the_points_finds_the_pairs_of_all(make_output):
    """Queries that each know their object, with noise: the assignment at sampled points is that at every voxel."""
    torch.manual_seed(0)
    count, edge = 30, 128
    targets = objects(count, edge)
    masks = targets.at_points(None).float()
    noise = make_output(layers=1, batch=1, queries=count, classes=1, channels=count, spatial=(edge, edge))
    order = torch.randperm(count)
    output = noise._replace(
        mask_embeddings=torch.cat([10 * torch.eye(count)[order], torch.full((count, 1), -5.0)], 1)[None, None],
        mask_features=(masks + 0.3 * torch.randn_like(masks)).unflatten(1, (edge, edge))[None],
    )
    real = torch.ones(1, count, dtype=torch.bool)
    pairs = [
        criterion(num_classes=1, num_points=points)._match(
            output, output.class_logits, [targets], targets.classes[None], real, [count], None
        )[0]
        for points in (None, 4096)
    ]
    assert pairs[0].equal(pairs[1]) and pairs[0][0, 0].equal(order.argsort())
