"""The diagrams of the documentation are those that their script draws."""

from __future__ import annotations

import pytest

from benchmarks.diagrams import FOLDER, WIDTH, files


@pytest.mark.parametrize(("name", "text"), files().items())
def test_diagram_is_up_to_date(name, text):
    assert (FOLDER / name).read_text(encoding="utf-8") == text, "run python benchmarks/diagrams.py"
    assert f'viewBox="0 0 {WIDTH} ' in text and "prefers-color-scheme:dark" in text and len(text) < 12_000
