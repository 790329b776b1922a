"""The numbers in docs/maskmed.md are the planner's."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from maskmed_nnu.nnunet.experiment_planning import maskmed_rules as rules

SMALL, LARGE = (40, 56, 40), (128, 128, 128)
STRIDES = [(1, 1, 1), (2, 2, 2), (2, 2, 2), (2, 2, 2)]


@pytest.fixture
def page(checkout: Path) -> str:
    return (checkout / "docs" / "maskmed.md").read_text(encoding="utf-8")


def documented_settings(page: str) -> dict[str, str]:
    """Setting → last cell of its row in the tables below "Settings"; ``a``, ``b`` with ``1, 2`` are two of them."""
    settings = {}
    for row in re.findall(r"^\| (`.+) \|$", page.split("\n## Settings\n")[1], re.MULTILINE):
        names, *_, value = row.split(" | ")
        names = re.findall(r"`([\w.]+)`", names)
        values = value.split(", ") if len(names) > 1 else [value]
        assert len(values) == len(names), row
        settings.update(zip(names, values, strict=True))
    return settings


def test_every_setting_is_documented_with_the_planners_default(page):
    network = rules.network_settings(SMALL, STRIDES, num_classes=3, regions=False)
    fsad = {f"fsad.{name}": value for name, value in network["fsad"].items()}
    loss = rules.loss_settings(LARGE)
    documented = documented_settings(page)
    assert set(documented) == {*network, *fsad, *loss}
    found_by_rule = {"regions", "num_queries", "head_levels", "fsad", "fsad.query_levels", "fsad.layers", "num_points"}
    for name, value in {**network, **fsad, **loss}.items():
        if name in found_by_rule:
            continue
        if isinstance(value, str):
            assert documented[name] == f"`{value}`"
        else:
            assert float(documented[name]) == value, name
    assert documented["num_queries"].startswith(f"classes × {rules.QUERIES_PER_CLASS}, next multiple of 8")
    assert documented["fsad.layers"].startswith(f"1 to {rules.FSAD_MAX_LAYERS},")
    assert f"{rules.DENSE_LOSS_MAX_VOXELS:,} voxels per patch, else {rules.NUM_POINTS}" in documented["num_points"]


def test_what_we_decided_is_what_the_rules_say(page):
    decided = {
        row.split(" | ")[0]: row.split(" | ")[2]
        for row in re.findall(r"^\| (.+) \|$", page.split("\n## The stages of Figure 1\n")[0], re.MULTILINE)
    }
    weights = rules.LOSS_WEIGHTS
    assert f"up to three, within {rules.FSAD_TOKEN_BUDGET} positions" in decided["FSAD queries"]
    assert decided["FSAD size"].startswith(
        f"width {rules.WIDTH}, {rules.FSAD_HEADS} heads, {rules.FSAD_POINTS} points per level and head, "
        f"feed-forward {rules.FFN}; 1 to {rules.FSAD_MAX_LAYERS} layers"
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
    where = decided["where the loss is taken"]
    assert f"up to {rules.DENSE_LOSS_MAX_VOXELS:,} voxels, else at {rules.NUM_POINTS:,} points" in where
    assert rules.BALANCED_RATIO == 0.25 and "a quarter of what is drawn" in where
