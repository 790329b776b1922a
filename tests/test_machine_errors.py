"""Failures of the machine are one sentence that names the path, the cause and the cure."""

from __future__ import annotations

import doctest
import errno
import os
from pathlib import Path

import pytest

from maskmed_nnu import atomic_write, machine_errors
from maskmed_nnu.atomic_write import write_atomically
from maskmed_nnu.cli import convert
from maskmed_nnu.cli.main import main


def oserror(number: int, *more: object) -> OSError:
    return OSError(number, os.strerror(number), *more)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (oserror(errno.EACCES, "/x/a.png"), "/x/a.png cannot be used: permission to use it is missing"),
        (oserror(errno.ENOSPC, "/x/.12.partial.a.png"), "/x/a.png cannot be used: the disk is full"),
        (oserror(errno.ENOSPC), "A file cannot be used: the disk is full"),
        (oserror(errno.ENOTDIR, "/x/file/a"), "/x/file/a cannot be used: it lies below a file"),
        (oserror(errno.EEXIST, "/x/file"), "/x/file cannot be used: it is a file, where a folder is needed"),
        (oserror(errno.EROFS, "/x"), "/x cannot be used: that disk can only be read"),
        (oserror(errno.ENOENT, "/x/gone"), "/x/gone cannot be used: it, or the folder it should lie in, does not"),
        (oserror(errno.EIO, "/x"), "/x cannot be used: the drive does not answer"),
        (oserror(errno.ESTALE, "/x"), "the drive does not answer; check the disk or the network"),
        (oserror(errno.EXDEV, "/a", None, "/b"), "/b cannot be read or written (Invalid cross-device link)"),
        (OSError("encoder error -2"), "A file cannot be read or written (encoder error -2); check the disk"),
        (MemoryError(), "Memory is used up; close other programs"),
        (MemoryError("Unable to allocate 9 GiB"), "Memory is used up (Unable to allocate 9 GiB); close"),
    ],
)
def test_each_cause_is_told_in_one_sentence(error, said, monkeypatch, capsys):
    def fail() -> None:
        raise error

    monkeypatch.setattr(convert, "run", fail)
    assert main(["convert"]) == 1
    printed = capsys.readouterr().err.strip()
    assert printed.startswith("maskmed: ") and said in printed and "\n" not in printed


def test_a_pipe_that_closes_is_no_error(monkeypatch, capfd):
    def fail() -> None:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    monkeypatch.setattr(convert, "run", fail)
    monkeypatch.setattr("os.dup2", lambda *_: None)
    assert main(["convert"]) == 141
    assert capfd.readouterr() == ("", "")


def test_a_write_that_fails_names_its_file_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fill(partial: Path) -> None:
        partial.write_text("half")
        raise failure

    path = tmp_path / "a.txt"
    failure: Exception = oserror(errno.ENOSPC)
    with pytest.raises(OSError, match="No space left") as caught:
        write_atomically(path, fill)
    assert caught.value.filename == str(path) and not list(tmp_path.iterdir())
    failure = RuntimeError("ITK says nothing of space")
    with pytest.raises(RuntimeError, match="ITK"):
        write_atomically(path, fill)
    monkeypatch.setattr(atomic_write, "LITTLE_SPACE", 2**80)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, fill)
    with pytest.raises(FileNotFoundError):
        write_atomically(tmp_path / "gone" / "a.txt", lambda partial: None)


def test_the_example():
    assert doctest.testmod(machine_errors).failed == 0


def test_a_reason_of_its_own_is_kept_where_no_file_is_named():
    told = machine_errors.explain(FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']"))
    assert "(No usable temporary directory found in ['/tmp'])" in told
