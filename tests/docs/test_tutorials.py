"""Every tutorial works from an empty folder, its blocks run in their order."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.blocks import ROOT, script

TUTORIALS = sorted((ROOT / "docs" / "tutorials").glob("*.md"))
NNUNET = ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")


@pytest.mark.docs
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.stem)
def test_tutorial(page: Path, tmp_path: Path) -> None:
    if page.stem == "backbone":
        _needs_timm()
    environment = {name: value for name, value in os.environ.items() if name not in NNUNET}
    environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), environment["PATH"]])
    environment |= {"PYTHONPATH": str(ROOT), "MPLBACKEND": "agg"}
    file = tmp_path / "tutorial.sh"
    file.write_text(script(page.read_text(encoding="utf-8")), encoding="utf-8")
    folder = tmp_path / "empty"
    folder.mkdir()
    done = subprocess.run(["bash", str(file)], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"


def _needs_timm() -> None:
    try:
        import timm  # noqa: F401
    except (ImportError, RuntimeError) as error:  # torchvision raises the latter beside a torch of another build
        pytest.skip(f"timm cannot be imported: {error}")
