"""Pixels of one object are to have like embeddings, pixels of different objects unlike ones.

InfoNCE over sampled pixels, as MaskAttn-UNet trains instances (arXiv 2503.10686, Eqs. 4-6). The paper leaves open the
temperature, how pixels are sampled and what averages what; here every object counts alike, however large it is. One
setting goes beyond it: how far away a negative may be.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maskmed_nnu.losses.precision import at_least_float32, no_autocast


class SampledPixels(NamedTuple):
    """``N`` sampled pixels of every sample, none twice."""

    pixel: Tensor
    """``[B, N]`` int64 flat index"""
    instance_index: Tensor
    """``[B, L, N]`` int32 ids of the objects there, 0 for none"""
    counts: Tensor
    """``[B, N]`` bool, False where the sample had too few pixels"""


class InstanceContrastiveLoss(nn.Module):
    """Mean over the objects of a batch, over each one's sampled pixels ``a`` and over the other pixels ``p`` of it, of

        -log(exp(s_ap / T) / (exp(s_ap / T) + sum_n exp(s_an / T))),

    ``s`` being the cosine similarity and ``n`` the sampled pixels that share no object with ``a``.

    ``reach``: negatives are no farther than so many pixels from ``a`` (None: anywhere, as published). A convolutional
    network cannot tell distant objects that look alike, and does not have to. ``pixels`` are sampled per sample; those
    without a negative or without a partner do not count.
    """

    def __init__(self, *, temperature: float = 0.1, pixels: int = 1024, reach: float | None = None) -> None:
        super().__init__()
        self.temperature, self.pixels, self.reach = temperature, pixels, reach

    def forward(self, embeddings: Tensor, ids: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """A scalar, 0 where nothing can be compared.

        ``embeddings [B, E, H, W]`` of unit length; ``ids [B, L, H, W]`` of integers, unique in a sample; 0 or less is
        no object. ``L`` layers for objects that overlap: a pixel of two objects is like both.
        """
        sampled = sample_pixels(ids, self.pixels, generator)
        index = sampled.pixel[:, None].expand(-1, embeddings.shape[1], -1)
        rows = at_least_float32(embeddings.flatten(2).gather(2, index))
        with no_autocast(rows):
            similarity = rows.mT @ rows / self.temperature
        same = (sampled.instance_index[:, :, :, None] == sampled.instance_index[:, :, None]) & (
            sampled.instance_index > 0
        )[:, :, None]
        shared = same.any(1)
        negative = ~shared & sampled.counts[:, None]
        if self.reach is not None:
            negative &= _within(sampled.pixel, ids.shape[-1], self.reach)
        positive = shared & sampled.counts[:, None]
        positive.diagonal(dim1=1, dim2=2).fill_(False)
        rivals = similarity.masked_fill(~negative, torch.finfo(similarity.dtype).min).logsumexp(2, keepdim=True)
        # the formula above, without its quotient of large numbers
        pairs = F.softplus(rivals - similarity).masked_fill(~positive, 0.0)
        partners = positive.sum(2)
        of_anchor = pairs.sum(2) / partners.clamp(min=1)
        graded = sampled.counts & (partners > 0) & negative.any(2)
        # an object's pixels share its weight of 1; a pixel of two objects has a share in both
        siblings = (same & graded[:, None, None]).sum(3)
        share = ((sampled.instance_index > 0) & graded[:, None]).to(rows.dtype) / siblings.clamp(min=1)
        weight = share.sum(1)
        return (weight * of_anchor).sum() / weight.sum().clamp(min=1)


@torch.no_grad()
def sample_pixels(ids: Tensor, count: int, generator: torch.Generator | None = None) -> SampledPixels:
    """Pixels of objects ``[B, L, H, W]`` without replacement, alike from every object of a sample.

    Samples that have fewer give all of them. Every pixel waits for a random time, its mean the size of its object, and
    the first ones are taken: objects come in turn until they are used up.
    """
    batch, layers = ids.shape[:2]
    label = ids.flatten(1).long().clamp(min=0)
    size = label.new_zeros(batch, int(label.amax()) + 1).scatter_add_(1, label, torch.ones_like(label))
    label = label.view(batch, layers, -1)
    rate = size.reciprocal().index_fill(1, label.new_zeros(1), 0.0)
    rate = rate.gather(1, label.flatten(1)).view(label.shape).sum(1)
    wait = torch.empty_like(rate).exponential_(generator=generator) / rate
    wait.masked_fill_(rate == 0, torch.inf)
    time, pixel = wait.topk(min(count, wait.shape[1]), dim=1, largest=False)
    instance_index = label.gather(2, pixel[:, None].expand(-1, layers, -1)).int()
    return SampledPixels(pixel, instance_index, time < torch.inf)


def _within(pixel: Tensor, width: int, reach: float) -> Tensor:
    """``[B, N, N]`` bool: which pixels (flat indices ``[B, N]``) are no farther apart than ``reach``."""
    place = torch.stack((pixel.div(width, rounding_mode="floor"), pixel % width), 2).float()
    return torch.cdist(place, place, compute_mode="donot_use_mm_for_euclid_dist") <= reach
