"""Settings of the set loss, which MaskMed has, and IAUNet with learned queries."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge

from maskmed_nnu.nnunet.plans_handling.settings.schema import Count, Settings, Share, Weight, setting


class MatchingWeights(Settings):
    """Weights of the terms for matched queries."""

    class_weight: Weight = setting("weight of the class term, in the loss and in the matching", default=0.2)
    bce_weight: Weight = setting("weight of the masks' cross-entropy, in the loss and in the matching", default=1.2)
    dice_weight: Weight = setting("weight of the masks' Dice, in the loss and in the matching", default=1.2)
    no_object_weight: Weight = setting('weight of "no object" in the class term', default=0.1)


class SampledPoints(Settings):
    """Where the masks are compared."""

    num_points: Count | None = setting(
        "voxels at which the masks are compared; `null` for all",
        chosen_by="`null` up to 100,000 voxels per patch, else 12544",
    )
    balanced_ratio: Share = setting(
        "share of the points that is drawn equally from every target present, whatever its size; no effect if "
        "all voxels are compared",
        default=0.25,
    )
    oversample_ratio: Annotated[float, Ge(1)] = setting(
        "factor of points drawn to points used; the most uncertain of them are chosen",
        default=3.0,
        in_plans=False,
    )
    importance_ratio: Share = setting("share of the points that is chosen by uncertainty", default=0.75, in_plans=False)
