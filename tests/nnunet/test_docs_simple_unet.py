"""The tables of docs/explanation/simple-unet.md are the planner's."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from maskmed_nnu.nnunet.discovery import class_search
from maskmed_nnu.nnunet.discovery.names import NAMES
from maskmed_nnu.nnunet.experiment_planning.planners import simple_unet
from maskmed_nnu.nnunet.plans_handling.settings.schema import detail
from maskmed_nnu.nnunet.plans_handling.settings.simple_unet import SimpleUNetSettings


@pytest.fixture
def page(checkout: Path) -> str:
    return (checkout / "docs/explanation/simple-unet.md").read_text(encoding="utf-8")


def rows(text: str) -> dict[str, list[str]]:
    """First cell, without its quotes → the others."""
    cells = [row.split(" | ") for row in re.findall(r"^\| (`.+) \|$", text, re.MULTILINE)]
    return {first.strip("`"): [other.strip() for other in others] for first, *others in cells}


def test_what_the_settings_say_of_the_presets_is_so():
    share = detail(SimpleUNetSettings.model_fields["selection_rate"], "chosen_by")
    small, default = simple_unet.PUBLISHED_SELECTION_RATE, simple_unet.SELECTION_RATE
    assert share == f"{default}; {small} at width 16 and in SimpleESKNet"
    for planner, width, rate, blocks in (
        (simple_unet.SimpleUNetPlanner, 32, default, 1),
        (simple_unet.SimpleUNetPlanner16, 16, small, 1),
        (simple_unet.SimpleUNetPlanner48, 48, default, 1),
        (simple_unet.SimpleUNetPlannerESK, 32, small, 2),
    ):
        found = [planner.preset[name] for name in ("width", "selection_rate", "blocks_per_stage")]
        assert found == [width, rate, blocks]


@pytest.mark.parametrize("name", [name for name in NAMES["planner"] if name.startswith("SimpleUNet")])
def test_every_preset_has_a_row_with_its_parameters(page, name: str):
    planner = class_search.find("planner", name)
    plans_name, described, in_2d, in_3d, _ = rows(page.split("\n## Measured\n")[0])[name]
    assert plans_name == f"`{planner.default_plans_name()}`"
    assert described.startswith(f"{planner.network.__name__}, width {planner.preset['width']}")
    for dims, stages, channels, classes, cell in ((2, 5, 3, 2, in_2d), (3, 4, 1, 3, in_3d)):
        kwargs = dict(planner.preset)
        if "operators" in kwargs:
            kwargs["kernel_sizes"] = [[3] * dims] * stages
        with torch.device("meta"):
            network = planner.network(
                input_channels=channels,
                num_classes=classes,
                n_stages=stages,
                strides=[[1] * dims, *[[2] * dims] * (stages - 1)],
                conv_op=getattr(torch.nn, f"Conv{dims}d"),
                norm_op=getattr(torch.nn, f"InstanceNorm{dims}d"),
                norm_op_kwargs={"affine": True},
                **kwargs,
            )
        assert cell.split(", ")[0] == f"{sum(parameter.numel() for parameter in network.parameters()):,}"
