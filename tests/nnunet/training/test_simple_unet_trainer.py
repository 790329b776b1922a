"""SimpleUNet's trainer on plans of its planner, without data loaders."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner
from nnunetv2.run.load_pretrained_weights import load_pretrained_weights
from torch.optim.lr_scheduler import CosineAnnealingLR

from maskmed_nnu.errors import InputError
from maskmed_nnu.nnunet.discovery.training_length import trainer_of_length
from maskmed_nnu.nnunet.experiment_planning.planners.maskmed import MaskMedPlanner
from maskmed_nnu.nnunet.experiment_planning.planners.simple_unet import (
    SimpleUNetPlanner,
    SimpleUNetPlanner16,
    SimpleUNetPlannerESK,
)
from maskmed_nnu.nnunet.training.time_budget import TimeBudget
from maskmed_nnu.nnunet.training.trainers.iaunet import nnUNetTrainerIAUNet
from maskmed_nnu.nnunet.training.trainers.maskmed import nnUNetTrainerMaskMed
from maskmed_nnu.nnunet.training.trainers.simple_unet import nnUNetTrainerSimpleUNet
from tests.nnunet.scenarios import SCENARIOS, loaded_target

CPU = torch.device("cpu")


@pytest.fixture
def make_trainer(make_planner, nnunet_env):
    """``make_trainer(scenario="labels", dim=3, planner=…, deep_supervision=False)``: an initialized trainer."""

    def make(
        scenario: str = "labels",
        dim: int = 3,
        planner: type = SimpleUNetPlanner16,
        deep_supervision: bool = False,
        initialize: bool = True,
        trainer_class: type = nnUNetTrainerSimpleUNet,
        **data: object,
    ) -> nnUNetTrainerSimpleUNet:
        planner = make_planner(planner, shape=(16, 16, 16), **{**SCENARIOS[scenario], **data})
        plans = planner.plan_experiment()
        name = "2d" if dim == 2 else "3d_fullres"
        configuration = plans["configurations"][name]
        configuration["batch_size"] = 2
        configuration["simple_unet"]["deep_supervision"] = deep_supervision
        folder = nnunet_env.preprocessed / "Dataset001_Made" / configuration["data_identifier"]
        folder.mkdir(exist_ok=True)
        (folder / "x.b2nd").touch()
        plans["continue_training"] = False
        torch.manual_seed(0)
        trainer = trainer_class(plans, name, 0, planner.dataset_json, CPU)
        if trainer.minutes is None:
            trainer.num_epochs, trainer.num_iterations_per_epoch = 4, 10
        if initialize:
            trainer.initialize()
            trainer.on_train_epoch_start()
        return trainer

    return make


def make_batch(trainer: nnUNetTrainerSimpleUNet, seed: int = 0) -> dict:
    """What nnU-Net's loaders deliver."""
    rng = np.random.default_rng(seed)
    patch = [int(edge) for edge in trainer.configuration_manager.patch_size]
    labels = trainer.label_manager
    full = torch.zeros((2, 1, *patch), dtype=torch.int16)
    full[:, :, 2:9, 2:9], full[:, :, 9:14, 9:14] = 1, 2
    data = full.float() + torch.from_numpy(rng.normal(0, 0.1, full.shape)).float()
    if labels.has_ignore_label:
        full[:, :, :2] = labels.ignore_label
    return {"data": data, "target": loaded_target(trainer, full)}


@pytest.mark.parametrize("deep_supervision", [False, True])
@pytest.mark.parametrize("dim", [2, 3])
@pytest.mark.parametrize("scenario", list(SCENARIOS))
def test_trains_and_validates(make_trainer, scenario: str, dim: int, deep_supervision: bool):
    trainer = make_trainer(scenario, dim, deep_supervision=deep_supervision)
    assert isinstance(trainer.network(make_batch(trainer)["data"]), list if deep_supervision else torch.Tensor)
    losses = [float(trainer.train_step(make_batch(trainer, seed))["loss"]) for seed in range(8)]
    assert np.isfinite(losses).all() and losses[-1] < losses[0]
    assert all(p.grad is not None for p in trainer.network.parameters()), "DDP would refuse an unused parameter"

    trainer.on_validation_epoch_start()
    loss = trainer.loss
    with torch.no_grad():
        result = trainer.validation_step(make_batch(trainer))
    assert trainer.loss is loss and trainer.enable_deep_supervision is deep_supervision
    assert len(result["tp_hard"]) == 2 and np.isfinite(result["loss"])
    target = make_batch(trainer)["target"]
    truth = target[0] if isinstance(target, list) else target
    if not trainer.label_manager.has_regions:
        found = [int((truth == label).sum()) for label in (1, 2)]
        np.testing.assert_array_equal(result["tp_hard"] + result["fn_hard"], found)


def test_what_is_ignored_has_no_gradient(make_trainer):
    """The loss of two answers that differ only where nobody knows the label is the same."""
    for scenario in ("ignore", "regions_ignore"):
        trainer = make_trainer(scenario)
        target = make_batch(trainer)["target"]
        logits = torch.randn(2, trainer.label_manager.num_segmentation_heads, *target.shape[2:])
        other = logits.clone()
        other[:, :, :2] = torch.randn_like(other[:, :, :2])
        torch.testing.assert_close(trainer.loss(logits, target), trainer.loss(other, target))
        other[:, :, 2:4] += torch.randn_like(other[:, :, 2:4])
        assert not torch.allclose(trainer.loss(logits, target), trainer.loss(other, target))


def test_esk_trains(make_trainer):
    trainer = make_trainer(dim=2, planner=SimpleUNetPlannerESK)
    losses = [float(trainer.train_step(make_batch(trainer, seed))["loss"]) for seed in range(4)]
    assert losses[-1] < losses[0]


def test_adamw_with_torchs_cosine_in_every_iteration(make_trainer):
    trainer = make_trainer()
    rate = trainer.configuration_manager.configuration["simple_unet"]["learning_rate"]
    group = trainer.optimizer.param_groups[0]
    assert type(trainer.optimizer) is torch.optim.AdamW and group["weight_decay"] == 1e-4
    reference = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], rate)
    expected = CosineAnnealingLR(reference, T_max=trainer.num_epochs * 3, eta_min=1e-6)
    trainer.num_iterations_per_epoch = 3
    for epoch in range(trainer.num_epochs):
        trainer.current_epoch = epoch
        trainer.on_train_epoch_start()
        for seed in range(3):
            trainer.train_step(make_batch(trainer, seed))
            assert group["lr"] == pytest.approx(expected.get_last_lr()[0], rel=1e-6)
            reference.step()
            expected.step()
    trainer.lr_scheduler.step(trainer.num_epochs)
    assert group["lr"] == pytest.approx(1e-6)


def test_the_plans_decide(make_trainer):
    trainer = make_trainer(initialize=False, deep_supervision=True)
    trainer.plans_manager.plans["configurations"]["3d_fullres"]["simple_unet"]["learning_rate"] = 0.25
    plans = {**trainer.plans_manager.plans, "continue_training": False}
    again = nnUNetTrainerSimpleUNet(plans, "3d_fullres", 0, trainer.dataset_json, CPU)
    assert again.initial_lr == 0.25 and again.enable_deep_supervision is True


def test_resume_continues_as_if_never_stopped(make_trainer, tmp_path):
    def epoch(trainer, number: int) -> None:
        trainer.current_epoch = number
        trainer.on_train_epoch_start()
        for seed in range(3):
            trainer.train_step(make_batch(trainer, 10 * number + seed))

    straight = make_trainer()
    epoch(straight, 0)
    straight.save_checkpoint(str(tmp_path / "checkpoint_latest.pth"))
    epoch(straight, 1)
    resumed = make_trainer()
    resumed.load_checkpoint(str(tmp_path / "checkpoint_latest.pth"))
    epoch(resumed, 1)
    for (name, ours), theirs in zip(
        resumed.network.state_dict().items(), straight.network.state_dict().values(), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6, msg=name)


def test_weights_of_a_data_set_with_other_classes(make_trainer, tmp_path):
    """All but the last layer is taken over by nnU-Net's ``-pretrained_weights``."""
    three = make_trainer()
    three.save_checkpoint(str(tmp_path / "three.pth"))
    four = make_trainer(labels={"background": 0, "a": 1, "b": 2, "c": 3})
    for parameter in four.network.parameters():
        torch.nn.init.constant_(parameter, 0.5)
    load_pretrained_weights(four.network, str(tmp_path / "three.pth"))
    before, after = three.network.state_dict(), four.network.state_dict()
    last = [name for name in after if before[name].shape != after[name].shape]
    assert last and all("seg_layers" in name and (after[name] == 0.5).all() for name in last)
    for name in set(after) - {name for name in after if "seg_layers" in name}:
        torch.testing.assert_close(after[name], before[name])


def test_the_ten_steps_of_a_clocked_trainings_first_epoch_are_not_its_best(make_trainer, capsys):
    """And every epoch leaves what a resume needs."""
    trainer = make_trainer()
    trainer._budget, trainer.save_every, saved = TimeBudget(seconds=60), 1, []
    trainer.save_checkpoint = lambda file: saved.append((trainer.current_epoch, Path(file).stem))
    trainer.logger.plot_progress_png = lambda *_: None
    for score in (0.9, 0.3):
        for name, value in (("train_losses", 1.0), ("val_losses", 1.0), ("dice_per_class_or_region", [score])):
            trainer.logger.log(name, value, trainer.current_epoch)
        trainer.logger.log("mean_fg_dice", score, trainer.current_epoch)
        trainer.logger.log("epoch_start_timestamps", 0.0, trainer.current_epoch)
        trainer.on_epoch_end()
    assert saved == [(epoch, f"checkpoint_{kind}") for epoch in (0, 1) for kind in ("latest", "best")]
    assert trainer._best_ema == pytest.approx(0.03) and "logging issue" not in capsys.readouterr().out


def test_a_training_of_minutes_follows_the_clock_and_remembers_it(make_trainer, tmp_path):
    """Learning rate, iterations and validations by the time that is spent; a resumed training has what is left."""
    trainer = make_trainer(trainer_class=trainer_of_length("nnUNetTrainerSimpleUNet_3minutes"), initialize=False)
    assert (trainer.minutes, trainer.num_epochs, trainer.save_every) == (3, 3, 1)
    now = [0.0]
    trainer._budget = TimeBudget(seconds=180, clock=lambda: now[0])
    trainer.initialize()
    trainer.on_train_epoch_start()
    assert trainer.num_iterations_per_epoch == 10 and trainer.batch_size == 2
    rates = []
    for second in (0.0, 45.0, 90.0, 180.0):
        now[0] = second
        trainer.train_step(make_batch(trainer))
        rates.append(trainer.optimizer.param_groups[0]["lr"])
    initial, final = trainer.initial_lr, 1e-6
    cosine = [final + (initial - final) * (1 + np.cos(np.pi * second / 180)) / 2 for second in (0, 45, 90, 180)]
    assert rates == pytest.approx(cosine)
    now[0] = 20.0
    trainer.on_train_epoch_end([{"loss": np.array(1.0)}])
    trainer.on_validation_epoch_start()
    assert trainer.num_val_iterations_per_epoch == trainer._budget.validation_iterations == 2
    now[0], trainer.current_epoch = 24.0, 1
    trainer.on_train_epoch_start()  # of the 78 seconds of this epoch, 8 go to four validations of 2 seconds each
    assert trainer.num_iterations_per_epoch == 34 and trainer._budget.validation_iterations == 5
    for name, second in (("epoch_start_timestamps", 5.0), ("epoch_end_timestamps", 105.0)):
        trainer.logger.log(name, second, 0)
    trainer.save_checkpoint(str(tmp_path / "checkpoint.pth"))
    resumed = make_trainer(trainer_class=type(trainer))
    resumed.load_checkpoint(str(tmp_path / "checkpoint.pth"))
    assert resumed._budget.elapsed() == 100.0 and resumed._budget.seconds == 180


def test_what_was_trained_runs_in_onnxruntime(make_trainer, tmp_path):
    """The planner's default network, a step, and the checkpoint that the trainer writes."""
    onnxruntime = pytest.importorskip("onnxruntime")
    from maskmed_nnu.nnunet.model_sharing.onnx_export import export_onnx

    trainer = make_trainer(dim=2, planner=SimpleUNetPlanner)
    trainer.train_step(make_batch(trainer))
    trainer.inference_allowed_mirroring_axes = (0, 1)
    model = tmp_path / "model"
    (model / "fold_0").mkdir(parents=True)
    for name, content in (("plans", trainer.plans_manager.plans), ("dataset", trainer.dataset_json)):
        (model / f"{name}.json").write_text(json.dumps(content))
    trainer.save_checkpoint(str(model / "fold_0" / "checkpoint_final.pth"))
    export_onnx(model, tmp_path / "x.onnx", folds=0)
    runtime = onnxruntime.InferenceSession(tmp_path / "x.onnx", providers=["CPUExecutionProvider"])
    image = make_batch(trainer, seed=1)["data"]
    with torch.no_grad():
        expected = trainer.network.eval()(image).numpy()
    (logits,) = runtime.run(None, {"image": image.numpy()})
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-4)
    np.testing.assert_array_equal(logits.argmax(1), expected.argmax(1))


def test_wrong_plans_end_before_anything_is_written(make_planner, nnunet_env):
    for planner_class, network in ((MaskMedPlanner, "MaskMed"), (ExperimentPlanner, "PlainConvUNet")):
        planner = make_planner(planner_class, shape=(16, 16, 16))
        plans = {**planner.plan_experiment(), "continue_training": False}
        with pytest.raises(
            InputError, match=f"made by {planner_class.__name__} for .*{network}, not for .*-pl SimpleUNetPlanner"
        ):
            nnUNetTrainerSimpleUNet(plans, "3d_fullres", 0, planner.dataset_json, CPU)
    assert not list(nnunet_env.results.iterdir())


@pytest.mark.parametrize("trainer", [nnUNetTrainerMaskMed, nnUNetTrainerIAUNet])
def test_other_trainers_refuse_these_plans(make_planner, trainer: type):
    planner = make_planner(SimpleUNetPlanner, shape=(16, 16, 16))
    plans = {**planner.plan_experiment(), "continue_training": False}
    with pytest.raises(InputError, match="were made by SimpleUNetPlanner for the network .*SimpleUNet, not for"):
        trainer(plans, "2d", 0, planner.dataset_json, CPU)


def test_edited_plans_that_cannot_work(make_planner):
    planner = make_planner(SimpleUNetPlanner, shape=(16, 16, 16))
    plans = {**planner.plan_experiment(), "continue_training": False}

    def refused(match: str, **edits: object) -> None:
        edited = copy.deepcopy(plans)
        edited["configurations"]["2d"].update(edits)
        with pytest.raises(InputError, match=match):
            nnUNetTrainerSimpleUNet(edited, "2d", 0, planner.dataset_json, CPU)

    on = {"deep_supervision": True, "learning_rate": 1e-3}
    refused("not a multiple of that. The nearest legal sizes are 12 or 16", simple_unet=on, patch_size=[14, 16])
    two = copy.deepcopy(plans["configurations"]["2d"]["architecture"])
    two["arch_kwargs"].update(strides=[[1, 1], [2, 2]], n_stages=2)
    refused("deep supervision of a network of 2 stages; it needs 3", simple_unet=on, architecture=two)
    for rate in (None, "1e-3", 0, True):
        refused(
            "set simple_unet.learning_rate to .*; legal is a number above 0", simple_unet={**on, "learning_rate": rate}
        )
    refused('deep_supervision to "false"; legal is true or false', simple_unet={**on, "deep_supervision": "false"})

    def refused_kwargs(match: str, **edits: object) -> None:
        architecture = copy.deepcopy(plans["configurations"]["2d"]["architecture"])
        architecture["arch_kwargs"].update(edits)
        refused(match, architecture=architecture)

    refused_kwargs("set arch_kwargs.fusoin to .*, but .* no such setting.*did you mean fusion", fusoin="add")
    refused_kwargs(
        "the norm_op 'torch.nn.BatchNrm2d' in arch_kwargs, which does not exist", norm_op="torch.nn.BatchNrm2d"
    )
    refused_kwargs("no SimpleUNet that works", norm_op="torch.nn.modules.batchnorm.BatchNorm3d")
    refused_kwargs("arch_kwargs.blocks_per_stage to 0; legal is an integer of 1 or more", blocks_per_stage=0)
    refused_kwargs("arch_kwargs.dilation to 0; legal is an integer of 1 or more", dilation=0)
    with pytest.raises(InputError, match="no configuration '3d_lowres'. They have: 2d, 3d_fullres"):
        nnUNetTrainerSimpleUNet(copy.deepcopy(plans), "3d_lowres", 0, planner.dataset_json, CPU)
    del plans["configurations"]["2d"]["simple_unet"]
    refused("lack 'simple_unet': another version of maskmed_nnu made them")


def test_what_is_not_downsampled_evenly_works_without_deep_supervision(make_trainer):
    trainer = make_trainer(dim=2)
    trainer.configuration_manager.configuration["patch_size"] = [15, 19]
    assert np.isfinite(trainer.train_step(make_batch(trainer))["loss"])
