"""Kill a study at random: Snakemake itself, a job's processes, or a job of Slurm; the same command then finishes it.

    maskmed workflow quiet --dataset 4 … && (cd quiet && snakemake --profile profiles/local)
    maskmed workflow killed --dataset 4 …  # the same, with nnUNet_preprocessed and nnUNet_results of its own
    python benchmarks/study_kills.py killed --quiet quiet --kills 10

It prints what was killed when, how often each epoch of each fold was begun, the attempts of all jobs, and whether the
final predictions and the choice are those of the study that nobody has disturbed. Its status is 1 where they are not,
or where a training was begun again from the start after an epoch of it had ended.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil

from maskmed_nnu.file_state import content_digest
from maskmed_nnu.workflow.job_records import read_attempts
from maskmed_nnu.workflow.study import BEST, Study, read_study

EPOCH = re.compile(r"^\d{4}-\d\d-\d\d [\d:.]+: Epoch (\d+)\s*$", re.MULTILINE)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="What follows -- are options of Snakemake.",
    )
    parser.add_argument("study", type=Path)
    parser.add_argument("--quiet", type=Path, required=True, help="a finished study with the same config")
    parser.add_argument("--profile", choices=["local", "slurm"], default="local")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seconds", type=float, nargs=2, default=(5, 60), help="least and most between two kills")
    parser.add_argument("--seed", type=int, default=0)
    behind = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    words, options = sys.argv[1:behind], sys.argv[behind + 1 :]
    given = parser.parse_args(words)
    study, quiet = read_study(given.study), read_study(given.quiet)
    command = [sys.executable, "-m", "snakemake", "--profile", f"profiles/{given.profile}", *options]
    disturb(study, command, kills=given.kills, seconds=given.seconds, generator=random.Random(given.seed))
    began = time.monotonic()
    done = subprocess.run(command, cwd=study.folder, capture_output=True, text=True)
    print(f"the last start ended with status {done.returncode} after {time.monotonic() - began:.0f} s")
    again = list(trained_again(study))
    jobs = [read_attempts(file) for file in sorted((study.folder / "logs").rglob("*.jsonl"))]
    counts = Counter(len(attempts) for attempts in jobs)
    print("attempts of a job:", ", ".join(f"{number} × {attempts}" for attempts, number in sorted(counts.items())))
    differing = list(differences(study, quiet))
    print("\n".join(differing) if differing else "predictions and choice are those of the study that ran undisturbed")
    return int(bool(done.returncode or again or differing))


def disturb(
    study: Study, command: Sequence[str], *, kills: int, seconds: Sequence[float], generator: random.Random
) -> None:
    """Run the engine, and kill so often; an engine that was killed, or has ended, is started again."""
    engine: psutil.Popen | None = None
    killed = 0
    while killed < kills:
        if engine is None or engine.poll() is not None:
            if engine is not None and engine.returncode == 0:
                print(f"the study was finished after {killed} kills")
                return
            engine = psutil.Popen(command, cwd=study.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            engine.wait(generator.uniform(*seconds))
            continue
        except psutil.TimeoutExpired:
            pass
        what = kill(engine, generator, study)
        if what is not None:
            killed += 1
            print(f"{killed}: {time.strftime('%H:%M:%S')} {what}", flush=True)
    if engine is not None and engine.poll() is None:
        engine.kill()
        engine.wait()
        print("and the engine at the end")


def kill(engine: psutil.Process, generator: random.Random, study: Study) -> str | None:
    """Kill the engine, one of its jobs, or a job of the study in Slurm; None where there was nothing to kill."""
    jobs = [job for job in psutil.process_iter() if "nnUNetv2" in " ".join(words_of(job)) and runs_in(job, study)]
    numbers = jobs_in_slurm(study)
    choices = ["engine", *(["job"] * 2 if jobs else []), *(["scancel"] * 2 if numbers else [])]
    match generator.choice(choices):
        case "engine":
            engine.kill()
            engine.wait()
            return "SIGKILL to Snakemake"
        case "job":
            job, number = generator.choice(jobs), generator.choice(["SIGKILL", "SIGTERM"])
            words = " ".join(words_of(job))
            try:
                job.kill() if number == "SIGKILL" else job.terminate()
            except psutil.NoSuchProcess:
                return None
            return f"{number} to {words[words.find('nnUNetv2') :][:90]}"
        case _:
            number = generator.choice(numbers)
            subprocess.run(["scancel", number], check=False)
            return f"scancel {number}"


def jobs_in_slurm(study: Study) -> list[str]:
    """The numbers of those that run, by the folder in which Snakemake has submitted them."""
    if shutil.which("squeue") is None:
        return []
    running = subprocess.run(["squeue", "--me", "-h", "-t", "R", "-o", "%i %Z"], capture_output=True, text=True)
    jobs = [line.split(maxsplit=1) for line in running.stdout.splitlines()]
    return [number for number, folder in jobs if Path(folder).resolve() == study.folder.resolve()]


def runs_in(process: psutil.Process, study: Study) -> bool:
    """Jobs outlive the engine that started them, so they are found by their folder."""
    try:
        return Path(process.cwd()).resolve() == study.folder.resolve()
    except psutil.Error:
        return False


def words_of(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []


def trained_again(study: Study) -> Iterator[str]:
    """Print how often epochs were begun; trainings that began from the start after their first epoch had ended."""
    for model in study.models:
        for fold in study.config.folds:
            logs = sorted(
                study.training_folder(model, fold).glob("training_log_*.txt"), key=lambda file: file.stat().st_mtime
            )
            begun = [int(number) for log in logs for number in EPOCH.findall(log.read_text(errors="replace"))]
            more = {number: count for number, count in sorted(Counter(begun).items()) if count > 1}
            print(f"{model.name} fold {fold}: epochs begun more than once: {more or 'none'}")
            if any(number == 0 and max(begun[:place], default=0) > 0 for place, number in enumerate(begun)):
                print("  it began again from the start")
                yield f"{model.name} fold {fold}"


def differences(study: Study, quiet: Study) -> Iterator[str]:
    """What is not the same in the two studies."""
    results = [json.loads((one.folder / BEST).read_text())["all_results"] for one in (study, quiet)]
    if results[0] != results[1]:
        yield f"scores: {results[0]} and undisturbed {results[1]}"
    if study.images is None:
        return
    folders = [one.final_predictions() for one in (study, quiet)]
    ending = json.loads((study.preprocessed / "dataset.json").read_text())["file_ending"]
    maps = [{file.name: content_digest(file) for file in folder.glob(f"*{ending}")} for folder in folders]
    if maps[0].keys() != maps[1].keys():
        yield f"{len(maps[0])} predictions, and undisturbed {len(maps[1])}"
    other = [name for name in maps[0] if maps[0][name] != maps[1].get(name, maps[0][name])]
    if other:
        yield f"{len(other)} of {len(maps[0])} predictions differ"


if __name__ == "__main__":
    sys.exit(main())
