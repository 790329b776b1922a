"""Paths of the repository that its documents name exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(path.relative_to(ROOT).as_posix() for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")))
PATH = re.compile(r"`((?:maskmed_nnu|tests|benchmarks|docs|planners|trainers)/[\w./-]+)`")


@pytest.mark.parametrize("page", [*PAGES, "benchmarks/README.md"])
def test_paths_in_documents_exist(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    paths = {path.partition("::")[0] for path in PATH.findall(text)}
    missing = [path for path in paths if "NAME" not in path and "NETWORK" not in path and not (ROOT / path).exists()]
    assert not missing
    links = {link for link in re.findall(r"\]\((?!http)([^)#]+)", text) if link}
    assert not [link for link in links if not ((ROOT / page).parent / link).exists()]


def test_contributing_names_rooms_that_exist():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    table = text.split("## I want to add")[1].split("## How nnU-Net finds")[0]
    paths = {path for path in re.findall(r"`([a-z_]+/[\w./]+)`", table) if "NAME" not in path and "NETWORK" not in path}
    assert len(paths) > 10
    assert not [path for path in paths if not ((ROOT / "maskmed_nnu" / path).exists() or (ROOT / path).exists())]
