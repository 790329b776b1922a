"""Runs console scripts in forks of one process that has imported torch and nnU-Net, which takes longer than the work.

A line of JSON per command comes in, its ``argv`` and ``environ`` (added to this process's); its exit status goes out,
and what it and its processes print goes to the file that this script is given. Each command has a process of its own,
in which nothing of another has happened. The processes that it spawns are forked from a second clean process instead
of starting a new interpreter each.
"""

from __future__ import annotations

import importlib.metadata
import json
import multiprocessing
import multiprocessing.forkserver
import os
import random
import sys
import traceback

import numpy as np
import torch

PRELOADED = (
    "maskmed_nnu.cli.main",
    "nnunetv2.ensembling.ensemble",
    "nnunetv2.evaluation.evaluate_predictions",
    "nnunetv2.experiment_planning.plan_and_preprocess_entrypoints",
    "nnunetv2.inference.export_prediction",
    "nnunetv2.inference.predict_from_raw_data",
    "nnunetv2.run.run_training",
    "maskmed_nnu.nnunet.preprocessing.instance_preprocessor",
    "maskmed_nnu.nnunet.training.trainers.iaunet",
    "maskmed_nnu.nnunet.training.trainers.maskattn_unet",
    "maskmed_nnu.nnunet.training.trainers.maskmed",
    "maskmed_nnu.nnunet.training.trainers.simple_unet",
    "torch._dynamo",
)


def serve() -> None:
    """Answer requests until the input ends."""
    requests, answers = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    log = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream, file in ((0, os.open(os.devnull, os.O_RDONLY)), (1, log), (2, log)):
        os.dup2(file, stream)
    multiprocessing.set_forkserver_preload(list(PRELOADED))
    multiprocessing.forkserver.ensure_running()
    for name in PRELOADED:
        importlib.import_module(name)
    # -device cpu takes a thread per core, but tests run in as many processes as there are cores
    torch.set_num_threads(1)
    torch.set_num_threads = lambda number: None
    stock_context = multiprocessing.get_context
    multiprocessing.get_context = lambda method=None: stock_context("forkserver" if method == "spawn" else method)
    scripts = {script.name: script for script in importlib.metadata.entry_points(group="console_scripts")}
    for line in requests:
        request = json.loads(line)
        os.truncate(sys.argv[1], 0)
        child = os.fork()
        if child == 0:
            # it looks for its own child, which the process that all commands share is not
            multiprocessing.forkserver._forkserver.ensure_running = lambda: None
            os._exit(run(scripts[request["argv"][0]].load(), **request))
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print(status, file=answers, flush=True)


def run(main: object, *, argv: list[str], environ: dict[str, str]) -> int:
    """The exit status of a console script, with all that an interpreter prints at its end."""
    os.environ.update(environ)
    sys.argv = argv
    # with the augmentation in this process, a training of a few steps comes out the same each time
    for seed in (random.seed, np.random.seed, torch.manual_seed):
        seed(0)
    try:
        status = main()
    except SystemExit as end:
        status = end.code
    except BaseException:
        traceback.print_exc()
        status = 1
    if isinstance(status, str) or (status is not None and not isinstance(status, int)):
        print(status, file=sys.stderr)
        status = 1
    for child in multiprocessing.active_children():
        child.terminate()
    sys.stdout.flush()
    sys.stderr.flush()
    return status or 0


if __name__ == "__main__":
    serve()
