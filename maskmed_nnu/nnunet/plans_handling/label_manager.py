"""The label manager of object data sets, by which their plans are known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nnunetv2.utilities.label_handling.label_handling import LabelManager


class InstanceLabelManager(LabelManager):
    """nnU-Net's, which manages the classes of the semantic map.

    Its name in the plans tells the predictor that predictions are objects, not logits of classes.
    """


LABEL_MANAGER = InstanceLabelManager.__name__


def has_instances(plans: Mapping[str, Any]) -> bool:
    """Whether ``plans.json`` is that of a data set of objects."""
    return plans.get("label_manager") == LABEL_MANAGER


def is_ours(plans: Mapping[str, Any], configuration: Mapping[str, Any]) -> bool:
    """Whether the network of a configuration is one of this package's."""
    name = str(configuration.get("architecture", {}).get("network_class_name"))
    return name.startswith("maskmed_nnu.") or has_instances(plans)
