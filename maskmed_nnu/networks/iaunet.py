"""IAUNet: instances as queries on a U-Net.

"IAUNet: Instance-Aware U-Net" (arXiv 2508.01928). With a timm backbone ``resnet50``, width 256, ``pyramid=(256,)``,
batch norm, learned queries and three blocks per level it is the published network and has as many parameters, but for
its layers for boxes and objectness, which no loss trains, and has a prior for "no object" that its shared bias cannot
express. How the default of the planner differs: nnU-Net's own encoder; queries taken from the peaks of a heatmap of
object centres; masks predicted by a small network per query in a window around its reference point, up to full
resolution; a dense head besides, which segments stuff and lets short trainings converge.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from operator import floordiv
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maskmed_nnu.dimensions import CONV, INSTANCE_NORM, LINEAR, vector_like
from maskmed_nnu.errors import InputError
from maskmed_nnu.networks.layers.dot_product_mask_head import DotProductMaskHead
from maskmed_nnu.networks.layers.iaunet.backbone import PlannedBackbone, TimmBackbone
from maskmed_nnu.networks.layers.iaunet.dynamic_mask_head import DynamicMaskHead
from maskmed_nnu.networks.layers.iaunet.image_queries import ImageQueries
from maskmed_nnu.networks.layers.iaunet.masked_attention import allowed_positions
from maskmed_nnu.networks.layers.iaunet.pixel_decoder import PixelDecoder
from maskmed_nnu.networks.layers.iaunet.query_decoder import QueryDecoder
from maskmed_nnu.networks.layers.iaunet.tile_instances import (
    CroppedMasks,
    dense_maskness,
    full_frame_instances,
    maskness,
    to_pixels,
    window_masks,
    windowed_instances,
)
from maskmed_nnu.networks.layers.position import encode_positions
from maskmed_nnu.networks.layers.stored_numbers import STORED_PER_UNIT, stored_numbers
from maskmed_nnu.networks.output import QueryOutput, TileInstances

QUERIES = ("image", "learned")
WINDOW_POINTS = 2**16
"""Positions of a sample's windows at which its masks are trained: half of those that the loss takes per batch."""
OBJECTS_PER_QUERY, STORED_PER_HEAT = 2 / 3, 12
"""In a dense image, as planned; and numbers that the loss stores for one of the heatmap."""


class IAUNet(nn.Module):
    """Instance segmentation of images and volumes.

    ``num_classes`` counts the labels with background, which the ``dense`` head predicts, ``num_things`` those of them
    whose instances are segmented. ``queries`` are taken from the ``image`` (masks in windows of ``window`` pixels, one
    number or one for each axis) or ``learned`` (dot product masks of the full frame). ``levels`` scales are read by the
    queries, the deepest first; ``pyramid`` are the widths of the next finer ones, and the last of them carries the
    masks. ``query_stride``, the largest edge of a stride, is the scale whose peaks become queries. The encoder is
    nnU-Net's, described by ``conv_op`` and the rest of the arguments, or timm's ``backbone`` with the file
    ``backbone_weights`` (2D).

    The output is a :class:`QueryOutput` in both modes; ``predict_instances`` returns the objects of tiles. nnU-Net
    passes ``deep_supervision`` and ``n_conv_per_stage_decoder`` to every network; every block is supervised here, and
    the pixel decoder has a structure of its own.
    """

    backbone: PlannedBackbone | TimmBackbone
    mask_head: DynamicMaskHead | DotProductMaskHead
    window: tuple[int, ...]

    def __init__(
        self,
        *,
        input_channels: int,
        num_classes: int,
        num_things: int,
        dense: bool = True,
        width: int = 64,
        levels: int = 3,
        blocks_per_level: int = 1,
        heads: int = 8,
        ffn: int = 256,
        dropout: float = 0.0,
        pyramid: Sequence[int] = (48, 32, 16),
        queries: str = "image",
        num_queries: int = 100,
        query_stride: int = 4,
        window: int | Sequence[int] = 96,
        mask_channels: int = 16,
        mask_hidden: int = 8,
        masked_attention: bool = False,
        conv_op: type[nn.Module] | None = None,
        norm_op: type[nn.Module] | None = None,
        norm_op_kwargs: dict[str, Any] | None = None,
        backbone: str | None = None,
        backbone_weights: str | None = None,
        score_threshold: float = 0.05,
        deep_supervision: bool = True,
        n_conv_per_stage_decoder: Sequence[int] | None = None,
        **plan: Any,
    ) -> None:
        super().__init__()
        if queries not in QUERIES:
            raise InputError(f"The plans ask for queries '{queries}'; legal values are {', '.join(QUERIES)}.")
        self.input_channels, self.num_queries = input_channels, num_queries
        self.from_image, self.masked_attention, self.width = queries == "image", masked_attention, width
        self.score_threshold = score_threshold
        self.dim = 3 if conv_op is nn.Conv3d else 2
        conv, norm = CONV[self.dim], norm_op or INSTANCE_NORM[self.dim]
        if backbone is None:
            self.backbone = PlannedBackbone(
                input_channels=input_channels, conv_op=conv, norm_op=norm, norm_op_kwargs=norm_op_kwargs, **plan
            )
        elif self.dim == 3:
            raise InputError(
                f"The plans give IAUNet the backbone '{backbone}' for volumes, but timm's networks are for images; set "
                "backbone to null, or train the configuration 2d."
            )
        else:
            self.backbone = TimmBackbone(name=backbone, input_channels=input_channels, weights=backbone_weights)
        scales = levels + len(pyramid)
        strides = self.backbone.strides[::-1][:scales]
        if len(strides) < scales:
            raise InputError(
                f"The plans ask for {levels} levels and a pyramid of {len(pyramid)}, but the encoder has only "
                f"{len(self.backbone.strides)} scales."
            )
        self.divisor, self.mask_stride = strides[0], strides[-1]
        self.pixel_decoder = PixelDecoder(
            channels=self.backbone.channels,
            kernels=self.backbone.kernels,
            width=width,
            levels=levels,
            pyramid=pyramid,
            norm=lambda channels: norm(channels, **(norm_op_kwargs or {})),
        )
        if self.from_image:
            largest = [max(stride) for stride in strides[levels:]]
            if query_stride not in largest:
                raise InputError(
                    f"The plans ask for query_stride {query_stride}; legal are the strides of the pyramid, {largest}."
                )
            self.query_level = len(largest) - 1 - largest[::-1].index(query_stride)  # of several the finest
            edges = (window,) * self.dim if isinstance(window, int) else tuple(window)
            if len(edges) != self.dim:
                raise InputError(
                    f"The plans give the window {list(edges)} for {self.dim} axes; legal is one edge for each of them."
                )
            self.window = tuple(math.ceil(edge / step) for edge, step in zip(edges, self.mask_stride, strict=True))
            scale = [max(edge / 2, 1.0) for edge in reversed(self.window)]
            self.mask_head = DynamicMaskHead(mask_channels=mask_channels, hidden=mask_hidden, scale=scale)
            self.image_queries = ImageQueries(
                channels=pyramid[self.query_level],
                dim=width,
                spatial_dims=self.dim,
                num_classes=num_things,
                num_queries=num_queries,
            )
        else:
            self.mask_head, self.window = DotProductMaskHead(stride=self.mask_stride), ()
            self.content = nn.Embedding(num_queries, width)
            self.position = nn.Embedding(num_queries, width)
        self.mask_features = conv(pyramid[-1], mask_channels + self.dim * self.from_image, 1)
        self.decoder = QueryDecoder(
            dim=width,
            levels=levels,
            blocks=blocks_per_level,
            heads=heads,
            ffn=ffn,
            dropout=dropout,
            num_classes=num_things,
            embedding_size=(
                self.mask_head.embedding_size if isinstance(self.mask_head, DynamicMaskHead) else mask_channels + 1
            ),
            mask_mlp=self.from_image,
            prior=0.5 if self.from_image else 0.01,
        )
        # what depends on the number of classes is called .seg_layers. for nnU-Net's loader of pretrained weights
        self.dense = nn.ModuleDict({"seg_layers": conv(pyramid[-1], num_classes, 1)}) if dense else None

    def forward(self, image: Tensor) -> QueryOutput:
        self._check_input(image)
        memory, pyramid = self.pixel_decoder(self.backbone(image))
        dense = (self.dense["seg_layers"](pyramid[-1]),) if self.dense is not None else ()
        if self.from_image:
            content, reference, heat = self.image_queries(pyramid[self.query_level])
            position = encode_positions(reference, content.shape[-1]).to(content.dtype)
        else:
            content = self.content.weight.expand(image.shape[0], -1, -1)
            position = self.position.weight.expand(image.shape[0], -1, -1)
            reference, heat = None, None
        features, allowed = self.mask_features(pyramid[-1]), None
        if self.masked_attention:
            allowed = partial(allowed_positions, self.mask_head, self.window, features.detach(), reference)
        classes, embeddings = self.decoder(
            content,
            position,
            memory,
            predict_initial=self.from_image or self.masked_attention,
            allowed=allowed,
        )
        return QueryOutput(classes, embeddings, features, dense, reference, centre_logits=heat)

    @torch.no_grad()
    def predict_instances(self, image: Tensor) -> list[TileInstances]:
        """The objects of each tile of ``image [B, C, *spatial]``; scores below ``score_threshold`` are left out."""
        output = self.forward(image)
        scores, classes = output.class_logits[-1].float().softmax(-1)[..., :-1].max(-1)
        semantic: Sequence[Tensor | None] = [None] * len(image)
        if output.dense_logits:
            semantic = list(to_pixels(output.dense_logits[0].float(), self.mask_stride).softmax(1))
        tiles = []
        for b in range(len(image)):
            query = (scores[b] >= self.score_threshold).nonzero()[:, 0]
            boxes, masks, nonempty = self.query_masks(output, b, query, shape=image.shape[2:])
            query = query[nonempty]
            score = scores[b, query]
            if not self.from_image:  # the published score; scores of image queries are trained on the mask's IoU
                score = score * maskness(masks).to(score.device)
            tiles.append(TileInstances(score, classes[b, query], boxes, masks, semantic[b]))
        return tiles

    def query_masks(self, output: QueryOutput, sample: int, query: Tensor, *, shape: Sequence[int]) -> CroppedMasks:
        """Masks of some queries ``query [N]`` of a ``sample``, in a tile of ``shape``; those without a pixel are left
        out."""
        embeddings, features = output.mask_embeddings[-1, sample, query], output.mask_features[sample]
        if not isinstance(self.mask_head, DynamicMaskHead):
            return full_frame_instances(self.mask_head, embeddings, features, shape=shape)
        assert output.reference_points is not None
        reference = output.reference_points[sample, query]
        return windowed_instances(self.mask_head, embeddings, features, reference, window=self.window, shape=shape)

    def tile_tensors(self, image: Tensor) -> dict[str, Tensor]:
        """What ``predict_instances`` takes the objects of ``image [B, C, *spatial]`` from, in shapes that do not depend
        on the image: the outputs of a graph for other programs.

        ``scores [B, Q]``, ``classes [B, Q]`` int64 (index into the things), ``masks [B, Q, *window]``, probabilities:
        of learned queries those of the tile; of image queries those of a window, whose first pixel ``corners [B, Q,
        dim]`` (x, y, z) int64 may lie off the tile. These have also ``peaks [B, Q, dim]`` (x, y, z) in pixels and the
        ``heatmap [B, K, *spatial / stride]``, probabilities of centres. With a dense head, ``semantic [B, 1 + K,
        *spatial]``.
        """
        output = self.forward(image)
        scores, classes = output.class_logits[-1].float().softmax(-1)[..., :-1].max(-1)
        embeddings, features = output.mask_embeddings[-1].float(), output.mask_features.float()
        tensors: dict[str, Tensor] = {}
        if isinstance(self.mask_head, DynamicMaskHead):
            reference, heat = output.reference_points, output.centre_logits
            assert reference is not None and heat is not None
            masks, corners = window_masks(
                self.mask_head, embeddings, features, reference, window=self.window, stride=self.mask_stride
            )
            size = vector_like(image.shape[:1:-1], reference)
            tensors = {"corners": corners, "peaks": reference * size, "heatmap": heat.float().sigmoid()}
        else:
            logits = torch.unflatten(self.mask_head.dense(embeddings[None], features)[0], -1, features.shape[2:])
            masks = F.interpolate(logits, image.shape[2:], mode=LINEAR[self.dim]).sigmoid()
            scores = scores * dense_maskness(masks)
        tensors = {"scores": scores, "classes": classes, "masks": masks, **tensors}
        if output.dense_logits:
            tensors["semantic"] = to_pixels(output.dense_logits[0].float(), self.mask_stride).softmax(1)
        return tensors

    def compute_conv_feature_map_size(self, input_size: Sequence[int]) -> int:
        """Numbers that a training step stores for one image, loss included, in nnU-Net's unit."""
        stored = stored_numbers(self, (self.input_channels, *input_size), logits=lambda output: output.dense_logits)
        if isinstance(self.mask_head, DynamicMaskHead):
            stored += self._stored_by_loss(self.mask_head, input_size)
        return stored // STORED_PER_UNIT

    def _stored_by_loss(self, mask_head: DynamicMaskHead, input_size: Sequence[int]) -> int:
        """Of masks at the windows' points, of votes at each cell of the mask grid, and of the heatmap."""
        channels = self.mask_features.out_channels
        layers = 1 + sum(len(cast(nn.ModuleList, blocks)) for blocks in self.decoder.blocks)
        per_point = channels + 2 * self.dim + 4 + layers * (2 * mask_head.hidden + 1)
        points = min(round(OBJECTS_PER_QUERY * self.num_queries) * math.prod(self.window), WINDOW_POINTS)
        strides = self.mask_stride, self.backbone.strides[::-1][len(self.decoder.blocks) + self.query_level]
        cells, peaks = (int(math.prod(map(floordiv, input_size, stride))) for stride in strides)
        heat = cast(nn.Conv2d, self.image_queries.seg_layers["heat"]).out_channels
        return points * per_point + cells * (channels + self.dim + 1) + STORED_PER_HEAT * heat * peaks

    def _check_input(self, image: Tensor) -> None:
        if image.shape[1] != self.input_channels:
            raise InputError(
                f"The image has {image.shape[1]} channel(s), but the network was planned for {self.input_channels}; "
                "give the channels of channel_names in dataset.json."
            )
        legal = tuple(math.ceil(edge / step) * step for edge, step in zip(image.shape[2:], self.divisor, strict=True))
        if legal != tuple(image.shape[2:]):
            raise InputError(
                f"The patch {tuple(image.shape[2:])} is not a multiple of {self.divisor}, as the scales of the "
                f"network require; the next legal patch is {legal} (patch_size in the plans)."
            )
