"""The tables of docs/maskattn_unet.md are the planner's."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from maskmed_nnu.nnunet.discovery.names import NAMES
from maskmed_nnu.nnunet.experiment_planning import instance_rules, maskattn_rules
from maskmed_nnu.nnunet.experiment_planning.planners.maskattn_unet import MaskAttnUNetPlanner
from maskmed_nnu.nnunet.training.trainers.maskattn_unet import WEIGHT_DECAY


@pytest.fixture
def page(checkout: Path) -> str:
    return (checkout / "docs" / "maskattn_unet.md").read_text(encoding="utf-8")


def documented(page: str, part: str) -> dict[str, str]:
    """Setting → last cell of its row in the table below ``→ part**``."""
    table = page.split(f"→ {part}`**")[1].split("\n\n")[1]
    rows = (row.split(" | ") for row in re.findall(r"^\| (`.+) \|$", table, re.MULTILINE))
    return {first.strip("`"): last for first, *_, last in rows}


def test_settings_have_the_planners_defaults(page, make_cell_planner, make_planner):
    objects = make_cell_planner(MaskAttnUNetPlanner).plan_experiment()["configurations"]["2d"]
    labels = make_planner(MaskAttnUNetPlanner).plan_experiment()["configurations"]["2d"]
    given_by_nnunet = {"n_stages", "features_per_stage", "strides", "conv_op", "norm_op", "norm_op_kwargs"}
    kwargs = objects["architecture"]["arch_kwargs"]
    network, loss = documented(page, "architecture → arch_kwargs"), documented(page, "instance_loss")
    assert set(network) == set(kwargs) - given_by_nnunet and set(loss) == set(objects["instance_loss"])
    for name in ("heads", "placement", "mask", "affinity_threshold"):
        assert network[name].strip("`") == str(kwargs[name]), name
    assert network["embedding_dim"] == f"{labels['architecture']['arch_kwargs']['embedding_dim']}; 32 for objects"
    assert kwargs["embedding_dim"] == 32 and f"at most {maskattn_rules.MAX_KEYS} keys" in network["key_strides"]
    assert instance_rules.FRAGMENT_SHARE == 0.25 and network["min_pixels"].endswith(str(instance_rules.MIN_FRAGMENT))
    for name in ("contrastive_weight", "temperature", "pixels"):
        assert float(loss[name]) == objects["instance_loss"][name], name
    training = documented(page, "maskattn_unet")
    assert set(training) == set(labels["maskattn_unet"])
    assert float(training["learning_rate"]) == labels["maskattn_unet"]["learning_rate"]
    assert training["deep_supervision"] == str(labels["maskattn_unet"]["deep_supervision"]).lower()


def test_what_is_ours_is_what_the_rules_say(page):
    ours = {
        row.split(" | ")[0]: row.split(" | ")[-1]
        for row in re.findall(r"^\| (.+) \|$", page.split("\n## How it is planned\n")[0], re.MULTILINE)
    }
    assert f"AdamW, {maskattn_rules.LEARNING_RATE:.0e}".replace("e-0", "e-") in ours["optimiser"]
    assert f"weight decay {WEIGHT_DECAY:.0e}".replace("e-0", "e-") in ours["optimiser"]
    assert ours["stages, widths"].endswith("-".join(map(str, maskattn_rules.FEATURES)))
    assert (
        f"temperature {maskattn_rules.TEMPERATURE}, {maskattn_rules.PIXELS} pixels per patch" in ours["loss of objects"]
    )
    assert f"nobody attends to more\nthan {maskattn_rules.MAX_KEYS} of them" in page
    assert f"{maskattn_rules.EMBEDDING_DIM} numbers for each pixel" in page


def test_every_planner_and_trainer_is_named(page):
    for kind in ("planner", "trainer"):
        for name in NAMES[kind]:
            if "MaskAttn" in name:
                assert f"`{name}`" in page


def test_links_within_the_documentation_lead_somewhere(page, checkout):
    for file, anchor in re.findall(r"\]\((?!http)([\w./]*)#?([\w-]*)\)", page):
        target = checkout / "docs" / file
        assert target.is_file()
        titles = {
            re.sub(r"[^\w -]", "", t).lower().replace(" ", "-")
            for t in re.findall(r"^#+ (.+)$", target.read_text(), re.M)
        }
        assert not anchor or anchor in titles, (file, anchor)
