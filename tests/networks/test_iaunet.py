"""IAUNet joins the contract; its own promises follow."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from maskmed_nnu.dimensions import LINEAR
from maskmed_nnu.errors import InputError
from maskmed_nnu.losses import SetCriterion, SetTargets
from maskmed_nnu.losses.location_criterion import LocationCriterion
from maskmed_nnu.networks import IAUNet, QueryOutput
from maskmed_nnu.networks.layers.dot_product_mask_head import DotProductMaskHead
from maskmed_nnu.networks.layers.iaunet.backbone import TimmBackbone
from maskmed_nnu.networks.layers.iaunet.masked_attention import allowed_positions
from maskmed_nnu.networks.layers.iaunet.tile_instances import crop_masks, full_frame_instances
from tests.networks.contract import NetworkContract, tensors
from tests.networks.small_iaunet import PUBLISHED, build, encoder_kwargs

SWIN = "swin_tiny_patch4_window7_224"


class InstanceContract(NetworkContract):
    """Both modes answer a ``QueryOutput``; ``predict_instances`` is what a trained network is asked for."""

    settings: dict = {}

    def build(self, spatial_dims, **overrides):
        return build(spatial_dims, **(self.settings | overrides))

    def evaluate(self, network, image):
        output = network(image)
        layers = [output.class_logits, output.mask_embeddings]
        maps = [output.mask_features, *output.dense_logits, output.reference_points, output.centre_logits]
        rows = [t.transpose(0, 1).flatten(1) for t in layers] + [t.flatten(1) for t in maps if t is not None]
        return torch.cat([row.float() for row in rows], 1)

    test_evaluation_mode_answers_one_dense_map = None

    def test_tiles_get_their_objects(self, spatial_dims):
        network = self.build(spatial_dims, score_threshold=0.0).eval()
        with torch.no_grad():
            network.decoder.mask_embedding[-1].bias[-1] += 3  # masks that are not empty
        image = self.image(spatial_dims)
        answers = network.predict_instances(image)
        assert len(answers) == len(image)
        for found in answers:
            assert len(found.scores) == len(found.classes) == len(found.boxes) == len(found.masks) > 0
            assert ((found.scores >= 0) & (found.scores <= 1)).all()
            assert found.classes.max() < 2
            assert found.semantic.shape == (3, *image.shape[2:])
            torch.testing.assert_close(found.semantic.sum(0), torch.ones(image.shape[2:]))
            starts, stops = found.boxes.split(spatial_dims, 1)
            assert (starts >= 0).all() and (starts < stops).all() and (stops <= torch.tensor(image.shape[2:])).all()
            for extent, mask in zip((stops - starts).tolist(), found.masks, strict=True):
                assert list(mask.shape) == extent and mask.dtype == torch.uint8 and mask.max() >= 128

    def test_nothing_above_the_threshold_is_no_object(self, spatial_dims):
        network = self.build(spatial_dims, score_threshold=1.1).eval()
        for found in network.predict_instances(self.image(spatial_dims)):
            assert found.scores.shape == found.classes.shape == (0,)
            assert found.boxes.shape == (0, 2 * spatial_dims) and not found.masks

    def test_tiles_of_a_batch_do_not_see_each_other(self, spatial_dims):
        network = self.build(spatial_dims, score_threshold=0.0).eval()
        image = self.image(spatial_dims)
        together, alone = network.predict_instances(image)[1], network.predict_instances(image[1:])[0]
        torch.testing.assert_close(together.scores, alone.scores)
        assert torch.equal(together.boxes, alone.boxes)

    @pytest.mark.parametrize("autocast", [False, True], ids=["float32", "autocast"])
    @pytest.mark.parametrize("objects", [0, 2])
    def test_its_loss_reaches_every_parameter(self, spatial_dims, objects, autocast):
        """As DDP demands it, also of a batch without objects; and finite under autocast."""
        network = self.build(spatial_dims).train()
        image = self.image(spatial_dims)
        ids = torch.zeros(1, *image.shape[2:], dtype=torch.int16)
        ids[0, ..., :9, :7], ids[0, ..., 20:30, 20:] = 1, 2
        number = torch.arange(1, objects + 1)
        targets = [SetTargets(ids, torch.zeros_like(number), number, number - 1)] * 2
        if network.from_image:
            criterion = LocationCriterion(num_classes=2, mask_head=network.mask_head, window=network.window)
        else:
            criterion = SetCriterion(num_classes=2, mask_head=network.mask_head)
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            output = network(image)
            loss = criterion(output, targets).total
        (loss + sum(logits.float().mean() for logits in output.dense_logits)).backward()
        assert loss.dtype == torch.float32 and loss.isfinite()
        assert not [n for n, p in network.named_parameters() if p.grad is None or not p.grad.isfinite().all()]


class TestImageQueries(InstanceContract):
    traced_dims = (2, 3)

    def test_training_output_has_the_promised_shapes(self):
        output = build()(torch.randn(2, 2, 32, 48))
        assert isinstance(output, QueryOutput)
        assert output.class_logits.shape == (3, 2, 7, 3)
        assert output.mask_embeddings.shape == (3, 2, 7, (4 + 5 + 1) * 8 + 9 * 8 + 9)
        assert output.mask_features.shape == (2, 6, 32, 48)
        assert [t.shape for t in output.dense_logits] == [(2, 3, 32, 48)]
        assert output.reference_points.shape == (2, 7, 2)
        assert output.centre_logits.shape == (2, 2, 16, 24)

    def test_a_volume_has_an_axis_more(self):
        network = build(3)
        output = network(torch.randn(2, 2, 8, 16, 24))
        assert network.divisor == (4, 8, 8) and network.mask_stride == (1, 1, 1)
        assert output.mask_embeddings.shape == (3, 2, 7, (4 + 7 + 1) * 8 + 9 * 8 + 9)
        assert output.mask_features.shape == (2, 7, 8, 16, 24)
        assert output.reference_points.shape == (2, 7, 3)
        assert output.centre_logits.shape == (2, 2, 8, 8, 12)

    def test_no_convolution_of_the_pixel_decoder_spans_slices_that_the_encoder_keeps_apart(self):
        outputs = build(3).pixel_decoder.outputs
        assert [tuple(block[0].kernel_size) for block in outputs] == [(3, 3, 3), (1, 3, 3)]


class TestImageQueriesWithMaskedAttention(InstanceContract):
    settings = {"masked_attention": True, "blocks_per_level": 2}
    traced_dims = ()


class TestImageQueriesOnACoarseGrid(InstanceContract):
    """Masks of stride 4 in windows that are larger than the tile."""

    settings = {"levels": 1, "pyramid": (8,), "query_stride": 4, "window": 100}
    traced_dims = ()


class TestStridesThatDifferBetweenTheAxes(InstanceContract):
    """Masks on a grid that is coarse along x only, and the heatmap as coarse along z."""

    settings = {"levels": 1, "pyramid": (8, 6), "query_stride": 4, "window": 16}
    traced_dims = ()

    def build(self, spatial_dims, **overrides):
        steps = [[1, 1, 1], [1, 1, 2], [1, 2, 2], [2, 2, 1]]
        network = super().build(spatial_dims, strides=[step[-spatial_dims:] for step in steps], **overrides)
        assert network.mask_stride == (1, 1, 2)[-spatial_dims:] and network.divisor == (2, 4, 4)[-spatial_dims:]
        return network


class TestLearnedQueries(InstanceContract):
    settings = {"queries": "learned", "levels": 1, "pyramid": (8,)}
    traced_dims = ()

    def test_masks_have_the_grid_of_the_pyramid(self):
        network = self.build(2)
        output = network(torch.randn(2, 2, 32, 48))
        assert network.mask_stride == (4, 4)
        assert output.mask_features.shape == (2, 4, 8, 12)
        assert output.mask_embeddings.shape == (1, 2, 7, 5)
        assert output.reference_points is output.centre_logits is None


class TestLearnedQueriesWithMaskedAttention(InstanceContract):
    settings = {"queries": "learned", "masked_attention": True}


@pytest.mark.parametrize("spatial_dims", [2, 3], ids=["2d", "3d"])
def test_tensors_of_a_graph_are_those_that_objects_are_taken_from(spatial_dims):
    torch.manual_seed(0)
    network = build(spatial_dims, score_threshold=0.0, levels=2, pyramid=(8,)).eval()
    with torch.no_grad():
        network.decoder.mask_embedding[-1].bias[-1] += 3  # masks that are not empty
        image = torch.randn(2, 2, *NetworkContract.patch[spatial_dims])
        tensors = network.tile_tensors(image)
    for b, tile in enumerate(network.predict_instances(image)):
        assert len(tile.masks) > 3
        boxes, masks, found = crop_masks(
            (tensors["masks"][b] * 255).round().byte(), tensors["corners"][b], image.shape[2:]
        )
        torch.testing.assert_close(tensors["scores"][b, found], tile.scores)
        assert torch.equal(boxes, tile.boxes)
        assert all((ours.int() - theirs.int()).abs().max() <= 1 for ours, theirs in zip(masks, tile.masks, strict=True))


# ------------------------------------------------------------------------------------------------ the paper's network
def test_published_configuration_counts_as_many_parameters(torchvision_ops):
    """The paper says 39 M. Counted from its released code there are 39.37 M; the boxes' and objectness layers, which no
    loss reaches, are not here (1,285), and masks have a bias (257)."""
    network = IAUNet(input_channels=3, num_classes=2, num_things=1, backbone="resnet50", **PUBLISHED)
    assert sum(p.numel() for p in network.parameters()) == 39_364_857
    assert network.mask_stride == (4, 4) and network.divisor == (32, 32)


def test_published_network_predicts_after_its_nine_blocks_only():
    small = {"width": 16, "ffn": 16, "heads": 2, "pyramid": (8,), "mask_channels": 4}
    settings = encoder_kwargs((4, 4, 8, 8, 8)) | PUBLISHED | small
    network = build(**settings)
    assert network(torch.randn(2, 2, 32, 32)).class_logits.shape[0] == 9
    with_masks = build(**settings, masked_attention=True)
    assert with_masks(torch.randn(2, 2, 32, 32)).class_logits.shape[0] == 10  # the first mask must come from somewhere


@pytest.mark.parametrize(("name", "weights"), [("resnet18", False), ("resnet18", True), (SWIN, False)])
def test_timm_backbones(torchvision_ops, tmp_path, name, weights):
    """Any size that the strides divide; one of them equals a width of Swin, which puts the channels last."""
    import timm

    settings = {"levels": 2, "pyramid": (8,), "query_stride": 8}
    if weights:
        torch.save(timm.create_model(name).state_dict(), tmp_path / "weights.pth")
        settings["backbone_weights"] = str(tmp_path / "weights.pth")
    network = build(backbone=name, **settings).train()
    output = network(torch.randn(1, 2, 64, 96))
    assert output.mask_features.shape == (1, 6, 8, 12)
    sum((t * torch.randn_like(t)).sum() for t in tensors(output)).backward()
    assert not [n for n, p in network.named_parameters() if p.grad is None]


def test_channels_last_backbone_is_not_guessed_from_the_shape(torchvision_ops):
    backbone = TimmBackbone(name=SWIN, input_channels=1).eval()
    with torch.no_grad():
        feature = backbone(torch.randn(1, 1, 384, 64))[0]  # 96 rows, and 96 channels
    assert feature.shape == (1, 96, 96, 16)


def test_local_weights_are_those_of_the_file(torchvision_ops, tmp_path):
    import timm

    state = timm.create_model("resnet18").state_dict()
    torch.save(state, tmp_path / "weights.pth")
    backbone = TimmBackbone(name="resnet18", input_channels=3, weights=str(tmp_path / "weights.pth"))
    assert all(torch.equal(value, state[key]) for key, value in backbone.model.state_dict().items())
    other = TimmBackbone(name="resnet18", input_channels=3)
    assert not torch.equal(other.model.conv1.weight, state["conv1.weight"])


def test_wrong_backbones_and_weights_are_told(torchvision_ops, tmp_path):
    import timm

    torch.save(timm.create_model("resnet18").state_dict(), tmp_path / "resnet18.pth")
    torch.save({"state_dict": pytest.approx(1)}, tmp_path / "pickle.pth")
    for name, weights, sentence in (
        ("convnextt", None, "timm has no model 'convnextt'; models with a similar name are convne"),
        ("vit_tiny_patch16_224", None, "does not give a pyramid .* strides .16, 16, 16.; take a ResNet"),
        ("resnet18", "nowhere.pth", "there is no such file; correct backbone_weights"),
        ("resnet34", "resnet18.pth", "other weights than those of timm's 'resnet34' .layer1.2.conv1.weight is missing"),
        ("resnet18", "pickle.pth", "not a state dict that can be loaded safely"),
    ):
        with pytest.raises(InputError, match=sentence):
            TimmBackbone(name=name, input_channels=3, weights=weights and str(tmp_path / weights))


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        ({"queries": "magic"}, "queries 'magic'; legal values are image, learned"),
        ({"levels": 3, "pyramid": (8, 8)}, "3 levels and a pyramid of 2, but the encoder has only 4 scales"),
        (
            {"backbone": "resnet18", "conv_op": nn.Conv3d},
            "backbone 'resnet18' for volumes, but timm's networks are for",
        ),
        ({"query_stride": 8}, r"query_stride 8; legal are the strides of the pyramid, \[2, 1\]"),
        ({"window": [9, 9, 9]}, r"window \[9, 9, 9\] for 2 axes; legal is one edge for each"),
    ],
)
def test_wrong_settings_are_told(overrides, sentence):
    with pytest.raises(InputError, match=sentence):
        build(**overrides)


def test_pretrained_weights_fit_a_data_set_with_other_classes():
    """nnU-Net's loader leaves out what is called .seg_layers. and wants everything else to fit."""
    few, many = build().state_dict(), build(num_classes=9, num_things=6, num_queries=30).state_dict()
    differing = [key for key, value in many.items() if few[key].shape != value.shape]
    assert differing and all(".seg_layers." in key for key in differing)


# ------------------------------------------------------------------------------------------------------------ masks
@pytest.mark.parametrize("stride", [(4, 4), (1, 4, 4), (2, 4, 4)], ids=str)
def test_masks_of_a_coarse_grid_are_interpolated_at_the_losses_points(stride):
    grid = (3, 5, 4)[-len(stride) :]
    features, embeddings = torch.randn(2, 3, *grid), torch.randn(2, 2, 6, 4)
    features.requires_grad_()
    coarse = DotProductMaskHead().dense(embeddings, features).unflatten(-1, grid)
    fine = F.interpolate(coarse.flatten(0, 1), scale_factor=stride, mode=LINEAR[len(stride)]).view(2, 2, 6, -1)
    index = torch.randint(fine.shape[-1], (2, 50))
    head = DotProductMaskHead(stride)
    at_points = head.dense(embeddings, head.sample(features, index))
    expected = fine.gather(3, index[None, :, None].expand(2, 2, 6, 50))
    torch.testing.assert_close(at_points, expected, rtol=1e-4, atol=1e-5)
    weight = torch.randn_like(expected)
    gradients = [torch.autograd.grad((logits * weight).sum(), features)[0] for logits in (at_points, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("num_points", [None, 100])
def test_the_set_loss_on_a_coarse_grid_is_that_of_the_enlarged_masks(num_points):
    torch.manual_seed(0)
    ids = torch.zeros(1, 16, 24, dtype=torch.int16)
    ids[0, 2:9, 3:11], ids[0, 10:, 15:20] = 1, 2
    number = torch.tensor([1, 2])
    targets = [SetTargets(ids, torch.zeros_like(number), number, number - 1)]
    coarse = QueryOutput(torch.randn(2, 1, 4, 3), torch.randn(2, 1, 4, 4), torch.randn(1, 3, 4, 6))
    fine = coarse._replace(mask_features=F.interpolate(coarse.mask_features, scale_factor=4, mode="bilinear"))
    losses = []
    for stride, output in (((4, 4), coarse), ((), fine)):
        torch.manual_seed(1)  # the same points
        criterion = SetCriterion(num_classes=2, mask_head=DotProductMaskHead(stride), num_points=num_points)
        losses.append(criterion(output, targets).total)
    torch.testing.assert_close(losses[0], losses[1])


def test_full_frame_masks_are_cut_to_what_is_inside():
    features = torch.full((1, 6, 8), -1.0)
    features[0, 1:3, 2:4] = 1
    embeddings = torch.tensor([[8.0, 0.0], [0.0, -8.0]])  # the second query's mask is empty
    boxes, masks, found = full_frame_instances(DotProductMaskHead((4, 4)), embeddings, features, shape=(24, 32))
    assert found.tolist() == [0]
    assert boxes.tolist() == [[3, 7, 13, 17]]  # one pixel more than the mask on each side
    assert (masks[0] >= 128)[1:-1, 1:-1].float().mean() > 0.9


def test_learned_queries_score_their_masks_too():
    network = build(queries="learned", score_threshold=0.0).eval()
    nn.init.zeros_(network.mask_features.weight)
    nn.init.zeros_(network.decoder.mask_embedding[-1].weight)
    nn.init.zeros_(network.decoder.mask_embedding[-1].bias)
    with torch.no_grad():
        network.decoder.mask_embedding[-1].bias[-1] = 1.0  # every pixel of every mask has the logit 1
    image = torch.randn(1, 2, 32, 32)
    classes = network(image).class_logits[-1, 0].softmax(-1)[:, :-1].amax(1)
    expected = classes * torch.tensor(1.0).sigmoid()
    torch.testing.assert_close(network.predict_instances(image)[0].scores, expected, rtol=3e-3, atol=0)


def test_masked_attention_reads_the_mask_within_its_window_only():
    network = build(masked_attention=True)
    features = torch.zeros(1, 6, 32, 32)
    reference = torch.tensor([[[0.3125, 0.3125], [0.25, 0.75]]])
    scale = torch.zeros(1, 16, 8, 8)
    embeddings = torch.zeros(1, 2, network.mask_head.embedding_size)
    embeddings[0, 0, -1], embeddings[0, 1, -1] = 1, -1  # all of the window; nothing
    allowed = allowed_positions(network.mask_head, network.window, features, reference, embeddings, scale)
    allowed = allowed.view(2, 8, 8)
    assert allowed[1].all()
    expected = torch.zeros(8, 8, dtype=torch.bool)
    expected[1:4, 1:4] = True  # 12 of 32 pixels around (10, 10): the cells whose middles are at 6, 10 and 14
    assert torch.equal(allowed[0], expected)
