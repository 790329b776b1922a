"""MaskMed joins the contract; its own promises follow."""

from __future__ import annotations

import pytest
import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet
from torch import nn

from maskmed_nnu.losses.set_criterion import SetCriterion
from maskmed_nnu.losses.targets import semantic_targets
from maskmed_nnu.networks import MaskMed, QueryOutput
from maskmed_nnu.networks.layers.dot_product_mask_head import DotProductMaskHead
from maskmed_nnu.networks.layers.maskmed.fsad import FSADTransformer
from maskmed_nnu.networks.layers.maskmed.query_head import MaskedQueryHead
from maskmed_nnu.networks.layers.maskmed.semantic import scores_to_logits, semantic_scores
from maskmed_nnu.networks.maskmed import HEADS
from tests.networks.contract import NetworkContract
from tests.networks.small import FSAD, build, unet_kwargs


class TestMaskMed(NetworkContract):
    traced_dims = (2, 3)

    def build(self, spatial_dims, **overrides):
        return build(spatial_dims, **overrides)


class TestMaskMedResidual(NetworkContract):
    def build(self, spatial_dims, **overrides):
        return build(spatial_dims, residual=True, **overrides)


class TestMaskMedPointwise(NetworkContract):
    def build(self, spatial_dims, **overrides):
        return build(spatial_dims, head="pointwise", **overrides)


class TestMaskMedClassEmbeddingWithoutFSAD(NetworkContract):
    def build(self, spatial_dims, **overrides):
        return build(spatial_dims, head="class_embedding", fsad=None, **overrides)


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_training_output_has_the_promised_shapes(spatial_dims):
    patch = (16, 24, 32)[-spatial_dims:]
    output = build(spatial_dims)(torch.randn(2, 2, *patch))
    assert isinstance(output, QueryOutput)
    assert output.class_logits.shape == (3, 2, 5, 4)
    assert output.mask_embeddings.shape == (3, 2, 5, 5)
    assert output.mask_features.shape == (2, 4, *patch)
    half = (patch[0], *(n // 2 for n in patch[1:]))
    assert [t.shape for t in output.dense_logits] == [(2, 3, *patch), (2, 3, *half)]


@pytest.mark.parametrize("fsad", [FSAD, None])
@pytest.mark.parametrize("head", HEADS)
def test_every_stage_of_figure_1_with_and_without_fsad(head, fsad):
    network = build(3, head=head, fsad=fsad)
    image = torch.randn(1, 2, 8, 16, 16)
    assert isinstance(network(image), QueryOutput if "queries" in head else tuple)
    assert network.eval()(image).shape == (1, 3, 8, 16, 16)


def test_pointwise_head_without_fsad_is_nnunet_with_the_same_weights():
    kwargs = unet_kwargs(3)
    stock = PlainConvUNet(2, num_classes=3, deep_supervision=True, **kwargs)
    ours = build(3, head="pointwise", fsad=None)
    ours.load_state_dict(stock.state_dict())
    image = torch.randn(1, 2, 8, 16, 16)
    for got, want in zip(ours(image), stock(image), strict=True):
        torch.testing.assert_close(got, want)


def test_class_embedding_starts_as_the_fixed_identity():
    torch.manual_seed(0)
    mixed = build(2, head="class_embedding", fsad=None).eval()
    fixed = build(2, head="pointwise", fsad=None).eval()
    fixed.load_state_dict({k: v for k, v in mixed.state_dict().items() if not k.startswith("head.")})
    image = torch.randn(1, 2, 16, 16)
    torch.testing.assert_close(mixed(image), fixed(image))


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        ({"head": "magic"}, "legal values of 'head' are pointwise, class_embedding, unmatched_queries, queries"),
        ({"head_levels": [3]}, "one or more of the levels 0 to 2"),
        ({"head": "unmatched_queries", "num_queries": 2}, "set num_queries to 3 or more"),
        ({"fsad": FSAD | {"query_levels": [5]}}, "levels 0 to 2"),
        ({"n_blocks_per_stage": [1, 1, 1]}, "either n_conv_per_stage .* or n_blocks_per_stage"),
    ],
)
def test_wrong_settings_are_told(overrides, sentence):
    with pytest.raises(ValueError, match=sentence):
        build(2, **overrides)


def test_fsad_brings_full_resolution_detail_to_the_bottleneck():
    network = build(3)
    features = [
        torch.randn(1, c, *s, requires_grad=True) for c, s in ((4, (8, 16, 16)), (8, (8, 8, 8)), (12, (4, 4, 4)))
    ]
    network.fsad(features)[2].sum().backward()
    assert features[0].grad.any()
    refined = network.fsad(features)
    assert refined[0] is features[0]
    assert not torch.equal(refined[1], features[1])


def test_fsad_layers_read_refreshed_deep_levels_and_the_encoders_shallow_ones():
    torch.manual_seed(0)
    fsad = FSADTransformer(channels=[4, 8, 12], spatial_dims=2, **FSAD)
    features = [torch.randn(2, c, n, n + 2) for c, n in ((4, 8), (8, 4), (12, 2))]
    answered, read = [], []
    for layer in fsad.layers:
        layer.register_forward_pre_hook(lambda _, inputs: read.append(list(inputs[3])))
        layer.register_forward_hook(lambda _, inputs, output: answered.append(output))
    fsad(features)
    assert len(read) == FSAD["layers"] == 2
    for values in read:
        assert torch.equal(values[0], features[0].movedim(1, -1))
    deep = torch.cat([values.flatten(1, 2) for values in read[1][1:]], 1)
    assert torch.equal(deep, answered[0])
    assert not torch.equal(read[0][1], read[1][1])


# ------------------------------------------------------------------------------------------------ semantic output
def test_evaluation_output_is_the_sum_over_queries():
    network = build(3)
    image = torch.randn(1, 2, 8, 16, 16)
    output = network(image)
    masks = DotProductMaskHead().dense(output.mask_embeddings[-1:], output.mask_features)[0, 0].sigmoid()
    classes = output.class_logits[-1, 0].softmax(-1)
    scores = torch.zeros(3, masks.shape[-1])
    for query in range(5):
        for c in range(3):
            scores[c] += classes[query, c] * masks[query]
    dense = network.eval()(image).flatten(2)[0]
    torch.testing.assert_close(dense.exp(), scores, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(dense.softmax(0), scores / scores.sum(0), rtol=1e-4, atol=1e-5)
    assert torch.equal(dense.argmax(0), scores.argmax(0))


def test_evaluation_in_chunks_of_voxels_is_the_same(monkeypatch):
    network = build(3).eval()
    image = torch.randn(1, 2, 8, 16, 16)
    with torch.no_grad():
        whole = network(image)
        monkeypatch.setattr("maskmed_nnu.networks.maskmed.VOXELS_PER_CHUNK", 300)
        torch.testing.assert_close(network(image), whole)


@pytest.mark.parametrize("head", HEADS)
def test_pretrained_weights_fit_a_data_set_with_other_classes(head):
    """nnU-Net's loader leaves out what is called .seg_layers. and wants everything else to fit."""
    few = build(2, head=head).state_dict()
    many = MaskMed(
        input_channels=2,
        num_classes=14,
        **unet_kwargs(2),
        head=head,
        head_levels=[2, 1],
        head_dim=16,
        head_heads=2,
        head_ffn=32,
        num_queries=24,
        fsad=FSAD,
    ).state_dict()
    differing = [key for key, value in many.items() if key not in few or few[key].shape != value.shape]
    assert differing
    assert all(".seg_layers." in key for key in differing)


def test_region_output_is_the_logit_of_the_scores():
    torch.manual_seed(1)
    scores = torch.rand(4, 100)
    logits = scores_to_logits(scores, regions=True)
    torch.testing.assert_close(logits.sigmoid(), scores, rtol=1e-4, atol=1e-5)
    # queries that claim the same region may sum to more than one
    assert scores_to_logits(scores * 3, regions=True).isfinite().all()


@pytest.mark.parametrize("regions", [False, True])
def test_half_precision_accumulation_as_in_nnunet_neither_overflows_nor_changes_the_label(regions):
    """nnU-Net adds Gaussian-weighted tiles up in fp16, divides by the summed weights, then averages mirrorings."""
    torch.manual_seed(2)
    class_logits = 30 * torch.randn(6, 5)
    mask_logits = 60 * torch.randn(6, 4000)
    scores = semantic_scores(class_logits, mask_logits)
    output = scores_to_logits(scores, regions)
    assert output.isfinite().all()
    total = torch.zeros_like(output, dtype=torch.half)
    weight = torch.zeros(output.shape[1], dtype=torch.half)
    for _ in range(64):
        gaussian = torch.full_like(weight, 10)
        total += output.half() * gaussian
        weight += gaussian
    average = total / weight
    assert average.isfinite().all()
    if regions:
        clear = (scores - 0.5).abs() > 0.01
        assert torch.equal((average.float().sigmoid() > 0.5)[clear], (scores > 0.5)[clear])
    else:
        best = scores.topk(2, dim=0).values
        clear = (best[0] / best[1] > 1.05) & (best[0] > 1e-4)
        assert clear.float().mean() > 0.5
        assert torch.equal(average.argmax(0)[clear], scores.argmax(0)[clear])


def test_half_precision_logits_do_not_overflow_in_the_scores():
    scores = semantic_scores(torch.full((3, 4), 6e4).half(), torch.full((3, 5), -6e4).half())
    assert scores.dtype == torch.float32
    assert scores_to_logits(scores, regions=False).isfinite().all()


# ---------------------------------------------------------------------------------------------------- query head
def test_masked_attention_reads_only_the_inside_of_the_mask():
    head = MaskedQueryHead(
        memory_channels=[6], mask_channels=2, num_classes=2, num_queries=1, spatial_dims=2, dim=8, heads=2
    )
    features = torch.zeros(1, 2, 4, 4)
    features[:, 0, :, :2] = 1
    features[:, 0, :, 2:] = -1
    full, half = torch.Size((4, 4)), torch.Size((2, 2))
    resized = head._resize(features, [half, full])
    torch.testing.assert_close(resized[half].view(2, 2, 2), nn.functional.avg_pool2d(features[0], 2))
    embedding = torch.tensor([[[1.0, 0.0, 0.0]]])
    allowed = head._allowed(embedding, resized[full]).view(4, 4)
    assert allowed[:, :2].all()
    assert not allowed[:, 2:].any()
    nowhere = torch.tensor([[[0.0, 0.0, -1.0]]])
    assert head._allowed(nowhere, resized[full]).all()
    coarse = head._allowed(embedding, resized[half]).view(2, 2)
    assert coarse[:, 0].all() and not coarse[:, 1].any()


def test_a_query_does_not_read_outside_its_mask():
    torch.manual_seed(0)
    head = MaskedQueryHead(
        memory_channels=[6], mask_channels=2, num_classes=2, num_queries=3, spatial_dims=2, dim=8, heads=2
    )
    nn.init.zeros_(head.mask_embedding[-1].weight)
    with torch.no_grad():  # every query's mask is the first mask feature: the left half
        head.mask_embedding[-1].bias.copy_(torch.tensor([1.0, 0.0, 0.0]))
    mask_features = torch.ones(1, 2, 8, 8)
    mask_features[..., 4:] = -1
    memory = torch.randn(1, 6, 4, 4)
    outside, inside = memory.clone(), memory.clone()
    outside[..., 2:] += 3
    inside[..., 1] += 3
    with torch.no_grad():
        answers = [head([scale], mask_features)[0][1] for scale in (memory, outside, inside)]
    torch.testing.assert_close(answers[1], answers[0], rtol=0, atol=1e-6)
    assert ((answers[2] - answers[0]).abs().amax(-1) > 1e-4).all()


def test_mask_head_at_points_equals_the_dense_map():
    embeddings, features = torch.randn(3, 2, 4, 6), torch.randn(2, 5, 3, 4, 5)
    dense = DotProductMaskHead().dense(embeddings, features)
    index = torch.randint(60, (2, 7))
    at_points = DotProductMaskHead().dense(embeddings, DotProductMaskHead().sample(features, index))
    assert dense.shape == (3, 2, 4, 60)
    torch.testing.assert_close(at_points, dense.gather(3, index[None, :, None].expand(3, 2, 4, 7)))
    by_hand = torch.einsum("lbqc,bcn->lbqn", embeddings[..., :5], features.flatten(2)) + embeddings[..., 5:]
    torch.testing.assert_close(dense, by_hand)


@pytest.mark.parametrize(
    ("spatial_dims", "shape"),
    [(2, (32, 32)), pytest.param(3, (16, 16, 16), marks=pytest.mark.slow)],
    ids=["2d", "3d"],
)
def test_it_overfits_one_case(spatial_dims, shape):
    """A left/right pair of equal intensity, which only position tells apart, and a brighter third object."""
    torch.manual_seed(0)
    label = torch.zeros(1, 1, *shape, dtype=torch.long)
    n = shape[0]
    label[..., n // 8 : n // 2, n // 8 : n // 2 - 1] = 1
    label[..., n // 8 : n // 2, n // 2 + 1 : -n // 8] = 2
    label[..., 5 * n // 8 : 7 * n // 8, n // 4 : 3 * n // 4] = 3
    image = (label > 0).float() + (label == 3) + 0.3 * torch.randn(label.shape)
    network = MaskMed(
        input_channels=1,
        num_classes=4,
        num_queries=8,
        head_levels=[2, 1],
        head_dim=32,
        head_heads=4,
        head_ffn=64,
        fsad=FSAD,
        **(unet_kwargs(spatial_dims) | {"features_per_stage": [8, 16, 32]}),
    )
    criterion = SetCriterion(num_classes=4, mask_head=network.mask_head, num_points=None, semantic_weight=1.0)
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    targets = semantic_targets(label, num_classes=4)
    for _ in range(150):
        optimizer.zero_grad()
        criterion(network.train()(image), targets).total.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 12)
        optimizer.step()
    with torch.no_grad():
        predicted = network.eval()(image).argmax(1, keepdim=True)
    for c in (1, 2, 3):
        overlap = ((predicted == c) & (label == c)).sum()
        dice = 2 * overlap / ((predicted == c).sum() + (label == c).sum())
        assert dice >= 0.97
