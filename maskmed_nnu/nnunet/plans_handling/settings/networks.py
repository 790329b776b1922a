"""Our networks: the paths by which plans name them, who plans them, and the sections of settings that they have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from maskmed_nnu.nnunet.plans_handling.settings import iaunet, maskattn_unet, maskmed, simple_unet
from maskmed_nnu.nnunet.plans_handling.settings.schema import Settings


class Network(NamedTuple):
    """``sections`` gives the sections of a configuration; ``arch_kwargs`` lies inside its ``architecture``, and
    ``maskmed_nnu`` at the top level of the plans."""

    classes: tuple[str, ...]
    planner: str
    sections: Callable[[dict[str, Any]], dict[str, type[Settings]]]


MASKMED = Network(("maskmed_nnu.networks.maskmed.MaskMed",), "MaskMedPlanner", maskmed.sections)
IAUNET = Network(("maskmed_nnu.networks.iaunet.IAUNet",), "IAUNetPlanner", iaunet.sections)
MASKATTN_UNET = Network(
    ("maskmed_nnu.networks.maskattn_unet.MaskAttnUNet",), "MaskAttnUNetPlanner", maskattn_unet.sections
)
SIMPLE_UNET = Network(
    ("maskmed_nnu.networks.simple_unet.SimpleUNet", simple_unet.ESK_NETWORK), "SimpleUNetPlanner", simple_unet.sections
)
NETWORKS = (MASKMED, IAUNET, MASKATTN_UNET, SIMPLE_UNET)
