"""How many CPUs a process may use."""

from __future__ import annotations

import os

from maskmed_nnu import cpus
from maskmed_nnu.cpus import cpu_count, thread_count


def test_a_job_has_the_fewest_cpus_that_anything_says(monkeypatch):
    for name in ("SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(16)), raising=False)
    monkeypatch.setattr(cpus, "_container_cpus", lambda: 9)
    assert cpu_count() == 9
    monkeypatch.setenv("SLURM_CPUS_ON_NODE", "6")
    assert cpu_count() == 6
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "1")
    assert cpu_count() == 1
    for wanted, threads in (("", 1), ("4", 1), ("zero", 1), ("0", 1)):
        monkeypatch.setenv("OMP_NUM_THREADS", wanted)
        assert thread_count() == threads
    monkeypatch.delenv("SLURM_CPUS_PER_TASK")
    for wanted, threads in (("", 6), ("4", 4), ("2,1", 2), ("32", 6)):
        monkeypatch.setenv("OMP_NUM_THREADS", wanted)
        assert thread_count() == threads
