"""How a rule runs its command: attempts, logs, locks, signals, workers, GPUs."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from maskmed_nnu.workflow import job
from maskmed_nnu.workflow.job import Options, run_job
from maskmed_nnu.workflow.job_records import is_locked, read_attempts
from tests.workflow.fake_commands import tiny_study


@pytest.fixture
def study(tmp_path):
    return tiny_study(tmp_path / "study")


def python(text):
    return [sys.executable, "-c", text]


def test_an_attempt_is_noted_and_its_log_tells_where_it_ran(study, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    assert run_job(study, "train/a", python("print('hello')"), Options(cpus=2)) == 0
    assert run_job(study, "train/a", python("raise SystemExit(7)"), Options(cpus=2)) == 7
    first, second = read_attempts(study.records("train/a"))
    assert (first.status, second.status) == (0, 7)
    assert first.job == "4711" and first.gpus == "3" and first.node == os.uname().nodename
    lines = study.records("train/a").with_suffix(".log").read_text().splitlines()
    assert lines[0].startswith(f"attempt 1 on {os.uname().nodename}, job 4711, ")
    assert lines[1] == "hello" and lines[2].startswith("ended with status 0")
    assert lines[3].startswith("attempt 2 on ")


def test_the_command_finds_everything_by_absolute_paths(study, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = "import os, json; print(json.dumps([os.getcwd(), *[os.environ['nnUNet_' + k] for k in ('raw', 'results')]]))"
    assert run_job(study, "a", python(text), Options()) == 0
    log = study.records("a").with_suffix(".log").read_text().splitlines()
    assert json.loads(log[1]) == [str(study.folder), str(study.folder / "raw"), str(study.folder / "results")]


def test_a_command_that_is_not_there_is_told_in_the_log(study):
    assert run_job(study, "a", ["nnUNetv2_none"], Options()) == 1
    assert "maskmed: nnUNetv2_none is not in" in study.records("a").with_suffix(".log").read_text()
    assert read_attempts(study.records("a"))[0].status == 1


def test_broken_images_cost_a_count_and_other_failures_the_part(study):
    text = "print(2, 'of 9 images could not be predicted; the reason for each is printed above.'); raise SystemExit({})"
    assert run_job(study, "predict/a", python(text.format(1)), Options()) == 0
    assert read_attempts(study.records("predict/a"))[0].broken == 2
    assert run_job(study, "predict/b", python("raise SystemExit(1)"), Options()) == 1
    assert run_job(study, "predict/c", python(text.format(2)), Options()) == 2


KILL = "import os; os.kill(os.getpid(), 9)"
LOST = "print('RuntimeError: One or more background workers are no longer alive.'); raise SystemExit(1)"


@pytest.mark.parametrize(
    ("kills", "text", "out_of_memory"),
    [
        ((3, 3), KILL, False),
        ((3, 4), KILL, True),
        ((3, 4), LOST, True),  # a worker was killed, and the command ended by itself
        ((3, 3), LOST, False),
        ((None, None), KILL, True),  # where nobody counts
        ((None, None), LOST, True),
        ((None, None), "raise SystemExit(143)", False),
        ((3, 3), "raise MemoryError", True),
        ((None, None), "raise RuntimeError('CUDA out of memory')", False),  # which more RAM does not cure
        ((3, 4), "print()", False),  # it has ended well
    ],
)
def test_a_lack_of_memory_is_told_from_other_failures(study, monkeypatch, kills, text, out_of_memory):
    counted = iter(kills)
    monkeypatch.setattr(job, "memory_kills", lambda: next(counted))
    run_job(study, "a", python(text), Options())
    assert read_attempts(study.records("a"))[0].out_of_memory == out_of_memory


def test_a_second_process_waits_and_leaves_it_at_what_the_first_has_done(study, tmp_path, capfd):
    text = f"open({str(tmp_path / 'runs')!r}, 'a').write('x'); import time; time.sleep(1.5)"
    words = [sys.executable, "-m", "maskmed_nnu.workflow.job", "--study", str(study.folder), "a", "--"]
    with subprocess.Popen([*words, *python(text)]) as process:
        while not (tmp_path / "runs").exists():
            time.sleep(0.02)
        assert is_locked(study.records("a"))
        assert run_job(study, "a", python(text), Options()) == 0
        assert process.wait() == 0
    assert (tmp_path / "runs").read_text() == "x"
    assert "a is still worked on by" in capfd.readouterr().err
    assert not is_locked(study.records("a"))


def test_a_command_that_outlives_its_job_keeps_the_lock(study, tmp_path):
    text = f"open({str(tmp_path / 'begun')!r}, 'w'); import time; time.sleep(1)"
    words = [sys.executable, "-m", "maskmed_nnu.workflow.job", "--study", str(study.folder), "a", "--"]
    process = subprocess.Popen([*words, *python(text)])
    while not (tmp_path / "begun").exists():
        time.sleep(0.02)
    process.kill()
    process.wait()
    assert is_locked(study.records("a"))
    deadline = time.monotonic() + 60
    while is_locked(study.records("a")) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_locked(study.records("a"))
    assert read_attempts(study.records("a"))[0].status is None


def test_what_has_succeeded_since_its_inputs_is_not_done_again(study, tmp_path):
    command, marker = python("print('work')"), tmp_path / "input"
    marker.touch()
    options = Options(inputs=(marker,))
    for _ in range(2):
        assert run_job(study, "a", command, options) == 0
    assert len(read_attempts(study.records("a"))) == 1
    os.utime(marker, (time.time() + 60, time.time() + 60))
    assert run_job(study, "a", command, options) == 0
    assert run_job(study, "a", python("print('other work')"), Options(inputs=())) == 0
    assert len(read_attempts(study.records("a"))) == 3


@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1", "SIGHUP"])
def test_signals_reach_the_command_which_ends_in_its_own_way(study, tmp_path, name):
    number = int(getattr(signal, name))
    text = (
        f"import signal, sys, time; signal.signal({number}, lambda *_: sys.exit(128 + {number}))\n"
        f"open({str(tmp_path / 'begun')!r}, 'w'); time.sleep(60)"
    )
    words = [sys.executable, "-m", "maskmed_nnu.workflow.job", "--study", str(study.folder), "a", "--"]
    process = subprocess.Popen([*words, *python(text)])
    while not (tmp_path / "begun").exists():
        time.sleep(0.02)
    process.send_signal(number)
    assert process.wait(60) == 128 + number
    assert read_attempts(study.records("a"))[0].status == 128 + number


def test_workers_are_those_of_the_job_and_none_of_a_training_on_one_cpu():
    assert job._workers(1, 1, trains=True)["nnUNet_n_proc_DA"] == "0"
    assert job._workers(1, 1, trains=False)["nnUNet_n_proc_DA"] == "1"  # nnU-Net's planners take it for threads
    assert job._workers(16, 4, trains=True) == {"nnUNet_n_proc_DA": "3", "nnUNet_def_n_proc": "16"}


def test_each_gpu_predicts_its_share_of_a_part():
    options = Options(gpus=2, part=(1, 3))
    shares = job._shares(["predict"], options, {"CUDA_VISIBLE_DEVICES": "4,7"})
    assert [own["CUDA_VISIBLE_DEVICES"] for _, own in shares] == ["4", "7"]
    assert [words[1:] for words, _ in shares] == [
        ["-num_parts", "6", "-part_id", "2"],
        ["-num_parts", "6", "-part_id", "3"],
    ]
    every = [
        int(words[-1])
        for part in range(3)
        for words, _ in job._shares(["predict"], Options(gpus=2, part=(part, 3)), {})
    ]
    assert sorted(every) == list(range(6))


def test_a_line_that_a_kill_has_cut_off_is_passed_over(study):
    run_job(study, "a", python("raise SystemExit(3)"), Options())
    path = study.records("a")
    with path.open("a") as file:
        file.write('{"began": "2026-01')
    run_job(study, "a", python("print()"), Options())
    assert [attempt.status for attempt in read_attempts(path)] == [3, 0]


def test_a_file_is_kept_once_the_command_has_succeeded(study, tmp_path):
    source, target = tmp_path / "found.json", study.folder / "best" / "kept.json"
    options = Options(copy=(source, target))
    assert run_job(study, "a", python(f"open({str(source)!r}, 'w').write('1'); raise SystemExit(1)"), options) == 1
    assert not target.exists()
    assert run_job(study, "a", python("print()"), options) == 0
    assert target.read_text() == "1"
