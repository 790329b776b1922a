"""Our networks: the paths by which plans name them, who plans them, and the sections of settings that they have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from maskmed_nnu.nnunet.plans_handling.settings import iaunet, maskattn_unet, maskmed, simple_unet
from maskmed_nnu.nnunet.plans_handling.settings.schema import Settings


class Network(NamedTuple):
    """``sections`` gives the sections of a configuration; ``arch_kwargs`` lies inside its ``architecture``, and
    ``maskmed_nnu`` at the top level of the plans. ``trainers`` train it on classes, ``object_trainers`` on objects; the
    first of each is the usual one."""

    classes: tuple[str, ...]
    planner: str
    sections: Callable[[dict[str, Any]], dict[str, type[Settings]]]
    trainers: tuple[str, ...] = ()
    object_trainers: tuple[str, ...] = ()


MASKMED = Network(
    ("maskmed_nnu.networks.maskmed.MaskMed",), "MaskMedPlanner", maskmed.sections, ("nnUNetTrainerMaskMed",)
)
IAUNET = Network(
    ("maskmed_nnu.networks.iaunet.IAUNet",),
    "IAUNetPlanner",
    iaunet.sections,
    object_trainers=("nnUNetTrainerIAUNet",),
)
MASKATTN_UNET = Network(
    ("maskmed_nnu.networks.maskattn_unet.MaskAttnUNet",),
    "MaskAttnUNetPlanner",
    maskattn_unet.sections,
    ("nnUNetTrainerMaskAttnUNet",),
    ("nnUNetTrainerMaskAttnUNetInstance", "nnUNetTrainerMaskAttnUNetPanoptic"),
)
SIMPLE_UNET = Network(
    ("maskmed_nnu.networks.simple_unet.SimpleUNet", simple_unet.ESK_NETWORK),
    "SimpleUNetPlanner",
    simple_unet.sections,
    ("nnUNetTrainerSimpleUNet",),
)
NETWORKS = (MASKMED, IAUNET, MASKATTN_UNET, SIMPLE_UNET)
