"""One fault is a sentence, several are a table that can be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from maskmed_nnu.errors import InputError
from maskmed_nnu.nnunet.preflight.faults import MAX_ROWS, Fault, report, table

ONE = Fault("imagesTr", "2 files without a channel's number: a.png, b.png", "rename a.png to a_0000.png", Path("/d"))
OTHER = Fault("-device", "torch 2 sees no GPU here", "add -device cpu")


def test_one_fault_is_one_sentence():
    with pytest.raises(InputError) as caught:
        report([ONE], command="The planning")
    expected = "/d/imagesTr: 2 files without a channel's number: a.png, b.png; rename a.png to a_0000.png."
    assert str(caught.value) == expected


def test_several_are_a_table_with_a_cure_for_each():
    with pytest.raises(InputError) as caught:
        report([ONE, OTHER], command="The planning")
    lines = str(caught.value).splitlines()
    assert lines[0] == "The planning was not started, for 2 reasons:"
    assert lines[2].split("  ")[0] == "where" and lines[2].endswith("what to do")
    assert lines.index("in /d/") > next(i for i, line in enumerate(lines) if line.startswith("-device"))
    words = " ".join(" ".join(lines).split())
    assert "2 files without a channel's number: rename a.png to" in words and "add -device cpu" in words


def test_the_table_fits_into_100_columns_and_20_rows():
    faults = [ONE._replace(where=f"file {i}", what="word " * 40, cure="cure " * 40) for i in range(MAX_ROWS + 1)]
    lines = table(faults).splitlines()
    assert max(map(len, lines)) <= 100
    assert sum(line.startswith("file ") for line in lines) + 1 == MAX_ROWS and lines[-1] == "and 2 more"
    assert not table(faults[:MAX_ROWS]).endswith("more")


def test_notes_are_printed_and_refuse_nothing(capsys):
    report([ONE._replace(note=True)], command="The planning")
    assert capsys.readouterr().out == f"Note: {ONE.sentence}\n"
