"""Contrastive loss: similar embeddings for pixels of one object, dissimilar ones for pixels of different objects.

InfoNCE over sampled pixels, as MaskAttn-UNet trains instances (arXiv 2503.10686, Eqs. 4-6). The paper does not state
the temperature, the sampling of pixels and the averaging; here every object has the same weight, whatever its size. One
setting is new: how far away a negative may be.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maskmed_nnu.losses.precision import at_least_float32, no_autocast
from maskmed_nnu.losses.ranks import mean_over_ranks
from maskmed_nnu.losses.targets import ID_RANGE

BORDER = 3
"""Pixels from another object, along rows and columns, up to which a pixel is drawn twice as often or more."""


class SampledPixels(NamedTuple):
    """``N`` sampled pixels of every sample, none twice."""

    pixel: Tensor
    """``[B, N]`` int64 flat index"""
    instance_index: Tensor
    """``[B, L, N]`` int32 ids of the objects there, 0 for none"""
    valid: Tensor
    """``[B, N]`` bool, False where the sample had too few pixels"""


class InstanceContrastiveLoss(nn.Module):
    """Mean over the objects of a batch, over each one's sampled pixels ``a`` and over the other pixels ``p`` of it, of

        -log(exp(s_ap / T) / (exp(s_ap / T) + sum_n exp(s_an / T))),

    ``s`` being the cosine similarity and ``n`` the sampled pixels that share no object with ``a``.

    ``reach``: negatives are at most this many pixels from ``a`` (None: anywhere, as published). A convolutional
    network cannot distinguish distant objects that look alike, and need not. ``pixels`` are sampled per sample; those
    without a negative or a positive do not count.
    """

    def __init__(self, *, temperature: float = 0.1, pixels: int = 1024, reach: float | None = None) -> None:
        super().__init__()
        self.temperature, self.pixels, self.reach = temperature, pixels, reach

    def forward(self, embeddings: Tensor, ids: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """A scalar, 0 if no pixels can be compared.

        ``embeddings [B, E, H, W]`` of unit length; ``ids [B, L, H, W]`` of integers, unique in a sample; 0 or less is
        no object. ``L`` layers for objects that overlap: a pixel of two objects is positive for both.
        """
        sampled = sample_pixels(ids, self.pixels, generator)
        index = sampled.pixel[:, None].expand(-1, embeddings.shape[1], -1)
        sampled_embeddings = at_least_float32(embeddings.flatten(2).gather(2, index))
        with no_autocast(sampled_embeddings):
            similarity = sampled_embeddings.mT @ sampled_embeddings / self.temperature
        same = (sampled.instance_index[:, :, :, None] == sampled.instance_index[:, :, None]) & (
            sampled.instance_index > 0
        )[:, :, None]
        shared = same.any(1)
        negative = ~shared & sampled.valid[:, None]
        if self.reach is not None:
            negative &= _within_reach(sampled.pixel, ids.shape[-1], self.reach)
        positive = shared & sampled.valid[:, None]
        positive.diagonal(dim1=1, dim2=2).fill_(False)
        negatives = similarity.masked_fill(~negative, torch.finfo(similarity.dtype).min).logsumexp(2, keepdim=True)
        # the formula above without a quotient of large numbers
        pairs = F.softplus(negatives - similarity).masked_fill(~positive, 0.0)
        num_positives = positive.sum(2)
        anchor_loss = pairs.sum(2) / num_positives.clamp(min=1)
        is_anchor = sampled.valid & (num_positives > 0) & negative.any(2)
        # the anchors of an object share its weight of 1; one in two objects has a share of both
        anchors_of_object = (same & is_anchor[:, None, None]).sum(3)
        in_object = (sampled.instance_index > 0) & is_anchor[:, None]
        object_weight = in_object.to(sampled_embeddings.dtype) / anchors_of_object.clamp(min=1)
        weight = object_weight.sum(1)
        return (weight * anchor_loss).sum() / mean_over_ranks(weight.sum())


@torch.no_grad()
def sample_pixels(ids: Tensor, count: int, generator: torch.Generator | None = None) -> SampledPixels:
    """Pixels of objects ``[B, L, H, W]`` without replacement, equally often from every object of a sample.

    An object next to another one counts twice: once with all its pixels, once with those at most ``BORDER`` pixels from
    the other object, where the embeddings have to change. A sample with fewer pixels gives all of them. Every pixel
    draws an exponential waiting time, its mean the size of its object, and the first ones are taken.
    """
    batch, layers = ids.shape[:2]
    label = ids.long().clamp(min=0)
    # a table for any ids, by their last 16 bits: to look for the largest one, the host would wait for a GPU
    slot = label.bitwise_and(ID_RANGE - 1)
    near_another = _near_another(slot).flatten(1)
    label, slot = label.flatten(1), slot.flatten(1)
    rate = torch.zeros(slot.shape, device=slot.device)
    for drawn in (slot > 0, near_another):
        size = rate.new_zeros(batch, ID_RANGE).scatter_add_(1, slot, drawn.float())
        rate += size.gather(1, slot).reciprocal().where(drawn, 0.0)
    rate = rate.view(batch, layers, -1).sum(1)
    label = label.view(batch, layers, -1)
    wait = torch.empty_like(rate).exponential_(generator=generator) / rate
    wait.masked_fill_(rate == 0, torch.inf)
    time, pixel = wait.topk(min(count, wait.shape[1]), dim=1, largest=False)
    instance_index = label.gather(2, pixel[:, None].expand(-1, layers, -1)).int()
    return SampledPixels(pixel, instance_index, time < torch.inf)


def _near_another(slot: Tensor) -> Tensor:
    """``[B, L, H, W]`` bool: which pixels of objects are at most ``BORDER`` pixels from another one, in any layer."""
    largest = slot.amax(1, keepdim=True).float()
    smallest = slot.where(slot > 0, ID_RANGE).amin(1, keepdim=True).float()
    largest, smallest = (F.max_pool2d(x, 2 * BORDER + 1, stride=1, padding=BORDER) for x in (largest, -smallest))
    near: Tensor = (slot > 0) & ((largest > slot) | (-smallest < slot))
    return near


def _within_reach(pixel: Tensor, width: int, reach: float) -> Tensor:
    """``[B, N, N]`` bool: which pixels (flat indices ``[B, N]``) are no farther apart than ``reach``."""
    position = torch.stack((pixel.div(width, rounding_mode="floor"), pixel % width), 2).float()
    return torch.cdist(position, position, compute_mode="donot_use_mm_for_euclid_dist") <= reach
