"""What commands show is plain where nobody looks at a terminal, and never swallows or wraps a file's name."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from maskmed_nnu.cli import console
from maskmed_nnu.progress import Progress

LONG = "/data/" + "long folder/" * 30 + "[red]a[/red] :smile: [1].tif"


def test_a_table_is_markdown_with_whole_names(capsys):
    console.print_table(["case", "Dice"], [[LONG, "0.9"], ["b", "–"]])
    lines = [line.strip() for line in capsys.readouterr().out.strip().splitlines()]
    assert lines[1].startswith("|--") and lines[2].startswith(f"| {LONG} |") and lines[2].endswith("  0.9 |")
    assert "\x1b" not in "".join(lines)


def test_warnings_and_progress_leave_stdout_alone(capsys):
    console.warn(f"{LONG} is odd.")
    with console.progress() as report:
        report(Progress("reading", 1, 2, "[a]"))
        report(Progress("reading", 2, 2, LONG))
    printed = capsys.readouterr()
    assert not printed.out and f"{LONG} is odd.\n" in printed.err
    assert "2/2" in printed.err and "\x1b" not in printed.err


def test_json_is_one_legal_object(capsys):
    content = {
        "mean": float("nan"),
        2: [np.float32(np.inf), np.float32(0.5), np.int64(3)],
        "shape": (4, 5),
        "array": np.arange(2),
    }
    console.print_json({**content, "path": Path(LONG)})
    expected = {"mean": None, "2": [None, 0.5, 3], "shape": [4, 5], "array": [0, 1], "path": LONG}
    assert json.loads(capsys.readouterr().out) == expected


def test_a_closed_pipe_is_told_to_the_caller(monkeypatch):
    class Closed:
        encoding = "utf-8"

        def isatty(self) -> bool:
            return False

        def write(self, text: str) -> None:
            raise BrokenPipeError

        def flush(self) -> None:
            raise BrokenPipeError

    monkeypatch.setattr("sys.stdout", Closed())
    with pytest.raises(BrokenPipeError):
        console.print_table(["a"], [["b"]])
