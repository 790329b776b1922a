"""MaskAttn-UNet's trainers on plans of its planner, without data loaders."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from maskmed_nnu.errors import InputError
from maskmed_nnu.instances.instance_map import InstanceMap
from maskmed_nnu.instances.metrics import InstanceMetrics
from maskmed_nnu.networks.output import EmbeddingOutput
from maskmed_nnu.nnunet.experiment_planning.planners.iaunet import IAUNetPlanner
from maskmed_nnu.nnunet.experiment_planning.planners.maskattn_unet import MaskAttnUNetPlanner
from maskmed_nnu.nnunet.experiment_planning.planners.simple_unet import SimpleUNetPlanner
from maskmed_nnu.nnunet.inference.case_prediction import instance_network
from maskmed_nnu.nnunet.preprocessing.instance_preprocessor import label_stack
from maskmed_nnu.nnunet.training.trainers.iaunet import nnUNetTrainerIAUNet
from maskmed_nnu.nnunet.training.trainers.maskattn_unet import (
    nnUNetTrainerMaskAttnUNet,
    nnUNetTrainerMaskAttnUNetInstance,
    nnUNetTrainerMaskAttnUNetPanoptic,
)
from tests.instances.cells import draw_cells
from tests.nnunet.scenarios import SCENARIOS, loaded_target

CPU = torch.device("cpu")
OF_OBJECTS = (nnUNetTrainerMaskAttnUNetInstance, nnUNetTrainerMaskAttnUNetPanoptic)
IMAGES = {"shape": (1, 32, 32), "spacing": (999.0, 1.0, 1.0)}


def shrunk(plans: dict, **settings: object) -> dict:
    """Few features, which suffice to learn a bright square."""
    configuration = plans["configurations"]["2d"]
    configuration["batch_size"] = 2
    configuration["architecture"]["arch_kwargs"].update(features_per_stage=[8, 8, 16, 16], heads=2)
    configuration["maskattn_unet"].update(settings)
    return {**plans, "continue_training": False}


def initialized(trainer_class: type, plans: dict, dataset_json: dict, folder):
    folder = folder / plans["configurations"]["2d"]["data_identifier"]
    folder.mkdir(exist_ok=True)
    (folder / "x.b2nd").touch()
    torch.manual_seed(0)
    trainer = trainer_class(plans, "2d", 0, dataset_json, CPU)
    trainer.num_epochs, trainer.num_iterations_per_epoch = 4, 10
    trainer.initialize()
    trainer.on_train_epoch_start()
    return trainer


# ------------------------------------------------------------------------------------------------------------- labels
@pytest.fixture
def make_trainer(make_planner, nnunet_env):
    """``make_trainer(scenario="labels", deep_supervision=False)``: an initialized trainer of labels."""

    def make(scenario: str = "labels", deep_supervision: bool = False) -> nnUNetTrainerMaskAttnUNet:
        planner = make_planner(MaskAttnUNetPlanner, **IMAGES, **SCENARIOS[scenario])
        plans = shrunk(planner.plan_experiment(), deep_supervision=deep_supervision, learning_rate=2e-3)
        folder = nnunet_env.preprocessed / "Dataset001_Made"
        return initialized(nnUNetTrainerMaskAttnUNet, plans, planner.dataset_json, folder)

    return make


def make_batch(trainer: nnUNetTrainerMaskAttnUNet, seed: int = 0) -> dict:
    """What nnU-Net's loaders deliver."""
    labels, rng = torch.zeros((2, 1, 32, 32), dtype=torch.int16), np.random.default_rng(seed)
    labels[:, :, 4:16, 4:16], labels[:, :, 18:28, 18:28] = 1, 2
    data = labels.float() + torch.from_numpy(rng.normal(0, 0.1, labels.shape)).float()
    if trainer.label_manager.has_ignore_label:
        labels[:, :, :2] = trainer.label_manager.ignore_label
    return {"data": data, "target": loaded_target(trainer, labels)}


@pytest.mark.parametrize("deep_supervision", [False, True])
@pytest.mark.parametrize("scenario", list(SCENARIOS))
def test_trains_and_validates(make_trainer, scenario: str, deep_supervision: bool):
    trainer = make_trainer(scenario, deep_supervision)
    assert isinstance(trainer.network(make_batch(trainer)["data"]), list if deep_supervision else torch.Tensor)
    losses = [float(trainer.train_step(make_batch(trainer, seed))["loss"]) for seed in range(10)]
    assert np.isfinite(losses).all() and losses[-1] < losses[0]
    # nnU-Net gives the coarsest of three scales a weight under DDP only, which refuses unused parameters
    coarsest = {f"heads.seg_layers.2.{part}" for part in ("weight", "bias")} if deep_supervision else set()
    assert {name for name, p in trainer.network.named_parameters() if p.grad is None} == coarsest

    trainer.on_validation_epoch_start()
    with torch.no_grad():
        result = trainer.validation_step(make_batch(trainer))
    assert len(result["tp_hard"]) == 2 and np.isfinite(result["loss"])
    target = make_batch(trainer)["target"]
    truth = target[0] if isinstance(target, list) else target
    if not trainer.label_manager.has_regions:
        np.testing.assert_array_equal(
            result["tp_hard"] + result["fn_hard"], [int((truth == label).sum()) for label in (1, 2)]
        )


def test_adamw_as_published(make_planner, nnunet_env):
    planner = make_planner(MaskAttnUNetPlanner, **IMAGES)
    plans = shrunk(planner.plan_experiment())
    trainer = initialized(
        nnUNetTrainerMaskAttnUNet, plans, planner.dataset_json, nnunet_env.preprocessed / "Dataset001_Made"
    )
    assert type(trainer.optimizer) is torch.optim.AdamW and trainer.initial_lr == 5e-4
    assert [group["weight_decay"] for group in trainer.optimizer.param_groups] == [1e-3]


def test_nnunets_prediction_takes_it_for_a_network_of_labels(make_trainer):
    """It has the method that finds objects, but no embedding to find them by."""
    assert instance_network(make_trainer().network) is None


# ------------------------------------------------------------------------------------------------------------ objects
@pytest.fixture
def make_instance_trainer(make_cell_planner, nnunet_env):
    """``make_instance_trainer(trainer_class, **cells)``: an initialized trainer of objects."""

    def make(trainer_class: type, **cells: object):
        planner = make_cell_planner(MaskAttnUNetPlanner, cells=cells)
        plans = shrunk(planner.plan_experiment(), learning_rate=2e-3)
        return initialized(trainer_class, plans, planner.dataset_json, nnunet_env.preprocessed / "Dataset011_Cells")

    return make


def cells_batch(trainer, **cells: object) -> dict:
    """Two patches of cells, as `InstanceDataLoader` delivers them."""
    layer_classes = trainer.configuration_manager.configuration["instances"]["layer_classes"]
    rng, data, target = np.random.default_rng(0), [], []
    for _ in range(2):
        image, objects = draw_cells(rng, shape=(64, 64), count=8, **cells)
        volume = InstanceMap(objects.ids[:, None], objects.classes, objects.stuff[None])
        data.append(image[None])
        target.append(label_stack(volume, layer_classes)[:, 0])
    return {"data": torch.from_numpy(np.stack(data)), "target": torch.from_numpy(np.stack(target))}


@pytest.mark.parametrize("trainer_class", OF_OBJECTS)
def test_a_few_steps_lower_the_loss_of_objects(make_instance_trainer, trainer_class):
    trainer = make_instance_trainer(trainer_class, classes=3)
    batch = cells_batch(trainer, classes=3)
    output = trainer.network(batch["data"])
    assert isinstance(output, EmbeddingOutput) and output.logits.shape == (2, 4, 64, 64)
    losses = [float(trainer.train_step(batch)["loss"]) for _ in range(12)]
    assert np.isfinite(losses).all() and losses[-1] < 0.95 * losses[0]
    assert all(p.grad is not None for p in trainer.network.parameters()), "DDP would refuse an unused parameter"
    assert instance_network(trainer.network) is trainer.network


def test_the_loss_is_cross_entropy_and_half_the_contrast(make_instance_trainer):
    """Without objects there is no contrast; with them a perfect semantic map leaves nothing else."""
    trainer = make_instance_trainer(nnUNetTrainerMaskAttnUNetInstance)
    target = cells_batch(trainer)["target"]
    semantic = target[:, 0].long()
    perfect = 100.0 * torch.nn.functional.one_hot(semantic, 2).movedim(-1, 1).float()
    logits = torch.randn(perfect.shape, generator=torch.Generator().manual_seed(0))
    embeddings = torch.nn.functional.normalize(torch.randn(2, 32, 64, 64), dim=1)
    background = target.clone()
    background[:, 1:] = 0
    torch.testing.assert_close(
        trainer.loss(EmbeddingOutput(logits, embeddings), background),
        torch.nn.functional.cross_entropy(logits, semantic),
    )
    torch.testing.assert_close(trainer.loss(logits, target), torch.nn.functional.cross_entropy(logits, semantic))
    torch.manual_seed(1)
    found = trainer.loss(EmbeddingOutput(perfect, embeddings), target)
    torch.manual_seed(1)
    torch.testing.assert_close(found, 0.5 * trainer.loss.contrast(embeddings, target[:, 1:]))
    assert found > 0.5


def test_pixels_of_an_object_below_another_are_the_upper_ones(make_instance_trainer):
    """Two cytoplasms with their nuclei: four embeddings are right, one for each kind of pixel."""
    trainer = make_instance_trainer(nnUNetTrainerMaskAttnUNetInstance, classes=2)
    layers = trainer.configuration_manager.configuration["instances"]["layer_classes"]
    target, visible = torch.zeros(1, 1 + len(layers), 64, 64, dtype=torch.int32), torch.zeros(1, 64, 64).long()
    for number, (label, y, edge) in enumerate(((1, 4, 24), (1, 34, 24), (2, 10, 8), (2, 40, 8)), 1):
        box = np.s_[y : y + edge, 20 : 20 + edge]
        target[0, 0][box], target[0, 1 + layers.index(label)][box], visible[0][box] = label, number, number
    embeddings = torch.nn.functional.one_hot(visible, 32).movedim(-1, 1).float()
    logits = 100.0 * torch.nn.functional.one_hot(target[:, 0].long(), 3).movedim(-1, 1).float()
    assert trainer.loss(EmbeddingOutput(logits, embeddings), target) < 0.1
    # what all layers together would ask; how much depends on the pixels that are drawn
    assert trainer.loss.contrast(embeddings, target[:, 1:]) > 0.3


def test_what_is_outside_the_image_has_no_part_in_the_loss(make_instance_trainer):
    trainer = make_instance_trainer(nnUNetTrainerMaskAttnUNetInstance)
    target = cells_batch(trainer)["target"]
    target[:, :, 40:] = -1
    logits, other = torch.randn(2, 2, 64, 64), torch.randn(2, 2, 64, 64)
    other[:, :, :40] = logits[:, :, :40]
    torch.testing.assert_close(trainer.loss(logits, target), trainer.loss(other, target))
    nothing = torch.full_like(target, -1)
    embeddings = torch.nn.functional.normalize(torch.randn(2, 32, 64, 64), dim=1)
    assert trainer.loss(EmbeddingOutput(logits, embeddings), nothing) == 0


@pytest.mark.parametrize(("trainer_class", "expected"), zip(OF_OBJECTS, (0.2, 0.4), strict=True))
def test_the_best_checkpoint_follows_the_trainers_score(make_instance_trainer, monkeypatch, trainer_class, expected):
    scores = {"AP": 0.1, "AP50": 0.2, "AP75": 0.3, "PQ": 0.4, "F1@0.5": 0.5, "per_class": {}}
    monkeypatch.setattr(InstanceMetrics, "compute", lambda self: scores)
    trainer = make_instance_trainer(trainer_class)
    trainer.on_validation_epoch_end([{"loss": np.array(1.0)}])
    assert trainer.logger.get_value("mean_fg_dice", step=0) == expected


# ----------------------------------------------------------------------------------------------------------- refusals
def test_plans_of_another_network(make_planner):
    planner = make_planner(SimpleUNetPlanner, **IMAGES)
    plans = {**planner.plan_experiment(), "continue_training": False}
    for trainer_class in (nnUNetTrainerMaskAttnUNet, *OF_OBJECTS):
        with pytest.raises(
            InputError, match="made by SimpleUNetPlanner for .*, not for .*MaskAttnUNet. .*-pl MaskAttnUNetPlanner"
        ):
            trainer_class(plans, "2d", 0, planner.dataset_json, CPU)


def test_objects_on_a_semantic_data_set(make_planner):
    planner = make_planner(MaskAttnUNetPlanner, **IMAGES)
    plans = shrunk(planner.plan_experiment())
    for trainer_class in OF_OBJECTS:
        with pytest.raises(InputError, match="Dataset001_Made is a semantic data set.* nnUNetTrainerMaskAttnUNet,"):
            trainer_class(plans, "2d", 0, planner.dataset_json, CPU)


def test_labels_on_a_data_set_of_objects(make_cell_planner):
    planner = make_cell_planner(MaskAttnUNetPlanner)
    plans = shrunk(planner.plan_experiment())
    with pytest.raises(InputError, match="for the objects of Dataset011_Cells.*MaskAttnUNetInstance or .*Panoptic"):
        nnUNetTrainerMaskAttnUNet(plans, "2d", 0, planner.dataset_json, CPU)
    with pytest.raises(InputError, match="made by MaskAttnUNetPlanner for .*MaskAttnUNet, not for .*IAUNet"):
        nnUNetTrainerIAUNet(plans, "2d", 0, planner.dataset_json, CPU)
    labels = {**planner.dataset_json, "labels": {"background": 0, "cell": 1, "new": 2}}
    with pytest.raises(InputError, match=r"labels \[1, 2\], but the plans .* for \[1\]. .*-pl MaskAttnUNetPlanner"):
        nnUNetTrainerMaskAttnUNetInstance(plans, "2d", 0, labels, CPU)


def test_an_embedding_is_for_objects_and_objects_need_one(make_planner, make_cell_planner):
    planner, of_cells = make_planner(MaskAttnUNetPlanner, **IMAGES), make_cell_planner(MaskAttnUNetPlanner)
    for one, trainer_class, edits, match in (
        (planner, nnUNetTrainerMaskAttnUNet, {"embedding_dim": 8}, "labels need none; legal is neither"),
        (of_cells, nnUNetTrainerMaskAttnUNetInstance, {"embedding_dim": 0}, "from an embedding; legal is both"),
        (of_cells, nnUNetTrainerMaskAttnUNetInstance, {"thing_channels": []}, "from an embedding; legal is both"),
        (
            planner,
            nnUNetTrainerMaskAttnUNet,
            {"featurs": 0},
            "featurs to 0, but .* no such .* features_per_stage",
        ),
    ):
        plans = shrunk(one.plan_experiment())
        plans["configurations"]["2d"]["architecture"]["arch_kwargs"].update(edits)
        with pytest.raises(InputError, match=match):
            trainer_class(plans, "2d", 0, one.dataset_json, CPU)


def test_plans_of_iaunet(make_cell_planner):
    planner = make_cell_planner(IAUNetPlanner)
    plans = {**planner.plan_experiment(), "continue_training": False}
    with pytest.raises(InputError, match="made by IAUNetPlanner for .*IAUNet, not for .*MaskAttnUNet"):
        nnUNetTrainerMaskAttnUNetInstance(plans, "2d", 0, planner.dataset_json, CPU)
