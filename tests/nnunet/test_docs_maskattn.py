"""The tables of docs/explanation/maskattn-unet.md are the planner's."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from maskmed_nnu.nnunet.discovery.names import NAMES
from maskmed_nnu.nnunet.experiment_planning import instance_rules, maskattn_rules
from maskmed_nnu.nnunet.plans_handling.settings.maskattn_unet import (
    EmbeddingLossSettings,
    LabelTraining,
    MaskAttnUNetSettings,
)
from maskmed_nnu.nnunet.plans_handling.settings.schema import detail
from maskmed_nnu.nnunet.training.trainers.maskattn_unet import WEIGHT_DECAY


@pytest.fixture
def page(checkout: Path) -> str:
    return (checkout / "docs/explanation/maskattn-unet.md").read_text(encoding="utf-8")


def test_what_the_settings_say_of_the_planners_rules_is_so():
    found = {name: detail(field, "chosen_by") for name, field in MaskAttnUNetSettings.model_fields.items()}
    assert found["placement"] == f'`"{maskattn_rules.OBJECT_PLACEMENT}"` for objects'
    assert found["embedding_dim"] == f"{maskattn_rules.EMBEDDING_DIM} for objects"
    limits = f"at most {maskattn_rules.MAX_KEYS} keys, {maskattn_rules.OBJECT_KEYS} for objects"
    assert found["key_strides"].endswith(limits)
    assert maskattn_rules.MIN_SHARE * instance_rules.FRAGMENT_SHARE == 0.5
    assert found["min_pixels"].startswith("half the area")
    assert found["min_pixels"].endswith(f"at least {maskattn_rules.MIN_SHARE * instance_rules.MIN_FRAGMENT}")


def test_what_is_ours_is_what_the_rules_say(page):
    ours = {
        row.split(" | ")[0]: row.split(" | ")[-1]
        for row in re.findall(r"^\| (.+) \|$", page.split("\n## How it is planned\n")[0], re.MULTILINE)
    }
    assert f"AdamW, {LabelTraining.default('learning_rate'):.0e}".replace("e-0", "e-") in ours["optimiser"]
    assert f"weight decay {WEIGHT_DECAY:.0e}".replace("e-0", "e-") in ours["optimiser"]
    of_objects, of_labels = (
        "-".join(map(str, widths)) for widths in (maskattn_rules.OBJECT_FEATURES, maskattn_rules.FEATURES)
    )
    assert ours["stages, widths"].endswith(f"for objects {of_objects}, for labels {of_labels}")
    assert f"in the {maskattn_rules.OBJECT_PLACEMENT} for objects" in ours["modules"]
    loss = EmbeddingLossSettings.plan(reach=None)
    assert f"temperature {loss['temperature']}, {loss['pixels']} pixels per patch" in ours["loss of objects"]
    assert f"cross-entropy + {loss['contrastive_weight']} · InfoNCE" in page
    limits = f"{maskattn_rules.MAX_KEYS} of them, for objects {maskattn_rules.OBJECT_KEYS}"
    assert f"no query attends to more than {limits}" in page
    assert f"{maskattn_rules.EMBEDDING_DIM} numbers for each pixel" in page


def test_every_planner_and_trainer_is_named(page):
    for kind in ("planner", "trainer"):
        for name in NAMES[kind]:
            if "MaskAttn" in name:
                assert f"`{name}`" in page
