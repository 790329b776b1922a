"""Plans that version 0.1 made, one for each network, and one more of MaskAttn-UNet for objects."""

from __future__ import annotations

import json
from pathlib import Path

from maskmed_nnu.nnunet.plans_handling.settings.networks import NETWORKS, Network

FILES = {file.stem: file for file in sorted(Path(__file__).parent.glob("*.json"))}


def plans_of_version_0_1(name: str) -> dict:
    """The plans in the file of that name."""
    return json.loads(FILES[name].read_text(encoding="utf-8"))


def network_of(configuration: dict) -> Network:
    """The entry of our network that a configuration is for."""
    found = configuration["architecture"]["network_class_name"]
    return next(network for network in NETWORKS if found in network.classes)
