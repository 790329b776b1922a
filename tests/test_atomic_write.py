"""Files that are complete under their name or not there at all."""

from __future__ import annotations

import errno
import signal
import sys

import pytest

from maskmed_nnu.atomic_write import files_atomically, remove_partial, write_atomically
from maskmed_nnu.signals import Interrupted, raising


def test_writers_of_one_file_do_not_meet(tmp_path):
    """Process numbers are no names: other machines and containers have the same ones."""
    path = tmp_path / "a.txt"

    def write(partial):
        partial.write_text("mine")
        write_atomically(path, lambda other: other.write_text("other"))
        assert path.read_text() == "other"

    write_atomically(path, write)
    assert path.read_text() == "mine" and list(tmp_path.iterdir()) == [path]


def test_a_signal_waits_until_the_file_is_written(tmp_path):
    def write(partial):
        signal.raise_signal(signal.SIGTERM)
        partial.write_text("whole")

    with pytest.raises(Interrupted), raising():
        write_atomically(tmp_path / "a.txt", write, durable=True)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["whole"]


def test_several_files_come_together_or_not_at_all(tmp_path):
    with files_atomically(tmp_path / "case.nii.gz") as folder:
        (folder / "case.nii.gz").write_text("labels")
        (folder / "case.npz").write_text("probabilities")
        assert not (tmp_path / "case.nii.gz").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["case.nii.gz", "case.npz"]
    with pytest.raises(Interrupted), raising(), files_atomically(tmp_path / "case.nii.gz") as folder:
        (folder / "case.nii.gz").write_text("half")
        signal.raise_signal(signal.SIGTERM)
    assert (tmp_path / "case.nii.gz").read_text() == "labels" and len(list(tmp_path.iterdir())) == 2
    for name, told in (("case.pkl", "case.pkl"), (None, "case.nii.gz")):
        with pytest.raises(OSError, match="full") as caught, files_atomically(tmp_path / "case.nii.gz") as folder:
            raise OSError(errno.ENOSPC, "full", *([str(folder / name)] if name else []))
        assert caught.value.filename == str(tmp_path / told)


def test_what_a_library_says_to_a_full_disk_is_not_said_beside_the_sentence(tmp_path, monkeypatch, capfd):
    class File:
        def __init__(self, number: int) -> None:
            self.number = number

        def __del__(self) -> None:
            raise OSError(self.number, "No space left on device")

    def write(partial):
        File(errno.EIO)
        File(errno.ENOSPC)
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(sys, "unraisablehook", sys.__unraisablehook__)
    for _ in range(2):
        with pytest.raises(OSError, match="full"):
            write_atomically(tmp_path / "a", write)
    said = capfd.readouterr().err
    assert said.count("Errno 28") == 1 and said.count("Errno 5") == 2


def test_what_a_killed_process_left_is_removed(tmp_path):
    (tmp_path / ".1.partial.a").write_text("half")
    (tmp_path / ".2.partial.b").mkdir()
    (tmp_path / ".2.partial.b" / "b").write_text("half")
    (tmp_path / ".3.partial.c").write_text("another's")
    remove_partial({tmp_path / "a", tmp_path / "b"})
    assert [path.name for path in tmp_path.iterdir()] == [".3.partial.c"]
