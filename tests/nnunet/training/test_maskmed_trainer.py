"""The trainer on planned networks of toy size, without data loaders."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from batchgenerators.utilities.file_and_folder_operations import save_json
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

from maskmed_nnu.errors import InputError
from maskmed_nnu.networks.output import QueryOutput
from maskmed_nnu.nnunet.experiment_planning.planners.maskmed import MaskMedPlanner
from maskmed_nnu.nnunet.training.trainers.maskmed import nnUNetTrainerMaskMed, nnUNetTrainerMaskMedDemo
from tests.nnunet.scenarios import REGIONS, SCENARIOS, loaded_target


@pytest.fixture
def make_trainer(make_planner, nnunet_env):
    """``make_trainer(scenario="labels", dim=3, **edits)``: an initialized trainer on a tiny network."""

    def make(scenario: str = "labels", dim: int = 3, trainer=nnUNetTrainerMaskMed, initialize=True, **arch_kwargs):
        planner = make_planner(MaskMedPlanner, shape=(16, 16, 16), **SCENARIOS[scenario])
        plans = planner.plan_experiment()
        name = "2d" if dim == 2 else "3d_fullres"
        configuration = plans["configurations"][name]
        kwargs = configuration["architecture"]["arch_kwargs"]
        fsad = {**kwargs["fsad"], "dim": 32, "heads": 4, "ffn": 32, "layers": 1}
        small = {"features_per_stage": [8, 16, 16][: kwargs["n_stages"]], "head_dim": 32, "head_heads": 4}
        kwargs.update(**small, head_ffn=32, fsad=fsad, **arch_kwargs)
        configuration["batch_size"] = 2
        folder = nnunet_env.preprocessed / "Dataset001_Made" / configuration["data_identifier"]
        folder.mkdir(exist_ok=True)
        (folder / "x.b2nd").touch()
        plans["continue_training"] = False
        torch.manual_seed(0)
        made = trainer(plans, name, 0, planner.dataset_json, torch.device("cpu"))
        if trainer is nnUNetTrainerMaskMed:
            made.num_epochs, made.num_iterations_per_epoch = 4, 5
        if initialize:
            made.initialize()
            made.on_train_epoch_start()
        return made

    return make


def make_batch(trainer: nnUNetTrainerMaskMed, seed: int = 0) -> dict:
    """What nnU-Net's loaders deliver."""
    rng = np.random.default_rng(seed)
    patch = [int(edge) for edge in trainer.configuration_manager.patch_size]
    labels = trainer.label_manager
    full = torch.zeros((2, 1, *patch), dtype=torch.int16)
    full[:, :, 2:9, 2:9], full[:, :, 9:14, 9:14] = 1, 2
    if labels.has_ignore_label:
        full[:, :, :2] = labels.ignore_label
    data = full.float() + torch.from_numpy(rng.normal(0, 0.1, full.shape)).float()
    return {"data": data, "target": loaded_target(trainer, full)}


@pytest.mark.parametrize("dim", [2, 3])
@pytest.mark.parametrize("scenario", list(SCENARIOS))
def test_trains_and_validates(make_trainer, scenario: str, dim: int):
    trainer = make_trainer(scenario, dim)
    losses = [float(trainer.train_step(make_batch(trainer, seed))["loss"]) for seed in range(6)]
    assert np.isfinite(losses).all() and losses[-1] < losses[0]
    assert all(p.grad is not None for p in trainer.network.parameters()), "DDP would refuse an unused parameter"

    trainer.on_validation_epoch_start()
    before = trainer.enable_deep_supervision
    with torch.no_grad():
        result = trainer.validation_step(make_batch(trainer))
    assert trainer.enable_deep_supervision is before is True
    assert len(result["tp_hard"]) == 2 and np.isfinite(result["loss"])
    truth = make_batch(trainer)["target"][0]
    if scenario == "labels":
        found = [int((truth == label).sum()) for label in (1, 2)]
        np.testing.assert_array_equal(result["tp_hard"] + result["fn_hard"], found)


def test_pseudo_dice_does_not_see_ignored_voxels(make_trainer, monkeypatch):
    """A network that finds class 1 everywhere is wrong wherever another class is, but not where nobody knows."""
    trainer = make_trainer("ignore")
    trainer.on_validation_epoch_start()
    batch = make_batch(trainer)
    truth = batch["target"][0]
    everywhere = torch.zeros(2, 3, *truth.shape[2:])
    everywhere[:, 1] = 5.0
    monkeypatch.setattr(trainer.network, "forward", lambda data: everywhere)
    with torch.no_grad():
        result = trainer.validation_step(copy.deepcopy(batch))
    count = {label: int((truth == label).sum()) for label in (0, 1, 2, 3)}
    assert count[3] > 0
    np.testing.assert_array_equal(result["tp_hard"], [count[1], 0])
    np.testing.assert_array_equal(result["fp_hard"], [count[0] + count[2], 0])
    np.testing.assert_array_equal(result["fn_hard"], [0, count[2]])


def test_training_answers_queries_and_evaluation_one_map(make_trainer):
    trainer = make_trainer()
    data = make_batch(trainer)["data"]
    assert isinstance(trainer.network(data), QueryOutput)
    trainer.set_deep_supervision_enabled(False)
    trainer.network.eval()
    with torch.no_grad():
        assert trainer.network(data).shape == (2, 3, *data.shape[2:])
    assert trainer.network.deep_supervision is False


@pytest.mark.parametrize("head", ["pointwise", "class_embedding", "unmatched_queries"])
def test_the_stages_of_figure_1_are_one_setting(make_trainer, head: str):
    trainer = make_trainer(head=head)
    assert trainer.loss.criterion.matching == ("fixed" if head == "unmatched_queries" else "bipartite")
    losses = [float(trainer.train_step(make_batch(trainer, seed))["loss"]) for seed in range(6)]
    assert losses[-1] < losses[0]
    trainer.on_validation_epoch_start()
    with torch.no_grad():
        assert np.isfinite(trainer.validation_step(make_batch(trainer))["loss"])


def test_loss_settings_come_from_the_plans(make_trainer):
    trainer = make_trainer(initialize=False)
    trainer.configuration_manager.configuration["set_loss"].update(bce_weight=7.0, aux_weight=0.0, num_points=64)
    loss = trainer._build_loss()
    assert loss.criterion.bce_weight == 7.0 and loss.criterion.num_points == 64 and loss.aux_weight == 0.0


def test_learning_rate_changes_within_the_epoch(make_trainer):
    trainer = make_trainer(initialize=False)
    trainer.num_iterations_per_epoch = 4
    trainer.initialize()
    rates = []
    for trainer.current_epoch in range(2):
        trainer.on_train_epoch_start()
        for seed in range(4):
            trainer.train_step(make_batch(trainer, seed))
            rates.append(trainer.optimizer.param_groups[0]["lr"])
    assert len(set(rates)) == 8
    trainer.lr_scheduler.step(1 + 3 / 4)
    assert trainer.optimizer.param_groups[0]["lr"] == rates[-1]


def test_epochs_are_read_when_training_starts(make_trainer):
    """`_<N>epochs` variants set the number after our `__init__`."""
    trainer = make_trainer(initialize=False)
    trainer.num_epochs = 7
    trainer.initialize()
    assert trainer.lr_scheduler.total_steps == 7 * trainer.num_iterations_per_epoch


def test_resume_continues_as_if_never_stopped(make_trainer, tmp_path):
    def epoch(trainer, number: int) -> None:
        trainer.current_epoch = number
        trainer.on_train_epoch_start()
        for seed in range(3):
            trainer.train_step(make_batch(trainer, 10 * number + seed))

    def fresh():
        trainer = make_trainer(initialize=False)
        trainer.num_iterations_per_epoch = 3
        trainer.initialize()
        return trainer

    straight = fresh()
    epoch(straight, 0)
    straight.save_checkpoint(str(tmp_path / "checkpoint_latest.pth"))
    epoch(straight, 1)

    resumed = fresh()
    with torch.no_grad():
        for parameter in resumed.network.parameters():
            parameter.zero_()
    resumed.load_checkpoint(str(tmp_path / "checkpoint_latest.pth"))
    assert resumed.current_epoch == 1
    epoch(resumed, 1)
    assert resumed.optimizer.param_groups[0]["lr"] == straight.optimizer.param_groups[0]["lr"]
    for ours, theirs in zip(resumed.network.parameters(), straight.network.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)


def test_a_checkpoint_that_is_cut_short_leaves_the_previous_one(make_trainer, tmp_path, monkeypatch):
    trainer = make_trainer()
    file = tmp_path / "checkpoint_best.pth"
    trainer.save_checkpoint(str(file))
    good = file.read_bytes()

    def killed(_, stream, *args, **kwargs):
        stream.write(b"half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", killed)
        with pytest.raises(KeyboardInterrupt):
            trainer.save_checkpoint(str(file))
    assert file.read_bytes() == good
    trainer.save_checkpoint(str(file))
    assert sorted(path.name for path in tmp_path.glob("checkpoint*")) == ["checkpoint_best.pth"]


def test_no_checkpoint_where_checkpointing_is_off(make_trainer, tmp_path):
    trainer = make_trainer()
    trainer.disable_checkpointing = True
    trainer.save_checkpoint(str(tmp_path / "checkpoint_best.pth"))
    assert not list(tmp_path.glob("checkpoint*"))


def test_progress_is_printed_and_logged(make_trainer, capsys):
    trainer = make_trainer(trainer=nnUNetTrainerMaskMedDemo)
    assert trainer.progress_seconds <= 5 and trainer.num_epochs * trainer.num_iterations_per_epoch <= 500
    trainer.progress_seconds = 0.0
    trainer.on_train_epoch_start()
    trainer.train_step(make_batch(trainer))
    assert "training: iteration 1/25, loss" in capsys.readouterr().out
    with open(trainer.log_file) as file:
        assert "training: iteration 1/25" in file.read()


def test_wrong_plans_end_before_anything_is_written(make_planner, nnunet_env):
    planner = make_planner(MaskMedPlanner, shape=(16, 16, 16))
    plans = {**planner.plan_experiment(), "continue_training": False}
    device = torch.device("cpu")
    with pytest.raises(InputError, match="no configuration '3d_lowres'. They have: 2d, 3d_fullres"):
        nnUNetTrainerMaskMed(copy.deepcopy(plans), "3d_lowres", 0, planner.dataset_json, device)
    more = {**planner.dataset_json, "labels": {"background": 0, "a": 1, "b": 2, "c": 3}}
    with pytest.raises(InputError, match="4 classes"):
        nnUNetTrainerMaskMed(copy.deepcopy(plans), "2d", 0, more, device)
    with pytest.raises(InputError, match="declares regions"):
        nnUNetTrainerMaskMed(copy.deepcopy(plans), "2d", 0, {**planner.dataset_json, **REGIONS}, device)
    assert not list(nnunet_env.results.iterdir())


def test_the_predictor_checks_the_classes_too(make_trainer):
    trainer = make_trainer(initialize=False)
    with pytest.raises(InputError, match="has 5 classes"):
        trainer.build_network_architecture(trainer.plans_manager, trainer.configuration_manager, 1, 5, False)


def test_a_checkpoint_whose_trainer_is_missing(make_trainer, tmp_path, torchvision_ops):
    trainer = make_trainer()
    (tmp_path / "fold_0").mkdir()
    file = tmp_path / "fold_0" / "checkpoint_final.pth"
    trainer.save_checkpoint(str(file))
    torch.save({**torch.load(file, weights_only=False), "trainer_name": "nnUNetTrainerMaskMedGone"}, file)
    for name, content in (("plans", trainer.plans_manager.plans), ("dataset", trainer.dataset_json)):
        save_json(content, str(tmp_path / f"{name}.json"))
    predictor = nnUNetPredictor(device=torch.device("cpu"), allow_tqdm=False)
    with pytest.raises(InputError, match="Unknown trainer 'nnUNetTrainerMaskMedGone'.*did you mean nnUNetTrainerMaskM"):
        predictor.initialize_from_trained_model_folder(str(tmp_path), (0,))


def test_fewer_cases_than_folds_are_told_in_one_sentence(make_trainer):
    """The made data set has a single case."""
    with pytest.raises(InputError, match="Dataset001_Made has fewer training cases than .* fold 'all'"):
        make_trainer(initialize=False).do_split()
