"""MaskMed: decoupled masks and classes on top of nnU-Net's encoder and decoder.

A reconstruction of "MaskMed: Decoupled Mask and Class Prediction for Medical Image Segmentation" (arXiv 2511.15603)
from its published description; what the paper leaves open is a setting here. The network reads like its figure:
encoder → FSAD-Transformer → decoder → Masked Multi-Scale Segmentation Head.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from maskmed_nnu.errors import InputError
from maskmed_nnu.networks.layers.dot_product_mask_head import DotProductMaskHead
from maskmed_nnu.networks.layers.maskmed.fsad import FSADTransformer
from maskmed_nnu.networks.layers.maskmed.query_head import MaskedQueryHead
from maskmed_nnu.networks.layers.maskmed.semantic import scores_to_logits, semantic_scores
from maskmed_nnu.networks.layers.stored_numbers import STORED_PER_UNIT, stored_numbers
from maskmed_nnu.networks.layers.unet import FeatureDecoder, build_encoder
from maskmed_nnu.networks.output import QueryOutput

VOXELS_PER_CHUNK = 2**18
"""In evaluation mode, the masks of all queries are computed for this many voxels at a time."""
LOSS_POINTS, DENSE_LOSS_MAX_VOXELS = 12544, 100_000
"""Points of the masks' loss as it is planned; patches up to the second number of voxels are supervised at each."""
HEADS = ("pointwise", "class_embedding", "unmatched_queries", "queries")


class MaskMed(nn.Module):
    """MaskMed in 2D and 3D.

    ``n_stages`` to ``nonlin_kwargs`` are nnU-Net's; a residual encoder has ``n_blocks_per_stage`` in place of
    ``n_conv_per_stage``. Levels are numbered from 0 (full resolution) to ``n_stages - 1`` (bottleneck).

    ``head`` is the stage of the paper's Figure 1: ``pointwise`` (nnU-Net's), ``class_embedding`` (a learnable K x K
    class mixing behind it), ``unmatched_queries`` (query c is bound to class c) or ``queries`` (matched bipartitely);
    the two with queries are the same network and differ in the loss. ``head_levels`` are the decoder levels that the
    head's layers attend to, in order. ``fsad`` holds the keyword arguments of :class:`FSADTransformer`, ``None``
    leaves it out. ``regions`` makes the output ``logit S`` instead of ``log S``.

    In training mode the output is a :class:`QueryOutput` (heads with queries) or a tuple of deep-supervised logits,
    full resolution first (heads without); in evaluation mode it is always dense logits ``[B, num_classes, *spatial]``.
    """

    head: MaskedQueryHead | nn.ModuleDict

    def __init__(
        self,
        *,
        input_channels: int,
        num_classes: int,
        n_stages: int,
        features_per_stage: Sequence[int],
        conv_op: type[nn.Conv2d] | type[nn.Conv3d],
        kernel_sizes: Sequence[Sequence[int]],
        strides: Sequence[Sequence[int]],
        n_conv_per_stage_decoder: Sequence[int],
        n_conv_per_stage: Sequence[int] | None = None,
        n_blocks_per_stage: Sequence[int] | None = None,
        conv_bias: bool = True,
        norm_op: type[nn.Module] | None = None,
        norm_op_kwargs: dict[str, Any] | None = None,
        dropout_op: type[nn.Module] | None = None,
        dropout_op_kwargs: dict[str, Any] | None = None,
        nonlin: type[nn.Module] | None = None,
        nonlin_kwargs: dict[str, Any] | None = None,
        deep_supervision: bool = True,
        regions: bool = False,
        head: str = "queries",
        num_queries: int = 8,
        head_dim: int = 192,
        head_heads: int = 8,
        head_ffn: int = 768,
        head_levels: Sequence[int] = (),
        fsad: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if head not in HEADS:
            raise InputError(f"The plans ask for the head '{head}'; legal values of 'head' are {', '.join(HEADS)}.")
        self.input_channels, self.num_classes = input_channels, num_classes
        self.regions, self.head_type, self.deep_supervision = regions, head, deep_supervision
        self.encoder = build_encoder(
            input_channels=input_channels,
            n_stages=n_stages,
            features_per_stage=features_per_stage,
            conv_op=conv_op,
            kernel_sizes=kernel_sizes,
            strides=strides,
            n_conv_per_stage=n_conv_per_stage,
            n_blocks_per_stage=n_blocks_per_stage,
            conv_bias=conv_bias,
            norm_op=norm_op,
            norm_op_kwargs=norm_op_kwargs,
            dropout_op=dropout_op,
            dropout_op_kwargs=dropout_op_kwargs,
            nonlin=nonlin,
            nonlin_kwargs=nonlin_kwargs,
        )
        self.decoder = FeatureDecoder(self.encoder, num_classes, n_conv_per_stage_decoder)
        channels = list(self.encoder.output_channels)
        self.spatial_dims = 2 if issubclass(conv_op, nn.Conv2d) else 3
        self.divisor = [math.prod(axis) for axis in zip(*self.encoder.strides, strict=True)]
        self.fsad = FSADTransformer(channels=channels, spatial_dims=self.spatial_dims, **fsad) if fsad else None
        self.mask_head = DotProductMaskHead()
        self.head_levels = list(head_levels)
        if self.has_queries:
            if not self.head_levels or not all(0 <= level < n_stages for level in self.head_levels):
                raise InputError(
                    f"The plans give head_levels {self.head_levels}; legal are one or more of the levels 0 to "
                    f"{n_stages - 1}."
                )
            if head == "unmatched_queries" and num_queries < num_classes:
                raise InputError(
                    f"The plans assign a query to each of {num_classes} classes but give only {num_queries} "
                    f"queries; set num_queries to {num_classes} or more."
                )
            self.head = MaskedQueryHead(
                memory_channels=[channels[level] for level in self.head_levels],
                mask_channels=channels[0],
                num_classes=num_classes,
                num_queries=num_queries,
                spatial_dims=self.spatial_dims,
                dim=head_dim,
                heads=head_heads,
                ffn=head_ffn,
            )
        elif head == "class_embedding":
            # named as in MaskedQueryHead, so that weights can be transferred between data sets
            mixing = conv_op(num_classes, num_classes, 1, bias=False)
            self.head = nn.ModuleDict({"seg_layers": nn.Sequential(mixing)})
            nn.init.dirac_(mixing.weight)

    @property
    def has_queries(self) -> bool:
        return self.head_type in ("unmatched_queries", "queries")

    def forward(self, x: Tensor) -> QueryOutput | tuple[Tensor, ...] | Tensor:
        self._check_input(x)
        skips = self.encoder(x)
        if self.fsad is not None:
            skips = self.fsad(skips)
        features = self.decoder(skips)
        if self.has_queries:
            classes, embeddings = self.head([features[level] for level in self.head_levels], features[0])
            if self.training:
                return QueryOutput(classes, embeddings, features[0], self._pixel_logits(features))
            return self._semantic(classes[-1], embeddings[-1], features[0])
        if self.training and self.deep_supervision:
            return self._pixel_logits(features)
        return self._mix_classes(self.decoder.pixel_logits(features, 0))

    def _pixel_logits(self, features: Sequence[Tensor]) -> tuple[Tensor, ...]:
        return tuple(
            self._mix_classes(self.decoder.pixel_logits(features, level)) for level in range(len(features) - 1)
        )

    def _mix_classes(self, logits: Tensor) -> Tensor:
        if self.head_type == "class_embedding":
            logits = cast(nn.ModuleDict, self.head)["seg_layers"](logits)
        return logits

    def _semantic(self, class_logits: Tensor, embeddings: Tensor, mask_features: Tensor) -> Tensor:
        features = mask_features.flatten(2)
        logits = [
            scores_to_logits(
                semantic_scores(class_logits, self.mask_head.dense(embeddings[None], part)[0]), self.regions
            )
            for part in torch.split(features, VOXELS_PER_CHUNK, 2)
        ]
        return torch.unflatten(torch.cat(logits, -1), -1, mask_features.shape[2:])

    def _check_input(self, x: Tensor) -> None:
        if x.shape[1] != self.input_channels:
            raise InputError(
                f"The image has {x.shape[1]} channel(s), but the network was planned for {self.input_channels}; give "
                f"one file per channel, in the order of channel_names in dataset.json."
            )
        edges = list(zip(x.shape[2:], self.divisor, strict=True))
        if any(size % divisor for size, divisor in edges):
            legal = [math.ceil(size / divisor) * divisor for size, divisor in edges]
            raise InputError(
                f"The patch {tuple(x.shape[2:])} cannot be halved as often as the network's {len(self.encoder.strides)}"
                f" stages require: each edge must be a multiple of {tuple(self.divisor)}; the next legal patch is "
                f"{tuple(legal)} (patch_size in the plans)."
            )

    def compute_conv_feature_map_size(self, input_size: Sequence[int]) -> int:
        """Numbers that a training step stores for one image, loss included, in nnU-Net's unit."""

        def dense(output: Any) -> Sequence[Tensor]:
            return output.dense_logits if isinstance(output, QueryOutput) else output

        stored = stored_numbers(self, (self.input_channels, *input_size), logits=dense)
        if self.has_queries:
            stored += self._stored_by_set_loss(math.prod(input_size))
        return stored // STORED_PER_UNIT

    def _stored_by_set_loss(self, voxels: int) -> int:
        """At each point the masks of the targets after each layer, those of all queries, and scores of the classes;
        where points are drawn, the features there, too."""
        head = cast(MaskedQueryHead, self.head)
        numbers = self.num_classes * (len(self.head_levels) + 1) + head.num_queries + 3 * self.num_classes + 5
        if voxels <= DENSE_LOSS_MAX_VOXELS:
            return voxels * numbers
        return LOSS_POINTS * (numbers + int(self.encoder.output_channels[0]))
