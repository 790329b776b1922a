"""The pages about objects agree with planner, network, data format and nnU-Net's commands."""

from __future__ import annotations

import importlib.metadata
import json
import re
from pathlib import Path

import pytest

from maskmed_nnu.instances.instance_map import LabelFormat
from maskmed_nnu.nnunet.experiment_planning import instance_rules, instance_sizes, patch_rules
from maskmed_nnu.nnunet.plans_handling.settings.iaunet import IAUNetSettings
from maskmed_nnu.nnunet.plans_handling.settings.instances import InstanceSettings
from maskmed_nnu.nnunet.plans_handling.settings.networks import IAUNET
from maskmed_nnu.nnunet.plans_handling.settings.schema import detail
from maskmed_nnu.nnunet.plans_handling.validation import validate_plans
from maskmed_nnu.nnunet.training import data_augmentation
from tests.nnunet.plans_0_1 import plans_of_version_0_1


@pytest.fixture
def page(checkout: Path, request: pytest.FixtureRequest) -> str:
    return (checkout / "docs" / request.param).read_text(encoding="utf-8")


def of(name: str) -> pytest.MarkDecorator:
    """The page that a test reads."""
    return pytest.mark.parametrize("page", [name], indirect=True)


def test_what_the_settings_say_of_the_planners_rules_is_so():
    found = {
        name: detail(field, "chosen_by")
        for section in (IAUNetSettings, InstanceSettings)
        for name, field in section.model_fields.items()
    }
    assert found["pyramid"].startswith(", ".join(map(str, instance_rules.PYRAMID)))
    assert found["num_queries"].endswith(f"× {instance_rules.QUERY_MARGIN}, next multiple of 50")
    assert instance_rules.QUERY_MULTIPLE == instance_rules.MIN_QUERIES == 50
    assert found["query_stride"] == "{}, or {} for close neighbours".format(*instance_rules.QUERY_STRIDES)
    assert found["window"].startswith(f"{instance_rules.WINDOW_MARGIN} × the 99th")
    assert found["window"].endswith("multiple of {}, in volumes of {}".format(*instance_rules.WINDOW_MULTIPLE.values()))
    blocks = instance_rules.BLOCKS_WITHOUT_OVERLAP, instance_rules.BLOCKS_WITH_OVERLAP
    assert found["blocks_per_level"] == "{}, or {} where objects of a class overlap".format(*blocks)
    assert instance_rules.FRAGMENT_SHARE == 0.25 and found["min_fragment"].startswith("a quarter of the area")
    assert found["min_fragment"].endswith(f"at least {instance_rules.MIN_FRAGMENT}")


@of("reference/nnunet-commands.md")
def test_every_command_of_nnunet_is_in_the_table(page):
    """A new one has to be looked at: what does it do with objects?"""
    named = set(re.findall(r"`(nnUNetv2_\w+)`", page.split("\n## ")[0]))
    scripts = importlib.metadata.distribution("nnunetv2").entry_points.select(group="console_scripts")
    assert named == scripts.names


@of("explanation/iaunet.md")
def test_the_published_network_is_legal(page):
    """The two examples, within the planner's plans."""
    plans = plans_of_version_0_1("iaunet")
    configuration = plans["configurations"]["2d"]
    section = page.split("\n## The published network\n")[1]
    network = json.loads(re.search(r"```json\n(.*?)```", section, re.S)[1])
    configuration["architecture"]["arch_kwargs"].update(network, backbone="resnet50")
    configuration["instance_loss"] = json.loads(re.search(r"`(\{[^`]*?\})` as `instance_loss`", section)[1])
    with pytest.warns(UserWarning, match="balanced_ratio"):
        validate_plans(plans, configuration, IAUNET)


@of("explanation/planning.md")
def test_the_rules_are_the_planners(page):
    rules = dict(re.findall(r"^\| ([a-z ]+) \| (.+) \| .+ \|$", page, re.MULTILINE))
    assert f"cover {instance_rules.MIN_CELLS} cells of the mask grid" in rules["scale"]
    assert f"{instance_rules.MAX_GROWTH:g} times the pixels at most" in rules["scale"]
    assert "two large objects" in rules["scale"] and instance_rules.LARGE_OBJECTS_PER_PATCH == 2
    assert rules["window"].startswith(f"{instance_rules.WINDOW_MARGIN} × ")
    assert f"more than {instance_rules.MAX_WINDOW_CELLS[2]} cells" in rules["mask grid"]
    close = instance_rules.PEAK_CELLS * instance_rules.QUERY_STRIDES[0]
    assert f"less than {close:g} pixels apart" in rules["query grid"]
    assert f"at least {instance_rules.MIN_QUERIES}" in rules["queries"]
    text = " ".join(page.split())
    assert f"as much as a cube of {patch_rules.MIN_VISIBLE[3]} voxels" in text
    assert "four large objects along an axis" in text and patch_rules.VISIBLE_OBJECTS == 4
    assert f"edges of windows are multiples of {instance_rules.WINDOW_MULTIPLE[3]}" in text
    assert f"less than {instance_sizes.COARSE} times as far apart as pixels" in text


@of("explanation/iaunet.md")
def test_augmentation_is_as_described(page):
    assert data_augmentation.SCALE_PROBABILITY == 0.5
    assert "every second sample at another scale" in " ".join(page.split())
    assert "({:g} to {:g})".format(*data_augmentation.SCALE) in page


@of("reference/datasets.md")
def test_the_examples_of_dataset_json_are_legal(page):
    examples = re.findall(r"```json\n(.*?)```", page, re.S)
    formats = [LabelFormat.from_dataset_json(json.loads(text)) for text in examples]
    assert [len(one.classes) for one in formats] == [1, 3, 2]
    assert [one.label_divisor for one in formats] == [None, 1000, 1000]
    assert [one.overlap_layers for one in formats] == [False, False, True]
