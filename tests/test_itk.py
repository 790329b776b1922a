"""Readers of SimpleITK take turns, whoever calls them."""

from __future__ import annotations

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO

import maskmed_nnu.itk  # noqa: F401

CALLS = {
    "header": lambda file: SimpleITK.ImageFileReader().ReadImageInformation(),
    "image": SimpleITK.ReadImage,
    "nnU-Net": lambda file: SimpleITKIO().read_seg(file),
}


@pytest.fixture
def image(tmp_path: Path) -> str:
    file = str(tmp_path / "a.nii.gz")
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(np.zeros((3, 4, 5), np.uint8)), file)
    return file


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_one_after_the_other(image, monkeypatch, call):
    """ITK's own functions, which have no lock, are watched."""
    read = SimpleITK.ReadImage(image)
    inside: list[int] = []
    most: list[int] = []

    def watched(reader) -> SimpleITK.Image:
        inside.append(1)
        time.sleep(0.005)
        most.append(len(inside))
        inside.pop()
        return read

    for name in ("ImageFileReader_Execute", "ImageFileReader_ReadImageInformation"):
        monkeypatch.setattr(SimpleITK.SimpleITK._SimpleITK, name, watched)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(call, [image] * 12))
    assert most == [1] * 12


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_process_that_is_forked_meanwhile_reads(image, monkeypatch):
    """A fork waits for the reader, whose turn would have no end in the new process."""
    reading, go_on = threading.Event(), threading.Event()

    def wait(reader) -> None:
        reading.set()
        go_on.wait(20)

    monkeypatch.setattr(SimpleITK.SimpleITK._SimpleITK, "ImageFileReader_ReadImageInformation", wait)
    thread = threading.Thread(target=CALLS["header"], args=(image,))
    thread.start()
    assert reading.wait(20)
    threading.Timer(0.05, go_on.set).start()
    child = os.fork()
    if child == 0:
        os._exit(7 if SimpleITK.ReadImage(image).GetSize() == (5, 4, 3) else 1)
    thread.join()
    deadline = time.monotonic() + 20
    while not (ended := os.waitpid(child, os.WNOHANG))[0] and time.monotonic() < deadline:
        time.sleep(0.01)
    if not ended[0]:
        os.kill(child, signal.SIGKILL)
        ended = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(ended[1]) == 7
