"""Settings of networks that are trained with nnU-Net's loss."""

from __future__ import annotations

from typing import Any

from maskmed_nnu.nnunet.plans_handling.settings.origin import Origin
from maskmed_nnu.nnunet.plans_handling.settings.schema import Positive, Settings, setting

SECTION = "training"


class PixelwiseTraining(Settings):
    """``training``, or a section with the network's name."""

    used_by = "trainer"
    deep_supervision: bool = setting(
        "nnU-Net's loss at every scale of the decoder, all with the same last layer", default=False
    )
    learning_rate: Positive = setting("learning rate at the start of the schedule")


def sections(configuration: dict[str, Any]) -> dict[str, type[Settings]]:
    """The sections of a configuration for a network whose arguments are not declared."""
    return {"maskmed_nnu": Origin, SECTION: PixelwiseTraining}
