"""Every setting of every section: what is illegal is refused in one sentence, and what is missing takes its default."""

from __future__ import annotations

import copy
import inspect
import json
import math
import warnings
from collections.abc import Iterator
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

import pytest
from annotated_types import Ge, Gt, Le, MinLen
from pydantic.fields import FieldInfo

from maskmed_nnu.errors import InputError
from maskmed_nnu.legal_values import legal_values
from maskmed_nnu.losses.location_criterion import LocationCriterion
from maskmed_nnu.losses.set_criterion import SetCriterion
from maskmed_nnu.networks.iaunet import IAUNet
from maskmed_nnu.networks.layers.maskmed.fsad import FSADTransformer
from maskmed_nnu.networks.maskattn_unet import MaskAttnUNet
from maskmed_nnu.networks.maskmed import MaskMed
from maskmed_nnu.networks.simple_unet import FixedWidthUNet, SimpleUNet
from maskmed_nnu.nnunet.plans_handling.configuration import resolve_configuration
from maskmed_nnu.nnunet.plans_handling.settings import iaunet, maskattn_unet, maskmed, simple_unet
from maskmed_nnu.nnunet.plans_handling.settings.matched_queries import SampledPoints
from maskmed_nnu.nnunet.plans_handling.settings.nnunet import Norm
from maskmed_nnu.nnunet.plans_handling.settings.schema import Settings, detail, nested_settings
from maskmed_nnu.nnunet.plans_handling.settings.tables import TABLES
from maskmed_nnu.nnunet.plans_handling.validation import validate_plans
from tests.nnunet.plans_0_1 import network_of, plans_of_version_0_1

EXAMPLES = {
    "maskmed": ("maskmed", {}, None),
    "maskmed, residual": ("maskmed", {"n_conv_per_stage": ..., "n_blocks_per_stage": [1, 3, 4, 6]}, None),
    "iaunet": ("iaunet", {}, None),
    "iaunet, learned queries": ("iaunet", {"queries": "learned"}, {"num_points": None}),
    "iaunet, backbone": ("iaunet", {"backbone": "resnet50", "kernel_sizes": ..., "nonlin": ...}, None),
    "maskattn_unet, labels": ("maskattn_unet_labels", {}, None),
    "maskattn_unet, objects": ("maskattn_unet_objects", {}, None),
    "simple_unet": ("simple_unet", {}, None),
    "simple_unet, esk": ("simple_unet", {"kernel_sizes": ..., "dilation": ..., "operators": ...}, None),
}
"""Name → plans of version 0.1, edits of arch_kwargs (``...``: without that one), another instance_loss."""
VALUES = (True, "3", "no such value", -1, -0.5, 0, 1.5, 7, None, math.inf, [], ["x"], [0], [1.5], [[2]], {})


class Setting(NamedTuple):
    """Where a setting is: plans, section, names from there on; with its declaration."""

    example: str
    section: str
    path: tuple[str, ...]
    owner: type[Settings]

    @property
    def field(self) -> FieldInfo:
        return self.owner.model_fields[self.path[-1]]

    def __str__(self) -> str:
        return f"{self.example}: {'.'.join((self.section, *self.path))}"


def make_plans(example: str) -> tuple[dict, dict]:
    """Legal plans, and the configuration 2d of them."""
    name, edits, loss = EXAMPLES[example]
    plans = plans_of_version_0_1(name)
    configuration = resolve_configuration(plans, "2d")
    kwargs = configuration["architecture"]["arch_kwargs"]
    for key, value in edits.items():
        if value is ...:
            del kwargs[key]
        else:
            kwargs[key] = value
    if example.endswith("esk"):
        configuration["architecture"]["network_class_name"] = simple_unet.ESK_NETWORK
    if loss is not None:
        configuration["instance_loss"] = dict(loss)
    return plans, configuration


def validate(plans: dict, configuration: dict) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        validate_plans(plans, configuration, network_of(configuration))


def section_of(plans: dict, configuration: dict, section: str) -> dict:
    return holder_of(plans, configuration, section)[section]


def holder_of(plans: dict, configuration: dict, section: str) -> dict:
    return {"maskmed_nnu": plans, "arch_kwargs": configuration["architecture"]}.get(section, configuration)


def sections_of(example: str) -> dict[str, type[Settings]]:
    _, configuration = make_plans(example)
    return network_of(configuration).sections(configuration)


def every_setting() -> Iterator[Setting]:
    def within(model: type[Settings], example: str, section: str, path: tuple[str, ...]) -> Iterator[Setting]:
        for name, field in model.model_fields.items():
            yield Setting(example, section, (*path, name), model)
            nested = nested_settings(field)
            if nested is not None:
                yield from within(nested, example, section, (*path, name))

    for example in EXAMPLES:
        for section, model in sections_of(example).items():
            yield from within(model, example, section, ())


def accepts(annotation: Any, value: Any, metadata: tuple = ()) -> bool:
    """What JSON values a type means, said a second time."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return accepts(arguments[0], value, arguments[1:])
    if origin in (Union, UnionType):
        return any(accepts(one, value) for one in arguments)
    if origin is Literal:
        return value in arguments
    if origin is list:
        filled = not any(isinstance(one, MinLen) for one in metadata) or value
        return isinstance(value, list) and bool(filled) and all(accepts(arguments[0], one) for one in value)
    if annotation is NoneType:
        return value is None
    if annotation in (bool, str):
        return isinstance(value, annotation)
    if annotation in (int, float):
        number = isinstance(value, int if annotation is int else (int, float)) and not isinstance(value, bool)
        bounds = {Ge: lambda b: value >= b.ge, Gt: lambda b: value > b.gt, Le: lambda b: value <= b.le}
        return number and math.isfinite(value) and all(bounds[type(b)](b) for b in metadata if type(b) in bounds)
    return isinstance(value, dict)


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_examples_are_legal(example):
    validate(*make_plans(example))


@pytest.mark.parametrize("setting", every_setting(), ids=str)
def test_what_is_illegal_is_refused_in_one_sentence(setting: Setting):
    field, refused = setting.field, 0
    for value in VALUES:
        if accepts(field.annotation, value, tuple(field.metadata)):
            continue
        plans, configuration = make_plans(setting.example)
        owner = section_of(plans, configuration, setting.section)
        for name in setting.path[:-1]:
            owner = owner[name]
        owner[setting.path[-1]] = value
        with pytest.raises(InputError) as caught:
            validate(plans, configuration)
        sentence = str(caught.value)
        name = ".".join((setting.section, *setting.path))
        start = f"The plans {plans['plans_name']} set {name} to {json.dumps(value)}; legal is {legal_values(field)}"
        assert sentence.startswith(start), sentence
        assert f". Correct it in {plans['plans_name']}.json" in sentence
        assert f"-d {plans['dataset_name']} -pl {network_of(configuration).planner}." in sentence
        refused += 1
    assert refused >= 5


# what the edits of an example set decides which other settings are legal
@pytest.mark.parametrize(
    "setting", [one for one in every_setting() if one.path[-1] not in EXAMPLES[one.example][1]], ids=str
)
def test_what_is_missing_takes_its_default_or_is_missed(setting: Setting):
    plans, configuration = make_plans(setting.example)
    owner = section_of(plans, configuration, setting.section)
    for name in setting.path[:-1]:
        owner = owner[name]
    owner.pop(setting.path[-1], None)
    if setting.path == ("fsad", "dim"):
        owner["heads"] = setting.owner.default("heads")  # the example's fit its own width only
    name = ".".join((setting.section, *setting.path))
    network, field = network_of(configuration), setting.field
    if field.is_required():
        with pytest.raises(InputError, match=f"lack '{name}': another version of maskmed_nnu made them. Plan again"):
            validate(plans, configuration)
        return
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        validate_plans(plans, configuration, network)
    if detail(field, "in_plans"):
        default = setting.owner.default(setting.path[-1])
        assert owner[setting.path[-1]] == default
        assert f"{name} ({json.dumps(default)})" in str(said[0].message)
    else:
        assert setting.path[-1] not in owner and not [one for one in said if name in str(one.message)]


@pytest.mark.parametrize("example", EXAMPLES)
def test_what_is_unknown_is_refused_with_the_legal_names(example):
    for section, model in sections_of(example).items():
        plans, configuration = make_plans(example)
        name = list(model.model_fields)[-1]
        section_of(plans, configuration, section)[f"{name}s"] = 1
        with pytest.raises(InputError) as caught:
            validate(plans, configuration)
        sentence = str(caught.value)
        assert f"set {section}.{name}s to 1, but {section}{model.of} has no such setting" in sentence
        assert f"(did you mean {name}?); legal are {', '.join(model.model_fields)}. Correct it in" in sentence


@pytest.mark.parametrize("example", EXAMPLES)
def test_a_section_that_is_none(example):
    for section in sections_of(example):
        plans, configuration = make_plans(example)
        holder = holder_of(plans, configuration, section)
        holder[section] = 3
        with pytest.raises(InputError, match=f"set {section} to 3; legal is an object with "):
            validate(plans, configuration)
        del holder[section]
        if section == "maskmed_nnu" and not example.startswith("maskmed"):
            validate(plans, configuration)
        elif (example, section) != ("maskattn_unet, objects", "instances"):  # else these are plans for labels
            with pytest.raises(InputError, match=f"lack '{section}': another version of maskmed_nnu made them"):
                validate(plans, configuration)


@pytest.mark.parametrize(
    ("example", "section", "edits", "expected"),
    [
        ("maskmed", "arch_kwargs", {"head_heads": 7}, "head_heads to 7; legal is a divisor of head_dim, which is 192"),
        ("maskmed", "arch_kwargs", {"head_levels": [4]}, "one or more of the levels 0 to 3"),
        ("maskmed", "arch_kwargs", {"head_levels": []}, "one or more of the levels 0 to 3"),
        ("maskmed", "arch_kwargs", {"n_stages": 3}, "strides to .*; legal is a list of n_stages entries"),
        ("iaunet", "arch_kwargs", {"heads": 5}, "arch_kwargs.heads to 5; legal is a divisor of width, which is 64"),
        (
            "iaunet",
            "arch_kwargs",
            {"queries": "learned"},
            "heat_weight to 1.0, but instance_loss of learned queries has",
        ),
        ("iaunet", "instances", {"min_fragment": [7, 7]}, r"an entry for each of the thing_classes \[1\]"),
        ("iaunet", "instances", {"layer_classes": [2]}, r"a list of thing_classes, which are \[1\]"),
    ],
)
def test_settings_that_do_not_fit_together(example, section, edits, expected):
    plans, configuration = make_plans(example)
    section_of(plans, configuration, section).update(edits)
    with pytest.raises(InputError, match=expected):
        validate(plans, configuration)


def test_settings_within_settings_that_do_not_fit_together():
    for edits, expected in (
        ({"heads": 5}, "set arch_kwargs.fsad.heads to 5; legal is a divisor of dim, which is 192"),
        ({"query_levels": [3, 4]}, r"set arch_kwargs.fsad.query_levels to \[3, 4\]; legal is .* levels 0 to 3"),
    ):
        plans, configuration = make_plans("maskmed")
        configuration["architecture"]["arch_kwargs"]["fsad"].update(edits)
        with pytest.raises(InputError, match=expected):
            validate(plans, configuration)


def test_a_head_without_queries_needs_no_levels():
    plans, configuration = make_plans("maskmed")
    configuration["architecture"]["arch_kwargs"].update(head="pointwise", head_levels=[], fsad=None)
    validate(plans, configuration)


def test_a_later_version_is_named():
    plans, configuration = make_plans("iaunet")
    plans["maskmed_nnu"]["version"] = "9.1.0"
    configuration["instance_loss"]["boundary_weight"] = 1.0
    with pytest.raises(InputError, match=r"no such setting in this version .* \(version 9.1.0 made the plans\)"):
        validate(plans, configuration)


def test_what_is_completed_reaches_the_plans_themselves():
    """A checkpoint holds them, and a configuration that inherits shares them."""
    plans = plans_of_version_0_1("maskmed")
    plans["configurations"]["3d_cascade_fullres"] = {"inherits_from": "3d_fullres", "previous_stage": "3d_lowres"}
    del plans["configurations"]["3d_fullres"]["set_loss"]["bce_weight"]
    with pytest.warns(UserWarning, match=r"lack set_loss.bce_weight \(1.2\): these defaults are taken"):
        resolved = resolve_configuration(plans, "3d_cascade_fullres")
        validate_plans(plans, resolved, network_of(resolved))
    assert plans == plans_of_version_0_1("maskmed") | {"configurations": plans["configurations"]}
    assert plans["configurations"]["3d_fullres"]["set_loss"]["bce_weight"] == 1.2


def test_defaults_are_legal():
    for sections in TABLES.values():
        for model in sections:
            for name, field in model.model_fields.items():
                if not field.is_required():
                    default = json.loads(json.dumps(model.default(name)))
                    assert accepts(field.annotation, default, tuple(field.metadata)), name


@pytest.mark.parametrize(
    ("built", "models"),
    [
        (MaskMed, (maskmed.PlainMaskMed, maskmed.ResidualMaskMed)),
        (FSADTransformer, (maskmed.FSADSettings,)),
        (IAUNet, (iaunet.PlainIAUNet,)),
        (MaskAttnUNet, (maskattn_unet.MaskAttnUNetKwargs,)),
        (FixedWidthUNet, (simple_unet.SimpleESKNetKwargs,)),
        (SimpleUNet, (simple_unet.SimpleUNetKwargs,)),
        (SetCriterion, (maskmed.SetLossSettings, iaunet.LearnedQueryLoss)),
    ],
    ids=lambda one: getattr(one, "__name__", ""),
)
def test_every_argument_is_declared_and_what_planners_leave_out_has_the_same_default(built, models):
    given = {"input_channels", "num_classes", "deep_supervision", "plan", "shared_arguments", "self"}
    given |= {"mask_head", "matching", "regions"} if built is SetCriterion else set()
    given |= {"channels", "spatial_dims", "project_first"} if built is FSADTransformer else set()
    arguments = inspect.signature(built.__init__).parameters
    declared = {name: field for model in models for name, field in model.model_fields.items()}
    assert set(arguments) - given <= set(declared)
    for name, field in declared.items():
        if not field.is_required() and not detail(field, "in_plans") and name in arguments:
            default, ours = arguments[name].default, field.default
            assert default == (tuple(ours) if isinstance(ours, list) else ours), name


@pytest.mark.parametrize(
    ("criterion", "declared"),
    [(SetCriterion, maskmed.MatchingWeights), (SetCriterion, SampledPoints), (LocationCriterion, iaunet.QueryTerms)],
)
def test_a_criterion_used_alone_has_the_defaults_of_the_plans(criterion, declared):
    arguments = inspect.signature(criterion.__init__).parameters
    constant = {name: field.default for name, field in declared.model_fields.items() if not field.is_required()}
    assert constant == {name: arguments[name].default for name in constant}


def test_instance_norm_of_small_batches_is_affine():
    assert Norm.default("norm_op_kwargs")["affine"] is True


def test_planners_get_what_they_chose_among_the_constants_in_order():
    planned = iaunet.LearnedQueryLoss.plan(num_points=7, semantic_weight=0.5)
    assert list(planned) == [*maskmed.MatchingWeights.model_fields, *list(planned)[4:]]
    assert planned["num_points"] == 7 and planned["semantic_weight"] == 0.5 and "importance_ratio" not in planned
    first = simple_unet.SimpleUNetTraining.plan()
    first["learning_rate"] = 1.0
    assert simple_unet.SimpleUNetTraining.plan() != first
    fresh = Norm.default("norm_op_kwargs")
    fresh["affine"] = False
    assert copy.deepcopy(Norm.default("norm_op_kwargs"))["affine"] is True
