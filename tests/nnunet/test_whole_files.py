"""nnU-Net's small files are whole or not there, however the writing ends."""

from __future__ import annotations

import errno
import json
import pickle
import shutil
from pathlib import Path

import pytest
from batchgenerators.utilities import file_and_folder_operations as stock

from maskmed_nnu.nnunet.whole_files import whole_copies


class Unwritable:
    """Neither JSON nor pickle comes to its end with it."""

    def __reduce__(self) -> object:
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    ("write", "read"), [(stock.save_json, json.loads), (stock.write_json, json.loads), (stock.save_pickle, None)]
)
def test_a_write_that_fails_leaves_the_file_that_was_there(tmp_path: Path, write, read):
    path = tmp_path / "file"
    write({"b": 1, "a": 2}, str(path))
    before = path.read_bytes()
    content = read(before) if read else pickle.loads(before)
    assert content == {"a": 2, "b": 1}
    with pytest.raises((TypeError, OSError)):
        write({"a": [1] * 10_000, "b": Unwritable()}, str(path))
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_options_of_the_writers_are_kept(tmp_path: Path):
    stock.save_json({"b": 1, "a": 2}, str(tmp_path / "a.json"), sort_keys=False, indent=1)
    assert (tmp_path / "a.json").read_text() == '{\n "b": 1,\n "a": 2\n}'


def test_copies(tmp_path: Path, monkeypatch):
    """Of nnU-Net's two ways to copy; one that fails leaves the older file, and is not taken for a newer one."""
    file_util = pytest.importorskip("distutils.file_util")
    source, target = tmp_path / "source", tmp_path / "folder" / "target"
    source.write_text("content")
    target.parent.mkdir()
    plain = shutil.copyfile
    with whole_copies():
        shutil.copy(source, target)
        assert target.read_text() == "content"
        target.unlink()
        file_util.copy_file(str(source), str(target), update=True)
        assert target.read_text() == "content" and target.stat().st_mtime_ns == source.stat().st_mtime_ns
    assert shutil.copyfile is plain

    def half(source, target, *args, **kwargs):
        Path(target).write_text("con")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", half)
    source.write_text("newer content")
    with whole_copies():
        for copy in (shutil.copy, file_util.copy_file):
            with pytest.raises(OSError, match="No space left"):
                copy(str(source), str(target))
    assert target.read_text() == "content" and list(target.parent.iterdir()) == [target]
