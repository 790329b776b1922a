"""Everything that the folder of a training tells, finished or not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maskmed_nnu.errors import InputError
from maskmed_nnu.instances.instance_map import LabelFormat
from maskmed_nnu.json_file import read_optional_object
from maskmed_nnu.nnunet.evaluation.case_layers import view_classes, view_objects
from maskmed_nnu.nnunet.evaluation.object_validation import score_objects
from maskmed_nnu.nnunet.evaluation.training_curves import TrainingCurve, read_curve
from maskmed_nnu.nnunet.evaluation.training_story import Names, names_of
from maskmed_nnu.nnunet.evaluation.validated_cases import ValidatedCase, Validations, find_validations, fold_names
from maskmed_nnu.nnunet.evaluation.validation_scores import ValidationScores, score_classes
from maskmed_nnu.nnunet.inference.model_source import read_training
from maskmed_nnu.nnunet.plans_handling.configuration import resolve_configuration
from maskmed_nnu.progress import Report
from maskmed_nnu.semantic.classes import Classes
from maskmed_nnu.visualization.case_view import CaseView

OBJECTS = "InstanceLabelManager"


@dataclass(frozen=True)
class TrainingRecord:
    """``classes`` is None where objects are found, and ``objects`` their encoding then."""

    folder: Path
    plans: dict[str, Any]
    dataset_json: dict[str, Any]
    fingerprint: dict[str, Any]
    names: Names
    folds: tuple[str, ...]
    curves: tuple[TrainingCurve, ...]
    validations: Validations
    classes: Classes | None
    objects: LabelFormat | None

    @property
    def stuff(self) -> list[int]:
        """Classes that are segmented but not counted."""
        return [int(number) for number in (self._configuration.get("instances") or {}).get("stuff_classes", [])]

    @property
    def in_space(self) -> bool:
        """Whether volumes are predicted whole, rather than slice by slice."""
        return len(self._configuration.get("patch_size", ())) == 3

    @property
    def _configuration(self) -> dict[str, Any]:
        return resolve_configuration(self.plans, self.names.configuration)

    def score(self, partners: Sequence[tuple[int, int]], *, progress: Report | None = None) -> ValidationScores:
        """Score every validated case; one that cannot be read costs a sentence."""
        cases = self.validations.cases
        if self.objects is not None:
            return score_objects(
                cases,
                self.folder,
                self.objects,
                stuff_classes=self.stuff,
                in_space=self.in_space,
                progress=progress,
            )
        assert self.classes is not None
        return score_classes(cases, self.folder, self.classes, partners=partners, progress=progress)

    def view(self, case: ValidatedCase) -> CaseView:
        """Pictures of a case.

        Raises:
            InputError: where it cannot be shown.
        """
        if self.objects is not None:
            things = [number for number in self.objects.classes.values() if number not in self.stuff]
            return view_objects(case, self.objects, things, in_space=self.in_space)
        assert self.classes is not None
        return view_classes(case, self.classes)


def read_record(folder: Path) -> TrainingRecord:
    """Read everything but label maps.

    Raises:
        InputError: where there is no training, or nothing was trained.
    """
    path, plans, dataset_json = read_training(folder)
    names, folds = names_of(path, plans), fold_names(path)
    curves = tuple(read_curve(path / f"fold_{fold}") for fold in folds)
    validations = find_validations(path, names.dataset, dataset_json)
    if not validations.cases and not any(curve.epochs or curve.finished for curve in curves):
        raise InputError(
            f"There is no training in {path}: no fold has finished an epoch; train it with nnUNetv2_train first."
        )
    objects = plans.get("label_manager") == OBJECTS
    return TrainingRecord(
        path,
        plans,
        dataset_json,
        read_optional_object(path / "dataset_fingerprint.json"),
        names,
        tuple(folds),
        curves,
        validations,
        None if objects else Classes.from_dataset_json(dataset_json, str(path / "dataset.json")),
        LabelFormat.from_dataset_json(dataset_json, str(path / "dataset.json")) if objects else None,
    )
