"""The settings and examples in docs/instances.md are those of planner, network and data format."""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path

import pytest

from maskmed_nnu.instances.instance_map import LabelFormat
from maskmed_nnu.networks.iaunet import IAUNet
from maskmed_nnu.nnunet.experiment_planning import instance_rules
from maskmed_nnu.nnunet.experiment_planning.instance_rules import InstanceSizes
from maskmed_nnu.nnunet.training import data_augmentation

SIZES = InstanceSizes(9, 28, 34, 8, (30,), 1e-3, 89, (18, 18), (256, 256))
STATISTICS = {"classes": {"nucleus": {"number": 1, "kind": "thing", "layers": 1, "overlap_depth": 1}}}
NNUNET_ARGUMENTS = {"input_channels", "num_classes", "norm_op", "norm_op_kwargs", "deep_supervision", "plan"}
NNUNET_ARGUMENTS |= {"n_conv_per_stage_decoder"}


@pytest.fixture
def page(checkout: Path) -> str:
    return (checkout / "docs" / "instances.md").read_text(encoding="utf-8")


def documented(page: str, part: str) -> dict[str, str]:
    """Setting → last cell of its row in the table below ``→ part**``; two names in a row may share two values."""
    table = page.split(f"→ {part}`**")[1].split("\n\n")[1]
    settings = {}
    for row in re.findall(r"^\| (`.+) \|$", table, re.MULTILINE):
        names, *_, value = row.split(" | ")
        names = re.findall(r"`(\w+)`", names)
        values = value.split(", ") if len(names) > 1 and value.count(",") == len(names) - 1 else [value] * len(names)
        settings.update(zip(names, values, strict=True))
    return settings


def test_every_setting_of_the_network_is_documented_with_its_default(page):
    found = documented(page, "architecture → arch_kwargs")
    arguments = inspect.signature(IAUNet.__init__).parameters
    ours = {name for name in arguments if name != "self"} - NNUNET_ARGUMENTS
    planned = instance_rules.network_settings(STATISTICS, SIZES, (256, 256), 6)
    assert set(found) == ours and set(planned) <= ours
    for name in ("width", "heads", "ffn", "dropout", "mask_hidden", "score_threshold"):
        assert float(found[name]) == arguments[name].default, name
    for name in ("dense", "masked_attention", "backbone", "backbone_weights"):
        assert json.loads(found[name].strip("`")) == arguments[name].default, name
    assert found["queries"] == f"`{arguments['queries'].default}`"
    assert float(found["mask_channels"]) == planned["mask_channels"]
    assert found["pyramid"].startswith(", ".join(map(str, instance_rules.PYRAMID)))
    assert found["num_queries"].endswith(f"× {instance_rules.QUERY_MARGIN}, next multiple of 50")
    assert instance_rules.QUERY_MULTIPLE == instance_rules.MIN_QUERIES == 50
    assert found["query_stride"] == "{}, or {} for close neighbours".format(*instance_rules.QUERY_STRIDES)
    assert found["window"].startswith(f"{instance_rules.WINDOW_MARGIN} × the 99th")
    assert found["window"].endswith(f"multiple of {instance_rules.WINDOW_MULTIPLE}")
    blocks = instance_rules.BLOCKS_WITHOUT_OVERLAP, instance_rules.BLOCKS_WITH_OVERLAP
    assert found["blocks_per_level"] == "{}, or {} where objects of a class overlap".format(*blocks)


def test_every_other_setting_of_the_plan_is_documented(page):
    instances = documented(page, "instances")
    # the planner adds the last three
    added = {"label_divisor", "overlap_layers", "scale"}
    assert set(instances) == {*instance_rules.instance_settings(STATISTICS, SIZES), *added}
    assert float(instances["score_threshold"]) == instance_rules.SCORE_THRESHOLD
    assert instance_rules.FRAGMENT_SHARE == 0.25 and instances["min_fragment"].startswith("a quarter of the area")
    assert instances["min_fragment"].endswith(f"at least {instance_rules.MIN_FRAGMENT}")
    loss = documented(page, "instance_loss")
    assert {name: float(value) for name, value in loss.items()} == instance_rules.loss_settings()


def test_the_rules_are_the_planners(page):
    rules = dict(re.findall(r"^\| ([a-z ]+) \| (.+) \| .+ \|$", page.split("\n## Train\n")[0], re.MULTILINE))
    assert f"cover {instance_rules.MIN_CELLS} cells of the mask grid" in rules["scale"]
    assert f"{instance_rules.MAX_UPSAMPLING:g} times at most" in rules["scale"]
    assert "two large objects" in rules["scale"] and instance_rules.LARGE_OBJECTS_PER_PATCH == 2
    assert rules["window"].startswith(f"{instance_rules.WINDOW_MARGIN} × ")
    assert f"more than {instance_rules.MAX_WINDOW_CELLS} cells" in rules["mask grid"]
    close = instance_rules.PEAK_CELLS * instance_rules.QUERY_STRIDES[0]
    assert f"less than {close:g} pixels apart" in rules["query grid"]
    assert f"at least {instance_rules.MIN_QUERIES}" in rules["queries"]


def test_augmentation_is_as_described(page):
    assert data_augmentation.SCALE_PROBABILITY == 0.5 and "every second sample at another scale" in page
    assert "({:g} to {:g})".format(*data_augmentation.SCALE) in page


def test_the_examples_of_dataset_json_are_legal(page):
    layout = page.split("\n## Layout of a data set\n")[1].split("\n## Plan\n")[0]
    formats = [
        LabelFormat.from_dataset_json(json.loads(text)) for text in re.findall(r"```json\n(.*?)```", layout, re.S)
    ]
    assert [len(one.classes) for one in formats] == [1, 3, 2]
    assert [one.label_divisor for one in formats] == [None, 1000, 1000]
    assert [one.overlap_layers for one in formats] == [False, False, True]


def test_links_within_the_page_lead_somewhere(page):
    titles = {title.lower().replace(" ", "-") for title in re.findall(r"^## (.+)$", page, re.MULTILINE)}
    assert set(re.findall(r"\]\(#([\w-]+)\)", page)) <= titles
