"""Trainers that mirror as the plans say: along which axes, and which labels change places."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

import torch.distributed as dist
from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from maskmed_nnu.nnunet.experiment_planning.mirroring_rules import find_mirroring, say, section_for
from maskmed_nnu.nnunet.inference.mirrored_views import wrap_mirrored_views
from maskmed_nnu.nnunet.plans_handling.mirroring import Mirroring, mirroring_of
from maskmed_nnu.nnunet.plans_handling.settings.mirroring import SECTION
from maskmed_nnu.nnunet.training.mirror_transform import with_swaps
from maskmed_nnu.nnunet.training.trainers.resumable import Resumable

wrap_mirrored_views(nnUNetPredictor)  # where the start-up hook is switched off


class MirrorAware(nnUNetTrainer):
    """Mixed into a trainer of labels or regions: its augmentation obeys ``mirroring`` of its configuration.

    What a subclass forbids with `configure_rotation_dummyDA_mirroring_and_inital_patch_size` stays forbidden.
    """

    get_training_transforms: Callable[..., ComposeTransforms]  # nnU-Net's, or those of a subclass

    @property
    def mirroring(self) -> Mirroring:
        """That of the plans.

        Raises
        ------
        InputError
            As `mirroring_of`.
        """
        plans, configuration = self.plans_manager.plans, self.configuration_manager.configuration
        return mirroring_of(plans, configuration, self.label_manager)

    def configure_rotation_dummyDA_mirroring_and_inital_patch_size(self) -> tuple:
        *others, axes = super().configure_rotation_dummyDA_mirroring_and_inital_patch_size()
        # nnU-Net's predictor takes None for none, and fails at an empty tuple
        mirroring = self.mirroring
        allowed = tuple(axis for axis in axes or () if axis in mirroring.axes) or None
        self.inference_allowed_mirroring_axes = allowed
        exchanged = _exchanged(mirroring, allowed or ())
        self.print_to_log_file(f"mirroring along the axes {list(allowed or ())} of the patch{exchanged}")
        return *others, allowed

    def get_dataloaders(self) -> tuple:
        """With exchanged labels in whatever transforms a subclass has, by a static method as in nnU-Net or not."""
        transforms = self.get_training_transforms
        self.get_training_transforms = lambda *args, **kwargs: with_swaps(transforms(*args, **kwargs), self.mirroring)
        try:
            return super().get_dataloaders()
        finally:
            del self.get_training_transforms


def _exchanged(mirroring: Mirroring, axes: Collection[int]) -> str:
    return "".join(
        f"; along {axis} the labels {', '.join(f'{a} and {b}' for a, b in pairs)} change places"
        for axis, pairs in mirroring.swap.items()
        if axis in axes
    )


class nnUNetTrainerMirrorAware(MirrorAware, Resumable):
    """nnU-Net's own trainer, for its own plans: what they do not say about mirroring is found in the training labels.

    That happens at the start of the training; checkpoint and ``plans.json`` of the model keep it.
    """

    def get_dataloaders(self) -> tuple:
        self._find_mirroring()
        return super().get_dataloaders()

    def load_checkpoint(self, filename_or_checkpoint: dict | str) -> None:
        super().load_checkpoint(filename_or_checkpoint)
        kept = self.my_init_kwargs["plans"]["configurations"].get(self.configuration_name, {})
        if SECTION in kept:
            self._write(kept[SECTION])

    def _find_mirroring(self) -> None:
        if SECTION in self.configuration_manager.configuration:
            return
        found = [self._section() if self.local_rank == 0 else None]
        if self.is_ddp:  # the first rank reads, and all obey
            dist.broadcast_object_list(found, src=0)
        if found[0] is not None:
            self._write(found[0])

    def _section(self) -> dict | None:
        """From the label files that preprocessing has copied, and the raw images where they are still there."""
        folder = Path(self.preprocessed_dataset_folder_base)
        found = find_mirroring(self.plans_manager.dataset_name, self.dataset_json, labels=folder / "gt_segmentations")
        for line in say(found):
            self.print_to_log_file(line)
        dimension = len(self.configuration_manager.patch_size)
        return section_for(found, self.plans_manager.transpose_forward, dimension)

    def _write(self, section: dict) -> None:
        """Into the plans, which checkpoint and model folder keep."""
        for plans in (self.plans_manager.plans, self.my_init_kwargs["plans"]):
            plans["configurations"][self.configuration_name][SECTION] = section
        self.configuration_manager.configuration[SECTION] = section
