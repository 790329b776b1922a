"""Epochs from nnU-Net's logs, of several starts, and from checkpoints without running what is in them."""

from __future__ import annotations

import math

import numpy as np
import torch

from maskmed_nnu.json_file import write_json
from maskmed_nnu.nnunet.evaluation.training_curves import Epoch, read_curve


def epoch(number: int, train: object, val: object, dice: str = "[0.5, 0.7]") -> str:
    stamp = "2026-01-09 10:00:00.123456: "
    return "".join(
        f"{stamp}{line} \n"
        for line in (
            "",
            f"Epoch {number}",
            "Current learning rate: 1e-05",
            f"train_loss {train}",
            f"val_loss {val}",
            f"Pseudo dice {dice}",
            "Epoch time: 12.5 s",
            "Yayy! New best EMA pseudo Dice: 0.9",
        )
    )


def test_a_restart_replaces_the_epochs_that_it_trains_again(tmp_path):
    fold = tmp_path / "fold_3"
    fold.mkdir()
    # month 12 sorts before month 9 as text, and comes later
    (fold / "training_log_2026_9_30_08_00_00.txt").write_text(epoch(0, 3, 4) + epoch(1, 2, 3) + epoch(2, 99, 99))
    cut_off = "2026-12-01 10:00:00.1: Epoch 2 \n2026-12-01 10:00:00.1: Current learning rate: 0.1 \n"
    (fold / "training_log_2026_12_1_08_00_00.txt").write_text(epoch(1, 1.5, -0.25) + cut_off)
    (fold / "training_log_2026_12_2_08_00_00.txt").write_text("2026-12-02 10:00:00.1: predicting case_1 \n")
    write_json(fold / "debug.json", {"num_epochs": "250"})

    curve = read_curve(fold)

    assert [one.number for one in curve.epochs] == [0, 1]
    assert curve.epochs[1] == Epoch(1, 1.5, -0.25, 0.6, 1e-05, 12.5)
    assert (curve.fold, curve.planned, curve.finished, curve.from_checkpoint) == ("3", 250, False, False)
    write_json(fold / "debug.json", {"num_epochs": "2"})
    assert read_curve(fold).finished  # also where nobody kept the final checkpoint


def test_numbers_of_both_numpy_releases_and_nan(tmp_path):
    fold = tmp_path / "fold_all"
    fold.mkdir()
    (fold / "checkpoint_final.pth").touch()
    (fold / "training_log_2026_1_1_08_00_00.txt").write_text(
        epoch(0, "nan", 1, "[np.float32(0.25), np.float64(nan)]") + epoch(1, 1, 1, "[nan, 0.5, 1e-1]")
    )
    curve = read_curve(fold)
    assert curve.finished and math.isnan(curve.epochs[0].train_loss)
    assert [round(one.score, 3) for one in curve.epochs] == [0.25, 0.3]


def test_without_logs_a_checkpoint_is_read_as_data_and_never_run(tmp_path):
    fold = tmp_path / "fold_0"
    fold.mkdir()
    logged = {
        "train_losses": [np.float32(3), np.float32(2)],
        "val_losses": [np.float32(1), 0.5],
        "mean_fg_dice": [np.float64(0.25), np.float32(0.5)],
        "lrs": [0.1, 0.05],
        "epoch_start_timestamps": [10.0, 20.0],
        "epoch_end_timestamps": [15.0, 26.0],
    }
    torch.save({"network_weights": {"a": torch.zeros(2)}, "logging": logged}, fold / "checkpoint_final.pth")
    curve = read_curve(fold)
    assert curve.from_checkpoint and curve.epochs == (Epoch(0, 3, 1, 0.25, 0.1, 5), Epoch(1, 2, 0.5, 0.5, 0.05, 6))

    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "run"), "w"))

    torch.save({"logging": {**logged, "extra": Evil()}}, fold / "checkpoint_final.pth")
    assert read_curve(fold).epochs == () and not (tmp_path / "run").exists()
    (fold / "checkpoint_final.pth").write_bytes(b"PK damaged")
    assert read_curve(fold).epochs == ()
