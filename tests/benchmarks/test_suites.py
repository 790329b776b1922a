"""Every suite runs in tiny sizes; its JSON has times, ratios beside the peer, and costs."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.harness import command, quick
from benchmarks.suites import instances, loss, peers, predict, startup, step
from tests.nnunet.tiny_models import tiny_model


@pytest.fixture
def run(tmp_path, capsys):
    """``run(suite, *options)``: the cases of its JSON by name, and what it printed."""
    threads = torch.get_num_threads()

    def run_suite(*argv: str) -> tuple[dict[str, dict], str]:
        file = tmp_path / "report.json"
        command.main([*argv, "--smoke", "--repeats", "1", "--json", str(file)])
        report = json.loads(file.read_text())
        assert report["machine"]["threads"] == 1 and report["machine"]["torch"] == torch.__version__
        cases = {case["case"]: case for case in report["cases"]}
        printed = capsys.readouterr().out
        for case in cases.values():
            assert f"### {case['title']}" in printed
            for row in case["methods"]:
                assert row["seconds"]["median"] > 0 and len(row["seconds"]["samples"]) == 1
        return cases, printed

    yield run_suite
    torch.set_num_threads(threads)


def rows_of(case: dict) -> dict[str, dict]:
    return {row["name"]: row for row in case["methods"]}


def check_theory(row: dict) -> None:
    assert row["multiplications"] > 0 and row["moved_bytes"] > 0 and row["peak_bytes"] > 0
    assert row["least_seconds"] > 0 and row["reached"] > 0


@pytest.mark.slow
def test_steps_of_maskmed_beside_nnunet(run):
    cases, printed = run("step", "--cases", "hippocampus", "full", "--set", "num_queries=16")
    assert list(cases) == list(step.CASES)
    for case in cases.values():
        rows = rows_of(case)
        assert list(rows) == ["nnU-Net", "MaskMed, num_queries=16"] and case["peer"] == "nnU-Net"
        assert case["unit"] == "step" and rows["nnU-Net"]["ratio"] == 1.0 and case["clock"] == "cpu_seconds"
        expected = rows["MaskMed, num_queries=16"]["cpu_seconds"]["median"] / rows["nnU-Net"]["cpu_seconds"]["median"]
        assert rows["MaskMed, num_queries=16"]["ratio"] == pytest.approx(expected)
        for row in rows.values():
            check_theory(row)
    assert "GMAC/s in a matrix product" in printed.splitlines()[-1]


@pytest.mark.slow
def test_patches_and_objects_are_predicted(run):
    cases, _ = run("predict", "--cases", "hippocampus", "full", "objects")
    assert list(rows_of(cases["full"])) == ["nnU-Net", "MaskMed"]
    rows = rows_of(cases["objects"])
    assert list(rows) == ["nnU-Net", "IAUNet (nuclei)", "MaskAttn-UNet"] and cases["objects"]["unit"] == "image"
    for case in cases.values():
        assert case["peer"] == "nnU-Net"
        for row in case["methods"]:
            check_theory(row)


def test_maskattn_unet_has_objects_to_find():
    network, _ = predict._planned_maskattn(32, 3, small=True)
    ids = torch.zeros(1, 1, 32, 32)
    ids[..., 2:10, 2:10], ids[..., 2:10, 10:20], ids[..., 20:30, 20:30] = 1, 2, 3
    (tile,) = network.eval().predict_instances(ids)
    found = np.array(sorted(tile.boxes.tolist()))
    np.testing.assert_allclose(found, [[2, 2, 10, 10], [2, 10, 10, 20], [20, 20, 30, 30]], atol=1)  # soft borders


def test_class_maps_are_evaluated_beside_monai(run):
    cases, _ = run("predict", "--cases", "evaluation")
    assert list(rows_of(cases["evaluation"])) == ["reading and MONAI's distances", "evaluation"]
    assert cases["evaluation"]["clock"] == "seconds"


def test_a_trained_model_in_onnxruntime(run, tmp_path):
    folder, image = tiny_model(tmp_path / "model", "SimpleUNet"), tmp_path / "image.png"
    Image.fromarray(np.random.default_rng(0).integers(256, size=(40, 45), dtype=np.uint8)).save(image)
    cases, _ = run("predict", "--cases", "model", "--model", str(folder), "--image", str(image))
    rows = rows_of(cases["model"])
    assert list(rows) == ["PyTorch", "onnxruntime"]
    assert rows["PyTorch"]["notes"]["largest difference"] < 1e-3
    assert float(rows["PyTorch"]["notes"]["same labels"].rstrip("%")) > 99.9


@pytest.mark.slow
def test_formulations_of_deformable_attention(run):
    cases, _ = run("op")
    rows = rows_of(cases["fsad"])
    peer = rows["project every level first"]
    assert cases["fsad"]["unit"] == "pass"
    assert peer["allocated_ratio"] == peer["peak_ratio"] == 1.0
    assert rows["ours"]["allocated_bytes"] < peer["allocated_bytes"] and rows["ours"]["peak_ratio"] < 1
    for row in rows.values():
        check_theory(row)


@pytest.mark.slow
@pytest.mark.parametrize("dims", ["2", "3"])
def test_the_loss_of_many_objects(run, dims):
    cases, _ = run("loss", "--cases", "objects", "--dims", dims)
    assert list(rows_of(cases["objects"])) == ["2 objects", "6 objects"] and cases["objects"]["peer"] == "2 objects"


@pytest.mark.slow
def test_matching_beside_the_step_and_mask2former(run, torchvision_ops):
    pytest.importorskip("transformers")
    cases, _ = run("loss", "--cases", "matching")
    case = cases["matching"]
    rows = rows_of(case)
    assert case["left_out"] == [] and set(loss.CASES) == {"objects", "matching"}
    assert case["peer"] == "a step of IAUNet as published" and len(rows) == 3
    assert rows["of it, matching and loss"]["multiplications"] < rows[case["peer"]]["multiplications"]
    assert rows["of it, matching and loss"]["notes"]["layers"] == 9


@pytest.mark.slow
def test_objects_in_volumes_stitching_and_metrics(run):
    cases, printed = run("instances", "--times", "1", "2")
    assert list(cases) == list(instances.CASES)
    assert list(rows_of(cases["volume"])) == ["nnU-Net", "IAUNet"]
    stitched = rows_of(cases["stitching"])
    assert [row["notes"]["objects"] for row in stitched.values()] == [20, 40]
    assert "tiles" in printed
    assert cases["metrics"]["peer"] == "pycocotools, AP" and len(rows_of(cases["metrics"])) == 4


def test_masked_attention_beside_its_formula(run):
    cases, _ = run("attention")
    rows = rows_of(cases["masked"])
    assert rows["ours"]["peak_bytes"] < rows["softmax written out"]["peak_bytes"]


@pytest.mark.slow
def test_networks_beside_other_peoples(run, torchvision_ops):
    pytest.importorskip("transformers")
    cases, _ = run("peers")
    assert list(cases) == list(peers.CASES)
    assert list(rows_of(cases["mask2former"])) == [
        "Mask2Former, ResNet-50 (transformers)",
        "IAUNet as published",
        "IAUNet as planned",
    ]
    rows = rows_of(cases["simple_unet"])
    assert list(rows) == [
        "nnU-Net",
        "nnU-Net, onnxruntime",
        "SimpleUNet of width 16",
        "SimpleUNet of width 16, onnxruntime",
    ]
    assert rows["SimpleUNet of width 16"]["parameters"] < 20_000
    for case in cases.values():
        assert case["unit"] == "image" and case["methods"][0]["ratio"] == 1.0


def test_the_check_before_planning(run, nnunet_env, monkeypatch):
    cases, _ = run("startup", "--cases", "check")
    assert len(rows_of(cases["check"])) == 3 and cases["check"]["unit"] == "data set"


def test_interpreters_start_with_and_without_the_hook(run, monkeypatch):
    compiled = []
    real = startup.subprocess.run
    skip = lambda command, **options: compiled.append(1) if "compileall" in command else real(command, **options)  # noqa: E731
    monkeypatch.setattr(startup.subprocess, "run", skip)  # the slowest part
    cases, _ = run("startup", "--cases", "hook")
    assert list(rows_of(cases["hook"])) == ["without", "with hook", "switched off", "without again"]
    assert cases["hook"]["clock"] == "seconds" and compiled == [1]


def test_a_process_of_its_own_tells_its_size(run, monkeypatch, capsys):
    """It would import torch again, so that it is this one here."""

    def here(command_line, **_):
        command.main(command_line[3:])
        return SimpleNamespace(returncode=0, stdout=capsys.readouterr().out)

    monkeypatch.setattr(command.subprocess, "run", here)
    cases, printed = run("attention", "--resident", "--methods", "ours")
    (row,) = cases["masked"]["methods"]
    assert row["resident_bytes"] >= row["resident_before_bytes"] > 2**20
    assert "process at its peak" in printed


def test_quick_gathers_what_its_runs_say(tmp_path, monkeypatch, capfd):
    def here(command_line, **_):
        command.main(command_line[3:])
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(command.subprocess, "run", here)
    monkeypatch.setattr(quick, "RUNS", ("op --methods ours", "attention --methods ours"))
    command.main(["quick", "--smoke", "--repeats", "1", "--json", str(tmp_path / "all.json")])
    report = json.loads((tmp_path / "all.json").read_text())
    assert [case["suite"] for case in report["cases"]] == ["op", "attention"]
    assert "## python -m benchmarks op --methods ours --device cpu --threads 1" in capfd.readouterr().out


def test_quick_runs_have_options_that_their_suites_know(monkeypatch):
    """Each of `quick.RUNS` ends with its own usage error where an option is wrong."""
    suites = []
    for words in quick.RUNS:
        name, *argv = words.split()
        suite = __import__(f"benchmarks.suites.{name}", fromlist=["CASES"])
        parser = command._suite_parser(name, suite)
        parser.parse_args([*argv, "--threads", "2"])
        suites.append(name)
    assert list(dict.fromkeys(suites)) == list(command.SUITES)
