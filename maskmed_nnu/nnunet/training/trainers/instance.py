"""What trainers of networks for objects share: data, validation and prediction of whole images, scores of objects."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from batchgenerators.dataloading.nondet_multi_threaded_augmenter import NonDetMultiThreadedAugmenter
from batchgenerators.dataloading.single_threaded_augmenter import SingleThreadedAugmenter
from nnunetv2.evaluation.evaluate_predictions import compute_metrics_on_folder
from nnunetv2.training.dataloading.nnunet_dataset import infer_dataset_class
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.default_n_proc_DA import get_allowed_n_proc_DA
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager
from torch import nn

from maskmed_nnu.instances.detections import Detections, from_instance_map, pack
from maskmed_nnu.instances.label_values import cast
from maskmed_nnu.instances.metrics import InstanceMetrics, with_names
from maskmed_nnu.json_file import write_json
from maskmed_nnu.nnunet.inference.case_prediction import predict_case
from maskmed_nnu.nnunet.inference.export_prediction import revert_preprocessing, save_detections, write_slices
from maskmed_nnu.nnunet.inference.predictor import prediction_settings, tile_overlap
from maskmed_nnu.nnunet.training.data_augmentation import initial_patch_size, training_transforms, validation_transforms
from maskmed_nnu.nnunet.training.data_loader import InstanceDataLoader
from maskmed_nnu.nnunet.training.object_summary import SCORES, summarize, write_summary
from maskmed_nnu.nnunet.training.trainers.base import PluginTrainer
from maskmed_nnu.nnunet.training.validation_window import cut_off, validation_window


class InstanceTrainer(PluginTrainer):
    """Objects in images and volumes, or in volumes slice by slice; network, plans and loss come in subclasses.

    Each epoch's validation predicts whole images, of volumes a window (`validation_window`), as many as it has
    iterations; nnU-Net's pseudo Dice in the log, the progress plot and the choice of the best checkpoint is their score
    `tracked_metric`.
    """

    tracked_metric = "AP50"
    dataset_class: Any
    """nnU-Net's, chosen by its __init__ or when data are loaded."""
    check: Callable[[dict, dict], None]
    """Refuses plans of another network and illegal settings."""

    def __init__(
        self,
        plans: dict,
        configuration: str,
        fold: int,
        dataset_json: dict,
        device: torch.device = torch.device("cuda"),  # noqa: B008  nnU-Net reads and stores this signature
    ) -> None:
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.oversample_foreground_percent = 0.5
        self._validation_images: Iterator[tuple[str, Any, Any, dict]] = iter(())
        self._metrics = InstanceMetrics()

    @classmethod
    def build_network_architecture(
        cls,
        plans_manager: PlansManager,
        configuration_manager: ConfigurationManager,
        num_input_channels: int,
        num_output_channels: int,
        enable_deep_supervision: bool = True,
    ) -> nn.Module:
        cls.check(plans_manager.plans, configuration_manager.configuration)
        return nnUNetTrainer.build_network_architecture(
            plans_manager, configuration_manager, num_input_channels, num_output_channels, enable_deep_supervision
        )

    def get_dataloaders(self) -> tuple:
        if self.dataset_class is None:
            self.dataset_class = infer_dataset_class(self.preprocessed_dataset_folder)
        patch, spacing = self.configuration_manager.patch_size, self.configuration_manager.spacing
        self.inference_allowed_mirroring_axes = tuple(range(len(patch)))
        datasets = self.get_tr_and_val_datasets()
        sizes = (initial_patch_size(patch, spacing), patch)
        transforms = (training_transforms(patch, spacing), validation_transforms())
        loaders = [
            InstanceDataLoader(
                dataset,
                self.batch_size,
                size,
                patch,
                self.label_manager,
                oversample_foreground_percent=self.oversample_foreground_percent,
                transforms=transform,
                probabilistic_oversampling=self.probabilistic_oversampling,
            )
            for dataset, size, transform in zip(datasets, sizes, transforms, strict=True)
        ]
        processes = get_allowed_n_proc_DA()
        if processes == 0:
            return tuple(SingleThreadedAugmenter(loader, None) for loader in loaders)
        return tuple(
            NonDetMultiThreadedAugmenter(
                data_loader=loader,
                transform=None,
                num_processes=count,
                num_cached=max(6, count),
                seeds=None,
                pin_memory=self.device.type == "cuda",
                wait_time=0.002,
            )
            for loader, count in zip(loaders, (processes, max(1, processes // 2)), strict=True)
        )

    def on_validation_epoch_start(self) -> None:
        super().on_validation_epoch_start()
        self._metrics = InstanceMetrics(stuff_classes=self._instances["stuff_classes"])
        self._validation_images = self._cases()

    def validation_step(self, batch: dict) -> dict:
        """The loss of a batch, and the objects of one image after the other until each had its turn.

        An object that is cut off by the window of a volume counts neither as found nor as missed.
        """
        data = batch["data"].to(self.device, non_blocking=True)
        target = batch["target"].to(self.device, non_blocking=True)
        with torch.autocast(self.device.type, enabled=self.device.type == "cuda"):
            loss = self.loss(self.network(data), target)
        case = next(self._validation_images, None)
        if case is not None:
            _, image, seg, properties = case
            shape = image.shape[1:]
            window = validation_window(shape, self.configuration_manager.patch_size, properties["class_locations"])
            truth = self._truth(np.asarray(seg[(slice(None), *window)]))
            found = self._predict(np.array(image[(slice(None), *window)]), mirror=False)
            for predicted, true in zip(found, truth, strict=True):
                self._metrics.update(predicted, true, crowd=cut_off(true.boxes, window, shape))
        result = {"loss": loss.detach().cpu().numpy()}
        self._log_progress("validation", result)
        return result

    def on_validation_epoch_end(self, val_outputs: list[dict]) -> None:
        loss = float(np.mean([output["loss"] for output in val_outputs]))
        scores = self._gather_metrics(self._metrics).compute()
        losses: list[Any] = [loss]
        if self.is_ddp:
            losses = [None] * dist.get_world_size()
            dist.all_gather_object(losses, loss)
        each = scores["per_class"]
        per_class = [
            each.get(number, {}).get(self.tracked_metric, math.nan) for number in self._instances["thing_classes"]
        ]
        score = 0.0 if math.isnan(scores[self.tracked_metric]) else scores[self.tracked_metric]
        # nnU-Net's progress plot and choice of the best checkpoint follow this name
        self.logger.log("mean_fg_dice", score, self.current_epoch)
        self.logger.log("dice_per_class_or_region", per_class, self.current_epoch)
        self.logger.log("val_losses", float(np.mean(losses)), self.current_epoch)
        self.print_to_log_file(
            ("whole images: " if len(self.configuration_manager.patch_size) == 2 else "windows of volumes: ")
            + ", ".join(f"{name} {scores[name]:.4f}" for name in ("AP", "AP50", "AP75", "PQ", "F1@0.5"))
            + f" ({self.tracked_metric} replaces the pseudo Dice)"
        )

    def perform_actual_validation(self, save_probabilities: bool = False) -> None:
        """Every validation image, with mirroring, at its original resolution; scores go to ``instances.json``.

        ``summary.json`` holds them too, beside the Dice of classes, as nnU-Net's other commands look for it.
        ``save_probabilities`` (``--npz``) keeps scores and soft masks, as in prediction.
        """
        self.network.eval()
        folder = Path(self.output_folder) / "validation"
        folder.mkdir(parents=True, exist_ok=True)
        metrics = InstanceMetrics(stuff_classes=self._instances["stuff_classes"])
        reader = self.plans_manager.image_reader_writer_class()
        truth_folder = Path(self.preprocessed_dataset_folder_base) / "gt_segmentations"
        ending = self.dataset_json["file_ending"]
        for key, image, _, properties in self._cases():
            self.print_to_log_file(f"predicting {key}")
            slices = revert_preprocessing(pack(self._predict(np.array(image[:]), mirror=True)), properties)
            write_slices(
                slices,
                str(folder / key) + ending,
                properties,
                plans_manager=self.plans_manager,
                configuration=self.configuration_manager.configuration,
                dataset_json=self.dataset_json,
            )
            if save_probabilities:
                save_detections(slices, f"{folder / key}.npz")
            objects, _ = reader.read_instances(str(truth_folder / key) + ending)
            axes = self.plans_manager.transpose_forward
            ids = objects.ids.transpose(0, *(axis + 1 for axis in axes))
            truth = self._detections(ids, objects.classes, objects.stuff.transpose(axes))
            for predicted, true in zip(slices, truth, strict=True):
                metrics.update(predicted, true)
        scores = self._gather_metrics(metrics).compute()
        if self.local_rank == 0:
            numbers = {number: name for name, number in self.dataset_json["labels"].items()}
            named = with_names(scores, numbers)
            write_json(folder / SCORES, named, indent=2)
            classes = compute_metrics_on_folder(
                str(truth_folder), str(folder), None, reader, ending, self.label_manager.foreground_labels
            )
            write_summary(folder, summarize(named, self.dataset_json["labels"], classes))
            names = ("AP", "AP50", "AP75", "PQ", "AJI", "F1@0.5")
            summary = ", ".join(f"{name} {scores[name]:.4f}" for name in names)
            self.print_to_log_file(f"Validation complete: {summary} ({folder / SCORES})")

    @property
    def _instances(self) -> dict:
        return self.configuration_manager.configuration["instances"]

    def _predict(self, image: np.ndarray, *, mirror: bool) -> list[Detections]:
        configuration = self.configuration_manager.configuration
        patch = configuration["patch_size"]
        return predict_case(
            self.network,
            torch.from_numpy(image),
            tile_size=patch,
            overlap=tile_overlap(configuration, 0.5),
            mirror_axes=range(len(patch)) if mirror else (),
            device=self.device,
            **prediction_settings(configuration),
        )

    def _cases(self) -> Iterator[tuple[str, Any, Any, dict]]:
        """This rank's validation cases, preprocessed: name, image and labels as they lie on the disk, properties."""
        keys = self.do_split()[1][self.local_rank :: dist.get_world_size() if self.is_ddp else 1]
        dataset = self.dataset_class(self.preprocessed_dataset_folder, keys)
        for key in dataset.identifiers:
            data, seg, _, properties = dataset.load_case(key)
            yield key, data, seg, properties

    def _truth(self, seg: np.ndarray) -> list[Detections]:
        """Objects of ``seg [1 + L, Z, Y, X]`` or of each slice of it; crowds are stuff of a thing's class."""
        semantic, ids = cast(seg[0], np.int16), cast(np.maximum(seg[1:], 0), np.int32)
        classes = np.ones(max(int(ids.max()), 0), np.int64)
        for layer, number in zip(ids, self._instances["layer_classes"], strict=True):
            ids_in_layer = np.unique(layer)
            classes[ids_in_layer[ids_in_layer > 0] - 1] = number
        stuff = np.where((ids > 0).any(0), 0, np.maximum(semantic, 0))
        return self._detections(ids, classes, stuff)

    def _detections(self, ids: np.ndarray, classes: np.ndarray, stuff: np.ndarray) -> list[Detections]:
        """The objects of a volume ``ids [L, Z, Y, X]``, whole or slice by slice, as the configuration predicts them."""
        if len(self.configuration_manager.patch_size) == stuff.ndim:
            return [from_instance_map(ids, classes, stuff)]
        return [from_instance_map(ids[:, z], classes, stuff[z]) for z in range(len(stuff))]

    def _gather_metrics(self, metrics: InstanceMetrics) -> InstanceMetrics:
        if not self.is_ddp:
            return metrics
        gathered: list[Any] = [None] * dist.get_world_size()
        dist.all_gather_object(gathered, metrics)
        total = InstanceMetrics(stuff_classes=self._instances["stuff_classes"])
        for part in gathered:
            total.merge(part)
        return total
