"""The label manager of object data sets."""

from __future__ import annotations

from nnunetv2.utilities.label_handling.label_handling import LabelManager


class InstanceLabelManager(LabelManager):
    """nnU-Net's, which manages the classes of the semantic map.

    Its name in the plans tells the predictor that predictions are objects, not logits of classes.
    """
