"""A training that is stopped anywhere goes on as if nothing had happened: same steps, same numbers, same weights."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from nnunetv2.training.nnUNetTrainer import nnUNetTrainer as stock
from torch.nn.parallel import DistributedDataParallel

from maskmed_nnu.nnunet.evaluation.training_curves import _read_as_data
from maskmed_nnu.nnunet.training.checkpoint_files import FINAL, LATEST
from maskmed_nnu.nnunet.training.trainers.simple_unet import nnUNetTrainerSimpleUNet
from maskmed_nnu.nnunet.trial.training_state import fold_state
from maskmed_nnu.signals import Interrupted
from tests.nnunet.tiny_models import tiny_model

STEPS, EPOCHS = 3, 2


class Toy(nnUNetTrainerSimpleUNet):
    """The real trainer on random numbers; ``at`` maps what it does, in order, to a signal that comes meanwhile."""

    at: dict[str, int]

    def on_train_start(self) -> None:
        if not self.was_initialized:
            self.initialize()
        self.num_epochs, self.num_iterations_per_epoch, self.num_val_iterations_per_epoch = EPOCHS, STEPS, 2
        self.dataloader_train = self.dataloader_val = random_batches()
        self.logger.local_logger.plot_progress_png = lambda folder: None
        self.trace: list[str] = []
        np.random.rand(3)  # nnU-Net draws a first batch here

    def train_step(self, batch: dict) -> dict:
        self._did(f"train {self.current_epoch}.{len(self._outputs)}")
        return super().train_step(batch)

    def validation_step(self, batch: dict) -> dict:
        self._did(f"validate {self.current_epoch}")
        return super().validation_step(batch)

    def on_epoch_end(self) -> None:
        super().on_epoch_end()
        self._did(f"end {self.current_epoch}")

    def _did(self, what: str) -> None:
        self.trace.append(what)
        if what in self.at:
            signal.raise_signal(self.at.pop(what))


def random_batches() -> Iterator[dict]:
    """Of NumPy's and torch's numbers, as those of nnU-Net's loader in one process."""
    while True:
        label = torch.from_numpy(np.random.randint(0, 3, (2, 1, 32, 32)).astype(np.float32))
        yield {"data": label + torch.randn(label.shape), "target": label}


@pytest.fixture
def make(nnunet_env, tmp_path, monkeypatch) -> Callable[..., Toy]:
    """``make(at={}, continues=False)``: a trainer of one seed, with its checkpoint where it continues."""
    folder = tiny_model(tmp_path / "model", "SimpleUNet", folds=())
    monkeypatch.setattr(stock, "infer_dataset_class", lambda folder: None)
    return lambda **options: make_toy(folder, **options)


def make_toy(folder: Path, *, at: dict[str, int] | None = None, continues: bool = False) -> Toy:
    plans, dataset = (json.loads((folder / name).read_text()) for name in ("plans.json", "dataset.json"))
    plans["configurations"]["2d"]["batch_dice"] = False
    torch.manual_seed(0)
    np.random.seed(0)
    toy = Toy({**plans, "continue_training": continues}, "2d", 0, dataset, torch.device("cpu"))
    toy.device, toy.grad_scaler, toy.at = torch.device("cpu"), None, at or {}  # with DDP nnU-Net takes GPUs
    toy.initialize()
    if continues:
        torch.manual_seed(1)
        np.random.seed(1)
        toy.load_checkpoint(os.path.join(toy.output_folder, LATEST))
    return toy


def weights(toy: Toy) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in toy.network.parameters()]


@pytest.fixture
def straight(make) -> Toy:
    toy = make()
    toy.run_training()
    shutil.rmtree(toy.output_folder)
    return toy


ALL = [f"train {epoch}.{step}" for epoch in range(EPOCHS) for step in range(STEPS)]
STOPS = [
    ({"train 0.0": signal.SIGTERM}, "after 1 steps of epoch 0"),
    ({"train 0.2": signal.SIGUSR1}, "after 3 steps of epoch 0"),  # its validation comes next
    ({"validate 0": signal.SIGINT}, "after 3 steps of epoch 0"),
    ({"end 1": signal.SIGHUP}, "after 0 steps of epoch 1"),
    ({"train 1.1": signal.SIGTERM}, "after 2 steps of epoch 1"),
]


@pytest.mark.parametrize(("at", "where"), STOPS)
def test_it_goes_on_where_it_was(make, straight, at, where, capsys):
    number = next(iter(at.values()))
    first = make(at=at)
    with pytest.raises(Interrupted) as caught:
        first.run_training()
    assert caught.value.code == 128 + number
    said = f"Stopped by {signal.Signals(number).name} {where}; the same command with --c resumes from there."
    assert capsys.readouterr().out.count(said) == 1 and said in Path(first.log_file).read_text()
    files = sorted(path.name for path in Path(first.output_folder).iterdir() if path.suffix != ".txt")
    assert files in ([LATEST], ["checkpoint_best.pth", LATEST])

    second = make(continues=True)
    second.run_training()
    trained = [what for what in (*first.trace, *second.trace) if what.startswith("train")]
    assert trained == ALL
    for ours, theirs in zip(weights(second), weights(straight), strict=True):
        assert torch.equal(ours, theirs)
    logs = [toy.logger.local_logger.my_fantastic_logging for toy in (second, straight)]
    for key, values in logs[1].items():
        assert len(logs[0][key]) == EPOCHS
        if "timestamps" not in key:
            np.testing.assert_array_equal(logs[0][key], values)


def test_an_epoch_that_was_stopped_is_as_long_as_it_ran(make):
    first = make(at={"train 1.0": signal.SIGTERM})
    with pytest.raises(Interrupted):
        first.run_training()
    file = os.path.join(first.output_folder, LATEST)
    checkpoint = torch.load(file, weights_only=False)
    checkpoint["optimizer_state"]["maskmed_nnu"]["seconds"] = 1000.0
    torch.save(checkpoint, file)
    second = make(continues=True)
    second.run_training()
    starts, ends = (second.logger.get_value(f"epoch_{end}_timestamps", step=None) for end in ("start", "end"))
    assert 1000 < ends[1] - starts[1] < 1060 and ends[0] - starts[0] < 60


def test_a_checkpoint_within_an_epoch_is_one_of_nnunets(make):
    """The optimizer takes its state, the epoch is the one to go on with, nothing has to be unpickled."""
    toy = make(at={"train 1.0": signal.SIGTERM})
    with pytest.raises(Interrupted):
        toy.run_training()
    file = Path(toy.output_folder) / LATEST
    checkpoint = torch.load(file, weights_only=False)
    assert checkpoint["current_epoch"] == 1 and checkpoint["trainer_name"] == "Toy"
    torch.optim.AdamW(toy.network.parameters()).load_state_dict(checkpoint["optimizer_state"])
    assert len(_read_as_data(file)["train_losses"]) == 1


def test_it_saves_every_ten_minutes(make):
    assert Toy.save_seconds == 600
    toy, saved = make(), []
    toy._save = lambda file, position: saved.append((Path(file).name, toy.current_epoch + 1, len(position.outputs)))
    toy.save_seconds = 0.0
    toy.run_training()
    latest = [place[1:] for place in saved if place[0] == LATEST]
    assert latest == [(epoch, step) for epoch in range(EPOCHS) for step in range(1, STEPS + 1)]


def test_a_signal_at_the_end_leaves_the_validation(make, capsys):
    toy = make(at={"end 2": signal.SIGTERM})
    with pytest.raises(Interrupted):
        toy.run_training()
    assert "Stopped by SIGTERM; the training is complete, and --c does its validation." in capsys.readouterr().out
    assert (Path(toy.output_folder) / FINAL).is_file()


def test_a_stopped_training_goes_on_also_where_an_earlier_one_was_complete(make):
    """nnU-Net takes the final checkpoint, with which the training would be over; for a validation that is right."""
    make().run_training()
    second = make(at={"train 0.1": signal.SIGTERM})
    with pytest.raises(Interrupted):
        second.run_training()
    final = os.path.join(second.output_folder, FINAL)
    for resumes, epoch in ((True, 0), (False, EPOCHS)):
        toy = make()
        toy.logger.resume = resumes
        toy.load_checkpoint(final)
        assert toy.current_epoch == epoch
    assert fold_state(Path(second.output_folder).parent, "0") == "interrupted"


def test_a_full_disk_leaves_the_last_checkpoint(make, capsys):
    """Files may not grow beyond a part of a checkpoint."""
    first = make(at={"train 0.0": signal.SIGTERM})
    with pytest.raises(Interrupted):
        first.run_training()
    folder = Path(first.output_folder)
    before = (folder / LATEST).read_bytes()
    second = make(at={"train 0.1": signal.SIGTERM}, continues=True)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large") as caught:
            second.run_training()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert caught.value.filename == str(folder / LATEST)
    assert (folder / LATEST).read_bytes() == before and not list(folder.glob(".*"))


def test_a_log_on_a_full_disk_does_not_end_a_training(make, capsys):
    toy = make()
    capsys.readouterr()
    toy.log_file = "/dev/full"
    toy.print_to_log_file("one", 1)
    toy.print_to_log_file("two", add_timestamp=False)
    printed = capsys.readouterr().out
    assert printed.count("Note: /dev/full cannot be used: the disk is full") == 1 or "Note: A file cannot" in printed
    assert "one 1" in printed and printed.splitlines()[-1] == "two"


@pytest.mark.skipif(not dist.is_available() or os.name == "nt", reason="needs gloo and fork")
def test_all_ranks_stop_after_the_same_step(make, tmp_path):
    """The signal reaches the second one alone; the checkpoint holds random numbers of both."""
    statuses = run_ranks(tmp_path, at={"train 1.0": signal.SIGUSR1})
    assert statuses == [128 + signal.SIGUSR1] * 2
    assert [json.loads((tmp_path / f"{rank}.json").read_text())[-1] for rank in (0, 1)] == ["train 1.0"] * 2
    checkpoint = next((tmp_path / "nnUNet_results").rglob(LATEST))
    state = torch.load(checkpoint, weights_only=False)["optimizer_state"]["maskmed_nnu"]
    assert state["outputs"]["loss"].shape == (1,) and len(state["random"]) == 2
    assert not torch.equal(state["random"][0]["torch"], state["random"][1]["torch"])
    assert run_ranks(tmp_path, continues=True) == [0, 0]
    for rank in (0, 1):
        trace = json.loads((tmp_path / f"{rank}.json").read_text())
        assert [what for what in trace if what.startswith("train")] == ["train 1.1", "train 1.2"]


def run_ranks(folder: Path, **options: Any) -> list[int]:
    context = mp.get_context("fork")
    processes = [context.Process(target=run_rank, args=(rank, folder, options)) for rank in (0, 1)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(300)
    (folder / "store").unlink(missing_ok=True)
    return [process.exitcode for process in processes]


def run_rank(rank: int, folder: Path, options: dict) -> None:
    torch.set_num_threads(1)  # the threads that this process has of its parent do not run
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    stock.DDP = lambda module, device_ids: DistributedDataParallel(module)
    at = options.get("at") if rank == 1 else None
    toy = make_toy(folder / "model", at=at, continues=options.get("continues", False))
    torch.manual_seed(rank)
    try:
        toy.run_training()
    finally:
        (folder / f"{rank}.json").write_text(json.dumps(toy.trace))
