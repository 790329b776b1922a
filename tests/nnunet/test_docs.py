"""The numbers in docs/explanation/maskmed.md are the planner's."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from maskmed_nnu.nnunet.experiment_planning import maskmed_rules as rules
from maskmed_nnu.nnunet.plans_handling.settings.maskmed import FSADSettings, MaskMedSettings, SetLossSettings
from maskmed_nnu.nnunet.plans_handling.settings.schema import Settings, detail


@pytest.fixture
def page(checkout: Path) -> str:
    return (checkout / "docs/explanation/maskmed.md").read_text(encoding="utf-8")


def test_what_the_settings_say_of_the_planners_rules_is_so():
    def rule(section: type[Settings], name: str) -> str:
        return detail(section.model_fields[name], "chosen_by")

    assert rule(MaskMedSettings, "num_queries").startswith(
        f"classes × {rules.QUERIES_PER_CLASS}, next multiple of {rules.QUERIES_MULTIPLE}"
    )
    assert rule(FSADSettings, "layers").startswith(f"1 to {rules.FSAD_MAX_LAYERS},")
    points = f"{rules.DENSE_LOSS_MAX_VOXELS:,} voxels per patch, else {rules.NUM_POINTS}"
    assert points in rule(SetLossSettings, "num_points")


def test_what_we_decided_is_what_the_rules_say(page):
    decided = {
        row.split(" | ")[0]: row.split(" | ")[2]
        for row in re.findall(r"^\| (.+) \|$", page.split("\n## The stages of Figure 1\n")[0], re.MULTILINE)
    }
    weights, fsad = SetLossSettings.plan(num_points=None), FSADSettings.plan(query_levels=[1], layers=1)
    assert f"up to three, within {rules.FSAD_TOKEN_BUDGET} positions" in decided["FSAD queries"]
    assert decided["FSAD size"].startswith(
        f"width {fsad['dim']}, {fsad['heads']} heads, {fsad['points']} points per level and head, "
        f"feed-forward {fsad['ffn']}; 1 to {rules.FSAD_MAX_LAYERS} layers"
    )
    assert f"within {rules.FSAD_SHARE * 100:g} % of the patch" in decided["FSAD size"]
    assert f"within {rules.HEAD_TOKEN_BUDGET} positions each" in decided["head"]
    assert decided["number of queries"].startswith(f"{rules.QUERIES_PER_CLASS} per class, ")
    assert decided["number of queries"].endswith(f"multiple of {rules.QUERIES_MULTIPLE}")
    assert decided["loss"].startswith(
        f"{weights['class_weight']} class, {weights['bce_weight']} BCE, {weights['dice_weight']} Dice, "
        f'"no object" weighs {weights["no_object_weight"]};'
    )
    assert f"weight {weights['aux_weight']:g};" in decided["auxiliary loss"]
    assert f"weight {weights['semantic_weight']:g}:" in decided["semantic loss"]
    where = decided["where the loss is computed"]
    assert f"up to {rules.DENSE_LOSS_MAX_VOXELS:,} voxels, else at {rules.NUM_POINTS:,} points" in where
    assert weights["balanced_ratio"] == 0.25 and "a quarter of the points drawn comes equally often" in where
