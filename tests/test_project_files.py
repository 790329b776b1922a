"""Version and wheel: what is released is one version, and it installs and runs in a clean environment."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest
import yaml


def declared_version(checkout: Path) -> str:
    return re.search(r'^version = "(.+)"$', (checkout / "pyproject.toml").read_text(), re.MULTILINE)[1]


def test_all_files_name_the_same_version(checkout):
    version = declared_version(checkout)
    citation = yaml.safe_load((checkout / "CITATION.cff").read_text())
    newest = re.search(r"^## (\S+)", (checkout / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert (citation["version"], newest[1]) == (version, version)


def test_citation_and_issue_forms_have_what_their_readers_need(checkout):
    citation = yaml.safe_load((checkout / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert citation["license"] == re.search(r'^license = "(.+)"$', (checkout / "pyproject.toml").read_text(), re.M)[1]
    forms = sorted((checkout / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
    for form in (form for form in forms if form.name != "config.yml"):
        content = yaml.safe_load(form.read_text())
        assert {"name", "description", "body"} <= set(content)
        assert all("id" in field and "label" in field["attributes"] for field in content["body"])


@pytest.mark.slow
def test_wheel_installs_and_runs_in_a_clean_environment(checkout, tmp_path):
    """The package comes from the wheel alone; its dependencies are those of this environment, found after it."""
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path, checkout]
    subprocess.run(build, check=True, capture_output=True, timeout=300)
    (wheel,) = tmp_path.glob("*.whl")
    venv.create(tmp_path / "env", with_pip=True, symlinks=True)
    bin_folder = tmp_path / "env" / "bin"
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}

    def run(*command: str | Path) -> str:
        done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    run(bin_folder / "python", "-m", "pip", "install", "--no-deps", "--no-index", wheel)
    imported = "import maskmed_nnu; print(maskmed_nnu.__version__, maskmed_nnu.__file__)"
    version, file = run(bin_folder / "python", "-I", "-c", imported).split()
    assert version == declared_version(checkout)
    assert Path(file).is_relative_to(tmp_path)
    packages = run(bin_folder / "python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))")
    # a line of a .pth file is appended to the path, and .pth files in that folder are not read
    Path(packages, "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    assert run(bin_folder / "maskmed", "--version") == f"maskmed {version}"
    assert "nuclei" in run(bin_folder / "maskmed", "predict", "--help")
    found = "from maskmed_nnu.nnunet.discovery.names import NAMES; print(len(NAMES['trainer']))"
    assert int(run(bin_folder / "python", "-I", "-c", found)) > 5
