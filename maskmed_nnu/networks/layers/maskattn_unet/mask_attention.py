"""Attention with a learned mask of the keys, at full resolution.

The module of "MaskAttn-UNet" (arXiv 2503.10686) as its text has it: several heads, ``softmax(q kᵀ / √d + M) v``, an
output projection, and a feed-forward network with GELU, both with a residual and a norm. The released code has one
head, no projection and no feed-forward network, mixes up positions and channels, and its ``M`` is random, which is
the mask ``random`` here. Ours: ``M`` is one number for each key and head, so that fused attention computes it
without a tensor of positions by positions; keys may be averaged over squares (as in arXiv 2102.12122).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maskmed_nnu.errors import InputError

MASKS = ("soft", "hard", "random", "none")
EXPANSION = 4
# bias of a masked key: its exponential is 0 in every precision, and its product with √d is finite in half precision
MASKED_BIAS = -1000.0


def attend(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> Tensor:
    """``softmax(q kᵀ / √d + bias) v``: ``[B, heads, N, d]`` of queries, twice ``[B, heads, M, d]``, ``[B, heads, M]``.

    The bias is one more channel, in which every query is 1, because the mask argument of fused attention costs a tensor
    of ``N * M`` and rules out its fastest kernels.
    """
    if bias is None:
        return F.scaled_dot_product_attention(query, key, value)
    dim = query.shape[-1]
    padding = -(dim + 1) % 8  # GPU kernels need a multiple of eight
    bias_channel = (bias * dim**0.5).to(key.dtype)[..., None]
    attended = F.scaled_dot_product_attention(
        F.pad(query, (0, 1 + padding), value=1.0),
        F.pad(torch.cat((key, bias_channel), -1), (0, padding)),
        F.pad(value, (0, 1 + padding)),
        scale=dim**-0.5,
    )
    return attended[..., :dim]


def soft_bias(logits: Tensor) -> Tensor:
    """``log sigmoid(logits [B, heads, M])``, shifted so that its maximum is 0.

    The shift has no effect on a softmax, but no row can underflow then, however low all logits are.
    """
    bias = F.logsigmoid(logits)
    return (bias - bias.detach().amax(-1, keepdim=True)).clamp(min=MASKED_BIAS)


def hard_bias(logits: Tensor) -> Tensor:
    """0 for keys whose ``sigmoid(logits)`` is at least 0.5, the others masked; 0 for all if all would be masked."""
    masked = _unless_all(logits < 0)
    return torch.zeros_like(logits).masked_fill(masked, MASKED_BIAS)


def random_bias(keys: int, *, seed: int, device: torch.device) -> Tensor:
    """``[keys]``, half of them masked by a hash of their position, so that every process and run has the same mask."""
    x = torch.arange(keys, device=device) + 1 + seed * 0x9E3779B1
    for _ in range(2):
        x = (((x >> 16) ^ x) & 0xFFFFFFFF) * 0x45D9F3B & 0xFFFFFFFF
    masked = _unless_all(((x >> 16) ^ x) & 1 == 1)
    return torch.zeros(keys, device=device).masked_fill(masked, MASKED_BIAS)


def _unless_all(masked: Tensor) -> Tensor:
    return masked & ~masked.all(-1, keepdim=True)


class MaskAttention(nn.Module):
    """``[B, C, h, w]`` → ``[B, C, h, w]``; memory grows with the number of positions, not with its square.

    ``mask``: ``soft`` weighs keys, ``hard`` selects them and is trained as if it weighed them (straight-through, at the
    cost of a second attention in training), ``random`` masks a fixed half of them (``seed`` says which), ``none`` is
    plain attention. Keys and values are means over squares of ``key_stride`` positions.
    """

    def __init__(
        self, channels: int, *, heads: int = 4, mask: str = "soft", key_stride: int = 1, seed: int = 0
    ) -> None:
        super().__init__()
        if mask not in MASKS:
            raise InputError(f"The plans ask for the mask '{mask}'; legal are {', '.join(MASKS)}.")
        if channels % heads:
            raise InputError(
                f"The plans ask for {heads} heads of attention on {channels} channels, but heads must divide the "
                "channels; change heads or features_per_stage."
            )
        self.heads, self.kind, self.key_stride, self.seed = heads, mask, key_stride, seed
        self.query = nn.Linear(channels, channels)
        self.key = nn.Linear(channels, channels, bias=False)  # a bias shared by all keys has no effect on a softmax
        self.value = nn.Linear(channels, channels)
        self.project = nn.Linear(channels, channels)
        self.attention_norm = nn.LayerNorm(channels)
        self.feed_forward = nn.Sequential(
            nn.Linear(channels, EXPANSION * channels), nn.GELU(), nn.Linear(EXPANSION * channels, channels)
        )
        self.norm = nn.LayerNorm(channels)
        if mask in ("soft", "hard"):
            self.mask = nn.Linear(channels, heads)
            nn.init.ones_(self.mask.bias)  # keys start unmasked: a masked one gets no gradient

    def forward(self, x: Tensor) -> Tensor:
        tokens, key_tokens = x.flatten(2).mT, self.pool(x).flatten(2).mT
        query, key, value = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in (self.query(tokens), self.key(key_tokens), self.value(key_tokens))
        )
        differentiable = self.kind != "hard" or not self.training
        with torch.set_grad_enabled(differentiable and torch.is_grad_enabled()):
            attended = attend(query, key, value, self.bias(key_tokens))
        if not differentiable:
            # a masked key has no effect on the output, so it would get no gradient by itself
            soft = attend(query, key, value, soft_bias(self.mask(key_tokens).mT))
            attended = soft + (attended - soft).detach()
        tokens = self.attention_norm(tokens + self.project(attended.transpose(1, 2).flatten(2)))
        tokens = self.norm(tokens + self.feed_forward(tokens))
        return torch.unflatten(tokens.mT, 2, x.shape[2:])

    def pool(self, x: Tensor) -> Tensor:
        """What keys and values are made from: ``x [B, C, h, w]``, or means over squares of it."""
        return F.avg_pool2d(x, self.key_stride, ceil_mode=True) if self.key_stride > 1 else x

    def attention(self, x: Tensor, position: int) -> Tensor:
        """How much ``position`` (flat) of ``x [B, C, h, w]`` attends to each key: ``[B, heads, M]``, sums of one."""
        tokens, key_tokens = x.flatten(2).mT[:, position, None], self.pool(x).flatten(2).mT
        query, key = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (self.query(tokens), self.key(key_tokens))
        )
        logits: Tensor = (query @ key.mT)[:, :, 0] * query.shape[-1] ** -0.5
        bias = self.bias(key_tokens)
        return (logits if bias is None else logits + bias).softmax(-1)

    def bias(self, key_tokens: Tensor) -> Tensor | None:
        """Bias of the keys made from ``key_tokens [B, M, C]``: ``[B, heads, M]``."""
        if self.kind == "none":
            return None
        if self.kind == "random":
            bias = random_bias(key_tokens.shape[1], seed=self.seed, device=key_tokens.device)
            return bias.expand(key_tokens.shape[0], self.heads, -1)
        logits = self.mask(key_tokens).mT
        return soft_bias(logits) if self.kind == "soft" else hard_bias(logits)
