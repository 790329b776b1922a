"""From a batch of preprocessed label maps to the targets of the set loss."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from maskmed_nnu.losses.targets import SetTargets

ID_TABLE_SIZE = 2**15
"""Ids are int16: one table per layer that has a slot for each of them."""


def instance_targets(
    seg: Tensor, *, layer_classes: Sequence[int], thing_classes: Sequence[int], min_fragment: Sequence[int]
) -> list[SetTargets]:
    """The objects of every sample: one target per id that is present, on the device of ``seg``.

    ``seg`` is ``[B, 1 + L, *spatial]`` of integers as `InstancePreprocessor` writes it: the semantic map, then ``L``
    layers of ids, all of layer ``l`` being of class ``layer_classes[l]``. A target's class is its index in
    ``thing_classes``.

    ``valid`` is False where the target is unknown:

    - outside the image (-1, where the patch was padded);
    - in a crowd: a thing's class in the semantic map, but no object in any layer;
    - on a fragment: an object at the patch's border of which fewer pixels show than ``min_fragment`` of its class
      (in the order of ``thing_classes``). It is no target, because too little of it is visible, and no
      background either. An object with more pixels than that stays one, with the part of it that the patch shows; a
      small object away from the border always does.

    Nothing loops over objects, and one table per batch goes to the host.
    """
    semantic, layers = seg[:, 0], seg[:, 1:]
    count = layers.shape[1]
    slot = layers.flatten(2).long().clamp_(min=0)
    size = slot.new_zeros(len(seg), count, ID_TABLE_SIZE)
    size.scatter_add_(2, slot, torch.ones((), dtype=size.dtype, device=seg.device).expand_as(slot))
    border = slot.new_zeros(size.shape, dtype=torch.bool)
    frame = _border_pixels(layers).long().clamp_(min=0)
    border.scatter_(2, frame, torch.ones((), dtype=torch.bool, device=seg.device).expand_as(frame))
    present = size > 0
    present[..., 0] = False
    class_of_layer = torch.tensor([list(thing_classes).index(number) for number in layer_classes])
    smallest = torch.tensor(list(min_fragment))[class_of_layer].to(seg.device, non_blocking=True)
    fragments = present & border & (size < smallest[:, None])

    is_thing = torch.zeros(ID_TABLE_SIZE, dtype=torch.bool)
    is_thing[list(thing_classes)] = True
    crowd = is_thing.to(seg.device, non_blocking=True)[semantic.long().clamp_(min=0)] & (layers.amax(1) <= 0)
    unknown = crowd | (semantic < 0) | fragments.gather(2, slot).any(1).view_as(semantic)

    table = torch.cat([(present & ~fragments).flatten(1), unknown.flatten(1).any(1, keepdim=True)], 1).cpu()
    targets = []
    for b, row in enumerate(table):
        layer, ids = row[:-1].view(count, ID_TABLE_SIZE).nonzero(as_tuple=True)
        layer, ids, labels = (t.to(seg.device, non_blocking=True) for t in (layer, ids, class_of_layer[layer]))
        targets.append(SetTargets(layers[b], layer, ids, labels, ~unknown[b] if row[-1] else None))
    return targets


def _border_pixels(layers: Tensor) -> Tensor:
    """The outermost pixels of ``[B, L, *spatial]``, as ``[B, L, N]``."""
    faces = [layers.select(axis, side).flatten(2) for axis in range(2, layers.ndim) for side in (0, -1)]
    return torch.cat(faces, 2)
