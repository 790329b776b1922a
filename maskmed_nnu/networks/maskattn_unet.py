"""MaskAttn-UNet: a U-Net with masked attention at every stage, for labels, and for objects by an embedding of pixels.

After "MaskAttn-UNet" (arXiv 2503.10686), as its text describes it; for where the released code differs see
`MaskAttention`. That code ties the network to images of 128×128 and puts a ReLU on the logits; here every size
that the strides divide works, and stages are nnU-Net's. The paper does not say how its embeddings become objects; our
way is `embedding_instances`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maskmed_nnu.errors import InputError
from maskmed_nnu.networks.layers.maskattn_unet.embedding_instances import instances_from_embeddings
from maskmed_nnu.networks.layers.maskattn_unet.mask_attention import MaskAttention
from maskmed_nnu.networks.layers.stored_numbers import STORED_PER_UNIT, stored_numbers
from maskmed_nnu.networks.output import EmbeddingOutput, TileInstances

PLACEMENTS = ("both", "encoder", "decoder", "none")
COMPARED_PIXELS, STORED_PER_PAIR = 1024, 3
"""Pixels whose embeddings the loss compares in an image, as planned, and what it stores for two of them."""


class ResidualDoubleConv(nn.Module):
    """3x3 convolution, norm, GELU, 3x3 convolution, norm; GELU of that and the input, or its 1x1 projection."""

    def __init__(
        self, in_channels: int, out_channels: int, *, norm_op: type[nn.Module], norm_op_kwargs: dict[str, Any]
    ) -> None:
        super().__init__()

        def unit(channels: int, kernel: int) -> nn.Sequential:
            convolution = nn.Conv2d(channels, out_channels, kernel, padding=kernel // 2, bias=False)
            return nn.Sequential(convolution, norm_op(out_channels, **norm_op_kwargs))

        self.first, self.second = unit(in_channels, 3), unit(out_channels, 3)
        self.shortcut = nn.Identity() if in_channels == out_channels else unit(in_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(self.second(F.gelu(self.first(x))) + self.shortcut(x))


class MaskAttnUNet(nn.Module):
    """2D network; ``n_stages``, ``features_per_stage``, ``strides`` (of each stage), ``conv_op``, norms are nnU-Net's.

    ``num_classes`` counts background. Each stage of encoder and decoder is a `ResidualDoubleConv`, and a
    `MaskAttention` where ``placement`` says so; ``heads`` and ``mask`` are the module's. Its keys and values are means
    over squares of ``key_strides`` positions, one number for each stage of the encoder, which the decoder shares: full
    attention at 128×128 costs some fifty times its stage's convolutions.

    ``embedding_dim`` adds the embedding of pixels (0: none), from which ``predict_instances`` takes the objects of the
    labels ``thing_channels``; ``affinity_threshold`` and ``min_pixels`` are those of `embedding_instances.cluster`.

    The output is logits ``[B, num_classes, h, w]``. In training mode, with ``deep_supervision`` it is a list of logits,
    one for each stage of the decoder, the finest first, and with an embedding an `EmbeddingOutput`.
    """

    def __init__(
        self,
        *,
        input_channels: int,
        num_classes: int,
        n_stages: int,
        features_per_stage: Sequence[int],
        strides: Sequence[Sequence[int]],
        conv_op: type[nn.Module] = nn.Conv2d,
        norm_op: type[nn.Module] = nn.InstanceNorm2d,
        norm_op_kwargs: dict[str, Any] | None = None,
        heads: int = 4,
        placement: str = "both",
        mask: str = "soft",
        key_strides: Sequence[int] | None = None,
        embedding_dim: int = 0,
        thing_channels: Sequence[int] = (),
        affinity_threshold: float = 0.6,
        min_pixels: int = 16,
        deep_supervision: bool = False,
    ) -> None:
        super().__init__()
        if placement not in PLACEMENTS:
            raise InputError(f"The plans ask for the placement '{placement}'; legal are {', '.join(PLACEMENTS)}.")
        if conv_op is not nn.Conv2d:
            raise InputError(
                f"The plans ask for {conv_op.__name__}, but MaskAttnUNet works on images; take the configuration 2d."
            )
        self.input_channels, self.deep_supervision = input_channels, deep_supervision
        self.thing_channels = tuple(thing_channels)
        self.clustering: dict[str, Any] = {"threshold": affinity_threshold, "min_pixels": min_pixels}
        # tiles of any size that it divides can be predicted, those larger than the patch too
        self.tile_divisor = tuple(math.prod(axis) for axis in zip(*strides, strict=True))
        key_strides = key_strides or [1] * n_stages

        def stage(in_channels: int, level: int, has_attention: bool, seed: int) -> nn.Sequential:
            features = features_per_stage[level]
            block = ResidualDoubleConv(in_channels, features, norm_op=norm_op, norm_op_kwargs=norm_op_kwargs or {})
            if not has_attention:
                return nn.Sequential(block)
            attention = MaskAttention(features, heads=heads, mask=mask, key_stride=key_strides[level], seed=seed)
            return nn.Sequential(block, attention)

        widths = [input_channels, *features_per_stage]
        self.pools = nn.ModuleList(nn.MaxPool2d(tuple(stride)) for stride in strides)
        self.encoder = nn.ModuleList(
            stage(widths[level], level, placement in ("both", "encoder"), level) for level in range(n_stages)
        )
        self.decoder = nn.ModuleList(
            stage(
                features_per_stage[level] + features_per_stage[level + 1],
                level,
                placement in ("both", "decoder"),
                n_stages + level,
            )
            for level in range(n_stages - 1)
        )
        supervised = features_per_stage[: n_stages - 1 if deep_supervision else 1]
        # what depends on the number of classes is called .seg_layers. for nnU-Net's loader of pretrained weights
        self.heads = nn.ModuleDict({"seg_layers": nn.ModuleList(nn.Conv2d(c, num_classes, 1) for c in supervised)})
        self.register_load_state_dict_pre_hook(_drop_deep_supervision_heads)  # type: ignore[no-untyped-call]  # in torch
        self.embedding = nn.Conv2d(features_per_stage[0], embedding_dim, 1) if embedding_dim else None

    def forward(self, image: Tensor) -> Tensor | list[Tensor] | EmbeddingOutput:
        scales = self._decoder_scales(image)
        heads = cast(nn.ModuleList, self.heads["seg_layers"])
        finest: Tensor = heads[0](scales[0])
        if not self.training:
            return finest
        logits: Tensor | list[Tensor] = finest
        if self.deep_supervision:
            logits = [finest, *(head(scale) for head, scale in zip(heads[1:], scales[1:], strict=True))]
        return logits if self.embedding is None else EmbeddingOutput(logits, self._embed(scales[0]))

    @property
    def predicts_instances(self) -> bool:
        """Whether there is an embedding to take objects from; else ``predict_instances`` raises."""
        return self.embedding is not None and bool(self.thing_channels)

    @torch.no_grad()
    def predict_instances(self, image: Tensor) -> list[TileInstances]:
        """The objects of each tile of ``image [B, C, h, w]``; with the semantic map where some labels are stuff."""
        if not self.predicts_instances:
            raise InputError(
                "The plans give the network no embedding or no things, so it cannot predict objects; set "
                "embedding_dim and thing_channels (MaskAttnUNetPlanner does on a data set of objects)."
            )
        probabilities, embeddings = self.tile_tensors(image).values()
        tiles = [
            instances_from_embeddings(embedding, labels, thing_channels=self.thing_channels, **self.clustering)
            for embedding, labels in zip(embeddings, probabilities, strict=True)
        ]
        if probabilities.shape[1] == 1 + len(self.thing_channels):
            return tiles
        return [tile._replace(semantic=labels) for tile, labels in zip(tiles, probabilities, strict=True)]

    def tile_tensors(self, image: Tensor) -> dict[str, Tensor]:
        """What ``predict_instances`` takes the objects of ``image [B, C, h, w]`` from, for graphs of other programs:
        ``semantic [B, K, h, w]``, probabilities of the labels, and ``embeddings [B, E, h, w]`` of unit length."""
        features = self._decoder_scales(image)[0]
        logits = cast(nn.ModuleList, self.heads["seg_layers"])[0](features)
        return {"semantic": logits.float().softmax(1), "embeddings": self._embed(features)}

    def _decoder_scales(self, image: Tensor) -> list[Tensor]:
        """Features of each stage of the decoder, the finest first."""
        self._check_input(image)
        skips, x = [], image
        for pool, stage in zip(self.pools, self.encoder, strict=True):
            x = stage(pool(x))
            skips.append(x)
        scales = []
        for skip, stage in zip(skips[-2::-1], self.decoder[::-1], strict=True):
            x = F.interpolate(x, size=skip.shape[2:], mode="bilinear", align_corners=False)
            x = stage(torch.cat((x, skip), 1))
            scales.append(x)
        return scales[::-1]

    def _embed(self, features: Tensor) -> Tensor:
        return F.normalize(cast(nn.Conv2d, self.embedding)(features).float(), dim=1)

    def compute_conv_feature_map_size(self, input_size: Sequence[int]) -> int:
        """Numbers that a training step stores for one image, loss included, in nnU-Net's unit."""

        def dense(output: Any) -> Sequence[Tensor]:
            logits = output.logits if isinstance(output, EmbeddingOutput) else output
            return logits if isinstance(logits, list) else [logits]

        stored = stored_numbers(self, (self.input_channels, *input_size), logits=dense)
        if self.embedding is not None:
            stored += STORED_PER_PAIR * min(COMPARED_PIXELS, math.prod(input_size)) ** 2
        return stored // STORED_PER_UNIT

    def _check_input(self, image: Tensor) -> None:
        if image.shape[1] != self.input_channels:
            raise InputError(
                f"The image has {image.shape[1]} channel(s), but the network was planned for {self.input_channels}; "
                "give the channels of channel_names in dataset.json."
            )
        # two positions at the deepest scale: normalising a single one leaves only zeros
        legal = tuple(
            max(math.ceil(edge / d), 2) * d for edge, d in zip(image.shape[2:], self.tile_divisor, strict=True)
        )
        if legal != tuple(image.shape[2:]):
            raise InputError(
                f"The patch {tuple(image.shape[2:])} is not a multiple of {self.tile_divisor} of at least "
                f"twice that, as the scales of the network require; the next legal patch is {legal} (patch_size in the "
                "plans)."
            )


def _drop_deep_supervision_heads(network: nn.Module, state: dict[str, Tensor], prefix: str, *_: object) -> None:
    """Weights of a training with deep supervision load into a network without it, as nnU-Net predicts."""
    own = {f"{prefix}{name}" for name in network.state_dict()}
    for name in [name for name in state if name.startswith(f"{prefix}heads.seg_layers.") and name not in own]:
        del state[name]
