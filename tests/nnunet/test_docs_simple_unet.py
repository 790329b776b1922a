"""The tables of docs/simple_unet.md are the planner's."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest
import torch

from maskmed_nnu.nnunet.discovery import class_search
from maskmed_nnu.nnunet.discovery.names import NAMES
from maskmed_nnu.nnunet.experiment_planning.planners import simple_unet
from maskmed_nnu.nnunet.experiment_planning.planners.simple_unet import SimpleUNetPlanner


@pytest.fixture
def page(checkout: Path) -> str:
    return (checkout / "docs" / "simple_unet.md").read_text(encoding="utf-8")


def rows(text: str) -> dict[str, list[str]]:
    """First cell, without its quotes → the others."""
    cells = [row.split(" | ") for row in re.findall(r"^\| (`.+) \|$", text, re.MULTILINE)]
    return {first.strip("`"): [other.strip() for other in others] for first, *others in cells}


def test_settings_have_the_planners_defaults(page, make_planner):
    documented = rows(page.split("\n## Settings\n")[1])
    plan = make_planner(SimpleUNetPlanner).plan_experiment()["configurations"]["3d_fullres"]
    given_by_nnunet = {"n_stages", "strides", "kernel_sizes", "conv_op"}
    assert set(documented) == {*plan["architecture"]["arch_kwargs"], *plan["simple_unet"]} - given_by_nnunet
    for name, value in {**SimpleUNetPlanner.preset, "deep_supervision": False}.items():
        assert documented[name][-1].strip("`") == str(value).lower().removesuffix(".0"), name
    assert float(documented["learning_rate"][-1]) == simple_unet.LEARNING_RATE


@pytest.mark.parametrize("name", [name for name in NAMES["planner"] if name.startswith("SimpleUNet")])
def test_every_preset_has_a_row_with_its_parameters(page, name: str):
    planner = class_search.find("planner", name)
    plans_name, described, in_2d, in_3d, _ = rows(page.split("\n## Measured\n")[0])[name]
    assert plans_name == f"`{inspect.signature(planner).parameters['plans_name'].default}`"
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
