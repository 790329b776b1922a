from __future__ import annotations

import pytest
from methods import Method


def test_a_method_of_the_benchmarks_own_may_override_the_mirroring():
    method = Method.parse("not mirrored=benchmark:adamw_mirror_aware::mirroring.axes=[],mirroring.swap={}")
    assert (method.trainer, method.planner) == ("benchmark:adamw_mirror_aware", "ExperimentPlanner")
    assert method.overrides == {"mirroring.axes": [], "mirroring.swap": {}}


@pytest.mark.parametrize(
    ("text", "trainer", "planner", "overrides"),
    [
        ("a=benchmark:adamw", "benchmark:adamw", "ExperimentPlanner", {}),
        ("a=nnUNetTrainer", "nnUNetTrainer", "ExperimentPlanner", {}),
        ("a=T:P:loss.w=0.5,x=[3, 2]", "T", "P", {"loss.w": 0.5, "x": [3, 2]}),
        ('a=T:P:mirroring.swap={"2": [[1, 2], [3, 4]]}', "T", "P", {"mirroring.swap": {"2": [[1, 2], [3, 4]]}}),
    ],
)
def test_methods(text, trainer, planner, overrides):
    method = Method.parse(text)
    assert (method.trainer, method.planner, method.overrides) == (trainer, planner, overrides)


def test_an_unknown_method_of_the_benchmarks_is_one_sentence():
    with pytest.raises(SystemExit, match="benchmark:adam'"):
        Method.parse("a=benchmark:adam")
