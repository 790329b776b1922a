"""Failures of the machine are one sentence that names the path, the cause and the cure."""

from __future__ import annotations

import doctest
import errno
import os
import pickle
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from maskmed_nnu import machine_errors
from maskmed_nnu.atomic_write import write_atomically
from maskmed_nnu.cli import convert
from maskmed_nnu.cli.main import main


def oserror(number: int, *more: object) -> OSError:
    return OSError(number, os.strerror(number), *more)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (oserror(errno.EACCES, "/x/a.png"), "/x/a.png cannot be used: there is no permission to use it"),
        (oserror(errno.ENOSPC, "/x/.12.partial.a.png"), "/x/a.png cannot be used: the disk is full"),
        (oserror(errno.ENOSPC), "A file cannot be used: the disk is full"),
        (oserror(errno.ENOTDIR, "/x/file/a"), "/x/file/a cannot be used: it is below a file"),
        (oserror(errno.EEXIST, "/x/file"), "/x/file cannot be used: it is a file, where a folder is needed"),
        (oserror(errno.EROFS, "/x"), "/x cannot be used: that disk is read-only"),
        (oserror(errno.ENOENT, "/x/gone"), "/x/gone cannot be used: it, or its folder, does not"),
        (oserror(errno.EIO, "/x"), "/x cannot be used: the disk does not respond"),
        (oserror(errno.ESTALE, "/x"), "the disk does not respond; check the disk or the network"),
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


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """A disk that is full, as far as a process without rights can have one."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_write_that_fails_names_its_file_and_leaves_nothing(tmp_path: Path) -> None:
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
    with files_of_at_most(1000), pytest.raises(OSError, match="File too large"):
        write_atomically(path, fill)
    with pytest.raises(FileNotFoundError):
        write_atomically(tmp_path / "gone" / "a.txt", lambda partial: None)


@pytest.mark.parametrize(
    ("before", "left"), [(None, "no part of it is left"), ("old", "the file that was there before")]
)
def test_a_file_that_did_not_fit_tells_how_much_was_needed_and_what_is_left(tmp_path, before, left):
    path = tmp_path / "a.bin"
    if before is not None:
        path.write_text(before)
    for needed, size in ((None, "more than 300.0 kB"), (5_000_000, "5.0 MB")):
        with files_of_at_most(300_000), pytest.raises(OSError, match="File too large") as caught:
            write_atomically(path, lambda partial: partial.write_bytes(bytes(10**6)), needed=needed)
        told = machine_errors.explain(pickle.loads(pickle.dumps(caught.value)))  # as it comes from a worker
        assert (
            told.startswith(f"{path} cannot be used: it is larger than the largest file on that disk") and left in told
        )
        assert f"({size} are needed" in told
    assert [file.read_text() for file in tmp_path.iterdir()] == ([before] if before else [])


def test_the_example():
    assert doctest.testmod(machine_errors).failed == 0


def test_a_reason_of_its_own_is_kept_where_no_file_is_named():
    told = machine_errors.explain(FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']"))
    assert "(No usable temporary directory found in ['/tmp'])" in told
