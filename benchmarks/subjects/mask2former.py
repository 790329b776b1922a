"""Mask2Former by transformers, made from its configuration: nothing is downloaded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.harness.case import MissingError
from benchmarks.published_iaunet import PUBLISHED
from benchmarks.subjects.torchvision_import import make_torchvision_importable
from maskmed_nnu.networks.layers.dot_product_mask_head import DotProductMaskHead
from maskmed_nnu.networks.output import QueryOutput

SMALL = {
    "feature_size": 32,
    "mask_feature_size": 32,
    "hidden_dim": 32,
    "encoder_feedforward_dim": 16,
    "dim_feedforward": 16,
    "encoder_layers": 1,
    "decoder_layers": 2,
    "num_attention_heads": 2,
    "num_queries": 5,
}


def _modules() -> Any:
    """``transformers.models.mask2former.modeling_mask2former``."""
    make_torchvision_importable()
    try:
        from transformers.models.mask2former import modeling_mask2former
    except ImportError:
        raise MissingError("transformers cannot be imported; pip install 'transformers>=4.50'.") from None
    return modeling_mask2former


def network(*, smoke: bool = False) -> nn.Module:
    """With ResNet-50 and 100 queries, for one class, with random weights."""
    modules = _modules()
    from transformers import ResNetConfig

    stages = ["stage1", "stage2", "stage3", "stage4"]
    small = {"embedding_size": 8, "hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 1, 1]}
    backbone = ResNetConfig(out_features=stages, **(small if smoke else {}))  # its defaults are those of ResNet-50
    config = modules.Mask2FormerConfig(backbone_config=backbone, num_labels=1, **(SMALL if smoke else {}))
    return modules.Mask2FormerForUniversalSegmentation(config)


def masks(network: nn.Module, image: Tensor) -> tuple[Tensor, Tensor]:
    """Classes and mask probabilities of all queries, at the resolution of the image."""
    output = network(image)
    logits = nn.functional.interpolate(
        output.masks_queries_logits, image.shape[2:], mode="bilinear", align_corners=False
    )
    return output.class_queries_logits.softmax(-1), logits.sigmoid()


def loss_of_outputs(head: DotProductMaskHead, target: Tensor) -> Callable[[QueryOutput], Tensor]:
    """Its matching and loss, with IAUNet's published weights, of one of our networks' outputs."""
    modules, weights = _modules(), PUBLISHED["loss"]
    config = modules.Mask2FormerConfig(
        num_labels=1,
        class_weight=weights["class_weight"],
        mask_weight=weights["bce_weight"],
        dice_weight=weights["dice_weight"],
        no_object_weight=weights["no_object_weight"],
        train_num_points=weights["num_points"],
    )
    of_terms = {"loss_cross_entropy": "class_weight", "loss_mask": "bce_weight", "loss_dice": "dice_weight"}
    criterion = modules.Mask2FormerLoss(config, {}).to(target.device)
    ids = target[:, 1]
    stacks = [(one == torch.arange(1, int(one.max()) + 1, device=one.device)[:, None, None]).float() for one in ids]
    classes = [torch.zeros(len(stack), dtype=torch.int64, device=stack.device) for stack in stacks]

    def loss(output: QueryOutput) -> Tensor:
        shape = output.mask_features.shape[2:]
        logits = head.dense(output.mask_embeddings, output.mask_features).unflatten(-1, shape)
        total = output.class_logits.new_zeros(())
        for layer, of_classes in zip(logits, output.class_logits, strict=True):
            parts = criterion(layer, of_classes, stacks, classes)
            total = total + sum(weights[weight] * parts[name] for name, weight in of_terms.items())
        return total / len(logits)

    return loss
