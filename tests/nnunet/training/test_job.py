"""What the log of a training says first, and how many CPUs a job has."""

from __future__ import annotations

import os
import platform

import pytest
import torch

from maskmed_nnu.nnunet.training import job
from maskmed_nnu.nnunet.training.job import (
    WORKERS,
    cpu_count,
    describe_job,
    load_in_this_process_on_one_cpu,
)


@pytest.fixture
def no_scheduler(monkeypatch) -> None:
    for name in (*job.JOB_NUMBERS, "SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)


def test_the_first_line_says_where_with_what_and_under_which_number(no_scheduler, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    line = describe_job("cpu")
    for part in (platform.node(), f"torch {torch.__version__}", "no job of a scheduler", f"process {os.getpid()}"):
        assert part in line
    assert line.endswith(f"in {tmp_path}") and "\n" not in line
    monkeypatch.setenv("HOSTNAME", "a-pod")
    assert "no job of a scheduler" in describe_job("cpu")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    assert "Kubernetes pod a-pod" in describe_job("cpu")
    for name, value in (("SLURM_JOB_ID", "12"), ("SLURM_ARRAY_JOB_ID", "10"), ("SLURM_ARRAY_TASK_ID", "2")):
        monkeypatch.setenv(name, value)
    assert "Slurm job 12 (10_2)" in describe_job("cpu")


def test_each_kind_of_gpu_is_counted(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda number: "A100" if number else "T4")
    assert "(1 × T4, 2 × A100, " in describe_job("cuda")


def test_a_job_has_the_fewest_cpus_that_anything_says(no_scheduler, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(16)), raising=False)
    monkeypatch.setattr(job, "_container_cpus", lambda: 9)
    assert cpu_count() == 9
    monkeypatch.setenv("SLURM_CPUS_ON_NODE", "6")
    assert cpu_count() == 6
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "1")
    assert cpu_count() == 1


def test_with_one_cpu_there_are_no_workers_unless_the_user_wants_them(monkeypatch):
    monkeypatch.delenv(WORKERS, raising=False)
    monkeypatch.setattr(job, "cpu_count", lambda: 2)
    load_in_this_process_on_one_cpu()
    assert WORKERS not in os.environ
    monkeypatch.setattr(job, "cpu_count", lambda: 1)
    load_in_this_process_on_one_cpu()
    assert os.environ[WORKERS] == "0"
    monkeypatch.setenv(WORKERS, "3")
    load_in_this_process_on_one_cpu()
    assert os.environ[WORKERS] == "3"
