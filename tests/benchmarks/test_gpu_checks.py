"""The checks of a GPU, tried on the CPU at toy size, as on a machine that lacks all packages but torch's."""

from __future__ import annotations

import json
import os
import sys
import sysconfig
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.gpu import carry
from benchmarks.gpu.cases import TINY_3D, every_network
from benchmarks.gpu.correctness import differences
from benchmarks.gpu.run import Report, Run, run_group
from benchmarks.gpu.training import Cases, Sampler

BARE = {
    "torch", "torchgen", "functorch", "numpy", "scipy", "sympy", "mpmath", "networkx", "jinja2", "markupsafe", "triton",
    "filelock", "fsspec", "packaging", "typing_extensions", "psutil", "setuptools", "yaml", "_distutils_hack",
}  # fmt: skip
"""What comes with torch, and SciPy."""
SCRIPT = """
import runpy, sys
from importlib.machinery import PathFinder
class Bare(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if path is None and name in {missing!r} else super().find_spec(name, path, target)
sys.meta_path = [Bare if finder is PathFinder else finder for finder in sys.meta_path]
sys.argv = ["gpu", "--smoke", "--out", {out!r}]
runpy.run_module("benchmarks.gpu", run_name="__main__", alter_sys=True)
"""


@pytest.mark.slow
def test_every_check_runs_on_a_bare_machine_and_finds_nothing_wrong(run_python, checkout, tmp_path):
    carried = {name.replace("-", "_") for name in (*carry.COPIED, *carry.WHEELS)}
    installed = {path.name.split(".")[0] for path in Path(sysconfig.get_path("purelib")).iterdir()}
    missing = {name for name in installed if not name.startswith("_")} - BARE - carried - sys.stdlib_module_names
    assert {"SimpleITK", "batchgenerators", "nibabel"} <= missing
    script = SCRIPT.format(missing=missing - {"maskmed_nnu"}, out=str(tmp_path))
    done = run_python(script, PYTHONPATH=str(checkout))
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    findings = json.loads((tmp_path / "gpu_check.json").read_text())
    checks = [finding["check"] for finding in findings]
    for case in every_network(tiny=True):
        assert {f"{case.name} as on the CPU", f"{case.name} learns in bfloat16"} <= set(checks)
    assert {"MaskMed 2D compiled", "compiled step of MaskMed 3D, tiny", "training of MaskMed 3D"} <= set(checks)
    assert not [finding for finding in findings if "skipped" in finding or finding.get("ok") is False]
    assert done.stdout.count("\n| ") == len(checks) + 2


def test_what_is_wrong_is_named_and_the_other_checks_go_on(tmp_path, capsys):
    def group(run: Run) -> None:
        run.check("good", lambda: {"ok": True, "number": 1 / 3})
        run.check("broken", lambda: {}["nothing"])
        run.check("endless", lambda: {"number": float("nan")}, needs=1e9)

    report = Report(tmp_path / "found.json")
    run_group(group, Run(torch.device("cpu"), False, deadline=_seconds_from_now(60)), report)
    assert report.failed == ["broken"]
    assert [finding["check"] for finding in json.loads(report.file.read_text())] == ["good", "broken", "endless"]
    assert "skipped" in report.table() and "number 0.333" in report.table()


def test_a_group_that_hangs_or_dies_is_told(tmp_path):
    def hangs(run: Run) -> None:
        run.check("first", dict, needs=0)
        time.sleep(60)

    def dies(run: Run) -> None:
        os._exit(3)

    report = Report(tmp_path / "found.json")
    run_group(hangs, Run(torch.device("cpu"), False, deadline=_seconds_from_now(4)), report)
    run_group(dies, Run(torch.device("cpu"), False, deadline=_seconds_from_now(60)), report)
    assert [finding["check"] for finding in report.findings] == ["first", "hangs", "dies"]
    assert report.failed == ["dies"] and "stopped" in report.table()


def test_a_wrong_gradient_is_not_ok():
    right = torch.tensor(1.0), torch.ones(5), [torch.eye(3)[None]]
    assert differences(right, right)["ok"]
    assert not differences(right, (right[0], torch.ones(5) * 1.05, right[2]))["ok"]
    assert not differences(right, (right[0], right[1], [torch.eye(3)[None] + 0.1]))["ok"]
    assert not differences(right, (right[0] * float("nan"), right[1], right[2]))["ok"]


def test_cases_are_sampled_where_their_labels_are(tmp_path):
    """An image that is its label stays so under the augmentation, but for its edges."""
    label = np.zeros((14, 12, 13), np.uint8)
    label[4:10, 3:9, 4:10] = 1
    arrays = {"image_0": label.astype(np.float16), "label_0": label, "image_1": label, "label_1": label}
    np.savez(tmp_path / "cases.npz", unseen=1, **arrays)
    cases = Cases.load(tmp_path / "cases.npz", torch.device("cpu"))
    assert cases.unseen == 1 and len(cases.images) == 2
    torch.manual_seed(0)
    image, (finest, *_) = Sampler(cases, TINY_3D).batch()
    assert image.shape == finest.shape == (2, 1, *TINY_3D.patch)
    assert finest.unique().tolist() == [0, 1]
    assert image[finest > 0].mean() > image[finest == 0].mean() + 0.5


def test_data_that_is_no_data_set_is_refused(tmp_path):
    with pytest.raises(carry.InputError, match="no dataset.json"):
        carry.preprocess(tmp_path, tmp_path / "x.npz", unseen=1)


def _seconds_from_now(seconds: float) -> float:
    return time.monotonic() + seconds
