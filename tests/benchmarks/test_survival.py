"""The script that stops trainings and fills disks."""

from __future__ import annotations

import doctest
import os
import sys

import pytest

from benchmarks.survival import disks, stops


def test_the_example():
    assert doctest.testmod(stops).failed == 0


def test_what_counts_as_a_failure():
    stop = ["SIGTERM", "the command", "143", "epoch 0, step 7", "0", "8", "yes", "0", "0"]
    assert not stops.failed(stop)
    for place, wrong in ((2, "1 (!)"), (4, "-2"), (5, "8 (!)"), (6, "no: log"), (7, "1"), (8, "1")):
        assert stops.failed([*stop[:place], wrong, *stop[place + 1 :]])
    disk = ["conversion", "1", "yes", "yes", "0", "0", "yes"]
    assert not disks.failed(disk) and disks.failed([*disk[:3], "no: plans.json", *disk[4:]])
    assert disks.SENTENCE.search("/x/a.json cannot be used: the disk is full (more than 0.1 MB are needed); free some")


@pytest.mark.cluster
@pytest.mark.timeout(1800)
@pytest.mark.skipif(sys.platform != "linux", reason="the marks of processes are read from /proc")
def test_stopped_trainings_go_on(tmp_path):
    rows = stops.stops(tmp_path / "work", 2, 0)
    assert not [row for row in rows if stops.failed(row)]


@pytest.mark.cluster
@pytest.mark.timeout(1800)
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can mount a small disk")
def test_a_full_disk_loses_nothing(tmp_path):
    rows = list(disks.disks(tmp_path / "work", "checkpoint at a signal"))
    assert not [row for row in rows if disks.failed(row)]
