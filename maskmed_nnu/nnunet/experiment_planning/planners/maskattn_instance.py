"""Plans of MaskAttn-UNet for data sets of objects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from maskmed_nnu.nnunet.experiment_planning import maskattn_rules, patch_rules
from maskmed_nnu.nnunet.experiment_planning.instance_sizes import InstanceSizes
from maskmed_nnu.nnunet.experiment_planning.planners.instance import InstancePlanner
from maskmed_nnu.nnunet.plans_handling.meta_network import cost, meta_network
from maskmed_nnu.nnunet.plans_handling.settings.maskattn_unet import ObjectTraining


class MaskAttnInstancePlanner(InstancePlanner):
    """The planner that `MaskAttnUNetPlanner` uses for data sets of objects; the plans bear the name of ``planner``.

    The patch shows what the objects need rather than all that memory allows: attention grows with it, and the
    embedding of a pixel has to differ from its neighbours' only. With ``longest_side`` the median image is resized to
    that, and the patch is the square around it.
    """

    def __init__(self, *args: Any, planner: str, longest_side: int | None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.planner, self.longest_side = planner, longest_side

    def save_plans(self, plans: dict) -> None:
        plans["experiment_planner_used"] = self.planner
        super().save_plans(plans)

    def _scale(self, statistics: dict, spacing: list[float]) -> tuple[float, list[float], tuple[int, ...]]:
        if self.longest_side is None:
            return super()._scale(statistics, spacing)
        scale = self.longest_side / max(InstanceSizes.from_statistics(statistics, spacing).image)
        return scale, [edge / scale for edge in spacing], (self.longest_side, self.longest_side)

    def _largest_patch(self, statistics: dict, sizes: InstanceSizes) -> tuple[int, ...]:
        return super()._largest_patch(statistics, sizes._replace(image=maskattn_rules.visible_size(sizes)))

    def _architecture(self, patch: Sequence[int], statistics: dict, sizes: InstanceSizes) -> dict:
        strides = patch_rules.topology(patch, sizes.voxel).strides
        return maskattn_rules.architecture(patch, strides, **maskattn_rules.object_settings(statistics, sizes))

    def _training_settings(self, statistics: dict, sizes: InstanceSizes) -> dict:
        return {
            "maskattn_unet": ObjectTraining.plan(),
            "instance_loss": maskattn_rules.loss_settings(sizes),
        }

    def _explain(self, configuration: dict, statistics: dict) -> str:
        architecture, channels = configuration["architecture"], len(self.dataset_json["channel_names"])
        network = meta_network(
            architecture["network_class_name"],
            architecture["arch_kwargs"],
            architecture["_kw_requires_import"],
            channels,
            1 + len(self.label_format.classes),
        )
        parameters, macs = cost(network, channels, configuration["patch_size"])
        return "\n".join(
            (
                maskattn_rules.explain(configuration, parameters=parameters, macs=macs),
                maskattn_rules.explain_objects(configuration, statistics),
            )
        )
