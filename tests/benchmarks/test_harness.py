"""The harness of ``python -m benchmarks``: turns, medians, ratios, costs in theory, tables."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

from benchmarks.harness import command, machine, measure, table
from benchmarks.harness.case import Case, Method, MissingError, Run
from benchmarks.harness.cost import Cost, count
from benchmarks.harness.timing import Spread, Times, interleave, turns

CPU = torch.device("cpu")
PATIENT = {"repeats": 1, "warm_up": 0}


def test_methods_take_turns_every_other_time_backwards():
    assert turns(["a", "b", "c"], 3) == [*"abc", *"cba", *"abc"]
    called = []
    calls = {name: lambda name=name: called.append(name) or name.upper() for name in "ab"}
    times, results = interleave(calls, repeats=3, warm_up=1, device=CPU)
    assert "".join(called) == "ab" + "abbaab"
    assert {name: len(taken) for name, taken in times.items()} == {"a": 3, "b": 3}  # the warm-up is not timed
    assert results == {"a": "A", "b": "B"}


def test_a_spread_is_median_and_quartiles():
    assert Spread.of([5.0, 1.0, 2.0, 4.0, 3.0]) == (3.0, 2.0, 4.0, [5.0, 1.0, 2.0, 4.0, 3.0])
    assert Spread.of([1.0, 4.0]).median == 2.5
    assert Spread.of([7.0])[:3] == (7.0, 7.0, 7.0)


def test_multiplications_of_a_step_are_those_of_its_products():
    convolution = nn.Conv2d(3, 5, 3, padding=1, bias=False)
    image = torch.randn(2, 3, 8, 8)
    forward = 2 * 64 * 3 * 5 * 9
    assert count(lambda: convolution(image)).multiplications == forward
    # backward: the gradient of the weights, and none of the image
    assert count(lambda: convolution(image).sum().backward()).multiplications == 2 * forward


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad, torch.enable_grad])
def test_what_comes_whole_under_inference_mode_is_counted_too(mode):
    layer, x = nn.Linear(4, 6), torch.randn(7, 4)
    attention = [torch.randn(1, 2, n, 8) for n in (5, 3, 3)]
    rows, index, weight = torch.randn(10, 4), torch.tensor([[0, 3, 3], [9, 1, 2]]), torch.randn(2, 3)

    def call():
        with mode():
            layer(x)
            nn.functional.scaled_dot_product_attention(*attention)
            nn.functional.embedding_bag(index, rows, mode="sum", per_sample_weights=weight)

    assert count(call).multiplications == 7 * 4 * 6 + 2 * (2 * 5 * 3 * 8) + 6 * 4


def test_bytes_are_what_is_read_and_written():
    x = torch.randn(10, 4)
    assert count(lambda: x.view(4, 10).expand(3, 4, 10)).bytes == 0
    assert count(lambda: x + x).bytes == 3 * 160
    assert count(lambda: torch.empty(1000)).bytes == 0
    many, chosen = torch.randn(1000, 4), torch.tensor([1, 2])
    assert count(lambda: many[chosen]).bytes == 2 * 2 * 16 + 2 * 8  # two rows, and their numbers


def test_peak_memory_is_what_is_alive_at_one_time():
    x = torch.randn(256)

    def call():
        y = x + 1
        z = y * 2
        del y
        return z + 1

    cost = count(call)
    assert (cost.allocated, cost.peak) == (3 * 1024, 2 * 1024)
    assert count(lambda: x.add_(1)).allocated == 0


def test_the_least_time_is_at_one_of_two_limits_operator_by_operator():
    cost = Cost([(200.0, 10.0), (5.0, 40.0)])
    assert cost.least_seconds(multiplications_per_second=100, bytes_per_second=10) == 2.0 + 4.0


def fixed_times(monkeypatch, seconds: dict[str, tuple[float, ...]]) -> None:
    def interleaved(calls, **_):
        taken = {name: [Times(wall, 2 * wall, None) for wall in seconds[name]] for name in calls}
        return taken, {name: call() for name, call in calls.items()}

    monkeypatch.setattr(measure, "interleave", interleaved)


def method(name: str, **settings) -> Method:
    return Method(name, lambda: Run(lambda: name, counted=False, **settings))


def test_ratios_are_of_medians_beside_the_peer_for_each_unit(monkeypatch):
    fixed_times(monkeypatch, {"peer": (2.0, 8.0, 4.0), "ours": (1.0, 1.0, 90.0)})
    methods = [method("ours", parameters=12), method("peer", notes={"encoder": "small"})]
    result = measure.measure(Case("A case", methods, peer="peer", items=2), measure.Settings(CPU))
    ours, peer = result["methods"]
    assert (peer["ratio"], ours["ratio"]) == (1.0, 0.25)
    assert peer["seconds"]["median"] == 2.0 and peer["cpu_seconds"]["median"] == 4.0
    assert peer["seconds"]["samples"] == [1.0, 4.0, 2.0]
    assert ours["parameters"] == 12 and peer["notes"] == {"encoder": "small"}
    assert (result["peer"], result["clock"], result["unit"]) == ("peer", "cpu_seconds", "step")
    json.dumps(result)


def test_how_close_a_measurement_comes_to_theory(monkeypatch):
    fixed_times(monkeypatch, {"ours": (3.0,)})
    monkeypatch.setattr(machine, "limits", lambda *_, **__: machine.Limits(1e9, 5e8, 1e9))
    cost = Cost([(1.2e9, 0.0), (0.0, 3e8)], allocated=50, peak=40)
    torch.set_num_threads(1)
    ready = Method("ours", lambda: Run(lambda: None, cost=cost))
    (row,) = measure.measure(Case("A case", [ready]), measure.Settings(CPU))["methods"]
    assert row["least_seconds"] == pytest.approx(1.5)
    assert row["reached"] == pytest.approx(0.25)  # of 6 s on the processor
    assert row["multiplications_per_second"] == pytest.approx(2e8)
    assert (row["multiplications"], row["moved_bytes"], row["peak_bytes"]) == (1.2e9, 3e8, 40)


def test_what_the_machine_cannot_hold_has_a_cost_but_no_time():
    too_large = Method("large", lambda: Run(None, cost=Cost([(1.0, 1.0)], peak=2**40)))
    case = Case("A case", [too_large, method("small")], peer="large", **PATIENT)
    large, small = measure.measure(case, measure.Settings(CPU, smoke=True))["methods"]
    assert large["peak_bytes"] == 2**40 and "seconds" not in large and large["reached"] is None
    assert small["ratio"] is None and large["peak_ratio"] == 1.0


def test_a_peer_that_is_missing_is_left_out_with_a_sentence():
    def missing() -> Run:
        raise MissingError("It needs package x (pip install x).")

    case = Case("A case", [Method("peer", missing), method("ours")], peer="peer", **PATIENT)
    result = measure.measure(case, measure.Settings(CPU))
    assert result["left_out"] == [{"name": "peer", "reason": "It needs package x (pip install x)."}]
    assert [row["name"] for row in result["methods"]] == ["ours"] and result["peer"] is None
    assert "- peer is left out: It needs package x (pip install x)." in table.case_table(result).splitlines()


def test_methods_that_disagree_end_the_run():
    def check(results) -> None:
        assert results == {"a": "b"}, "not the same"

    with pytest.raises(AssertionError, match="not the same"):
        measure.measure(Case("A case", [method("a")], check=check, **PATIENT), measure.Settings(CPU))


def test_the_table_has_the_columns_that_have_something_to_say(monkeypatch):
    fixed_times(monkeypatch, {"peer": (0.02,), "ours": (0.01,)})
    case = Case("A case", [method("peer"), method("ours", notes={"points": 1234})], peer="peer", unit="image")
    result = measure.measure(case, measure.Settings(CPU))
    lines = table.case_table(result).splitlines()
    assert lines[0] == "### A case"
    assert lines[4:8] == [
        "| method | wall time per image | CPU time per image | ratio |",
        "| --- | --: | --: | --: |",
        "| peer | 20.0 ms | 40.0 ms | 1.00 |",
        "| ours | 10.0 ms | 20.0 ms | 0.50 |",
    ]
    assert lines[-1] == "- ours: points 1,234"


@pytest.mark.parametrize(
    ("value", "text"), [(312.0, "312 s"), (12.34, "12.3 s"), (0.5, "0.500 s"), (0.0123, "12.3 ms"), (4e-5, "0.0400 ms")]
)
def test_seconds_in_words(value, text):
    assert table.seconds(value) == text


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (["steps"], "There is no suite 'steps'; choose one of step, predict"),
        (["op", "--cases", "nothing"], "invalid choice"),
        (["op", "--smoke", "--methods", "theirs"], "--methods 'theirs' is none of 'project every level first'"),
        (["op", "--device", "abacus"], "--device abacus is none of cpu, cuda"),
        (["op", "--threads", "0"], "0 is less than 1"),
        (["step", "--smoke", "--set", "fsad"], "'fsad' is not of the form KEY=JSON"),
    ],
)
def test_what_nobody_can_measure_is_said_in_a_sentence(argv, sentence, capsys):
    with pytest.raises(SystemExit) as stop:
        command.main(argv)
    assert sentence in f"{stop.value} {capsys.readouterr().err}"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_said(capsys):
    with pytest.raises(SystemExit):
        command.main(["op", "--device", "cuda"])
    assert "sees no GPU" in capsys.readouterr().err
