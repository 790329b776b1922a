"""Content of the report of a training: text, tables and charts."""

from __future__ import annotations

import math
import platform
from collections.abc import Mapping, Sequence
from datetime import date

from maskmed_nnu.errors import InputError
from maskmed_nnu.instances.text import count
from maskmed_nnu.nnunet.evaluation.case_layers import OBJECT_LEGEND, class_legend
from maskmed_nnu.nnunet.evaluation.object_validation import IOU
from maskmed_nnu.nnunet.evaluation.training_curves import TrainingCurve
from maskmed_nnu.nnunet.evaluation.training_record import TrainingRecord
from maskmed_nnu.nnunet.evaluation.training_story import (
    commands,
    fingerprint_rows,
    planned_rows,
    planner_words,
    setting_rows,
    trained_with,
)
from maskmed_nnu.nnunet.evaluation.validation_scores import Samples, ValidationScores
from maskmed_nnu.progress import Report, counted
from maskmed_nnu.version import package_version
from maskmed_nnu.visualization.charts import Box, Line, box_chart, line_chart
from maskmed_nnu.visualization.report_page import NO_TABLE, Chart, Example, Page, Table

SERIES = 8
"""Colours of curves."""
RELEASES = ("maskmed-nnu", "nnunetv2", "torch", "numpy")


def page_of(record: TrainingRecord, scores: ValidationScores, *, progress: Report | None = None) -> Page:
    """The page of a training; the cases that it shows are drawn here."""
    names = record.names
    fingerprint = fingerprint_rows(record.fingerprint, record.dataset_json)
    notes = [*_notes_on_training(record.curves), *record.validations.notes, *(_ended(note) for note in scores.notes)]
    if not record.fingerprint:
        notes.append("The folder has no dataset_fingerprint.json, so the training images cannot be described.")
    kind = "objects" if record.objects else "classes"
    planned_classes = (record.plans.get("maskmed_nnu") or {}).get("num_classes")
    return Page(
        title=f"{planned_rows(record.plans, names)[2][1]} on {names.dataset}",
        subtitle=f"{names.trainer}, {names.plans}, {names.configuration}: the training and its validation",
        facts=[
            (f"mean {scores.ranked_by} of the cases", "–" if math.isnan(scores.mean) else f"{scores.mean:.3f}"),
            ("cases scored", str(len(scores.ranking))),
            ("folds trained to the end", f"{sum(curve.finished for curve in record.curves)} of {len(record.folds)}"),
            (f"{kind} missed or invented", f"{scores.number_of_failures:,}"),
            ("cases not evaluated", str(len(scores.faults) + len(record.validations.missing))),
        ],
        notes=notes,
        summary=_table(scores.summary),
        summary_caption=_summary_caption(record),
        boxes=[boxes_of(metric, samples) for metric, samples in scores.metrics.items()],
        no_scores="There are no scores, because no fold has predictions of a final validation with their truth.",
        examples=_examples(record, scores, progress),
        examples_caption=_examples_caption(record),
        colours=list((OBJECT_LEGEND if record.classes is None else class_legend(record.classes)).items()),
        failures=_failures(record, scores),
        failures_caption=_failures_caption(record),
        no_failures=f"No {'object' if record.objects else 'class'} was missed or invented in any case.",
        faults=_faults(record, scores),
        curves=_curves(record),
        planned=planned_rows(record.plans, names),
        fingerprint=fingerprint,
        words=planner_words(record.plans, names, record.fingerprint, planned_classes or _number_of_classes(record)),
        settings=Table(
            ("setting", "value", "meaning", "chosen by"),
            [(row.name, row.value, row.meaning, row.chosen_by) for row in setting_rows(record.plans, names)],
            words=True,
        ),
        versions=_versions(record),
        titled_dataset=names.dataset,
        commands=commands(record.folder, record.plans, names, record.folds),
        footer=f"Written by maskmed report on {date.today().isoformat()}. For research only; not a medical device.",
    )


def _notes_on_training(curves: Sequence[TrainingCurve]) -> list[str]:
    notes = []
    for curve in curves:
        of = f" of {curve.planned}" if curve.planned else ""
        if not curve.finished:
            reached = (
                f"after {count(curve.epochs[-1].number + 1, 'epoch')}{of}"
                if curve.epochs
                else "before its first epoch ended"
            )
            notes.append(f"Fold {curve.fold} is not fully trained: its log ends {reached}.")
        elif not curve.epochs:
            notes.append(f"Fold {curve.fold} has no log of its training, and no checkpoint with one.")
        elif curve.from_checkpoint:
            notes.append(f"Fold {curve.fold} has no log; its curves come from the checkpoint.")
    return notes


def _curves(record: TrainingRecord) -> list[Chart]:
    trained = [curve for curve in record.curves if curve.epochs]
    if not trained:
        return []
    score = "PQ of validation images" if record.objects else "pseudo Dice"
    losses, scores = [], []
    for index, curve in enumerate(trained):
        series, x = index % SERIES + 1, [epoch.number for epoch in curve.epochs]
        name = f"fold {curve.fold}"
        losses.append(Line(f"{name}, training", x, [epoch.train_loss for epoch in curve.epochs], series, faint=True))
        losses.append(Line(f"{name}, validation", x, [epoch.val_loss for epoch in curve.epochs], series))
        scores.append(Line(name, x, [epoch.score for epoch in curve.epochs], series))
    charts = []
    for key, title, lines, y, caption in (
        ("loss", "Loss", losses, "loss", ""),
        ("score", score[0].upper() + score[1:], scores, score, _score_caption(record)),
    ):
        svg = line_chart(key, f"{title} of each epoch", lines, x="epoch", y=y, from_zero=key == "score")
        numbers = _curve_table(trained, losses=key == "loss")
        legend = [(line.name, line.series, line.faint) for line in lines]
        charts.append(Chart(title, svg, [(f"Numbers of {title}", numbers)], legend, caption))
    return charts


def _score_caption(record: TrainingRecord) -> str:
    if record.objects:
        return "Measured on whole validation images while training, as the trainer logs it; mean over classes."
    return "nnU-Net's estimate from validation patches while training; mean over classes."


def _curve_table(curves: Sequence[TrainingCurve], *, losses: bool) -> Table:
    kinds = ("training loss", "validation loss", "learning rate", "seconds") if losses else ("score",)
    header = ["epoch", *(f"fold {curve.fold}, {kind}" for curve in curves for kind in kinds)]
    by_epoch = [{epoch.number: epoch for epoch in curve.epochs} for curve in curves]
    rows = []
    for number in sorted({number for epochs in by_epoch for number in epochs}):
        row = [str(number)]
        for epochs in by_epoch:
            one = epochs.get(number)
            values = (one.train_loss, one.val_loss, one.learning_rate, one.seconds) if one else (math.nan,) * 4
            row += [_shown(value) for value in (values if losses else (one.score if one else math.nan,))]
        rows.append(row)
    return Table(header, rows)


def boxes_of(metric: str, samples: Samples, *, rows: str = "class", caption: str | None = None) -> Chart:
    """A box for each of the ``rows``, with its numbers."""
    limits = None if metric.startswith("HD95") else (0.0, 1.0)
    key = f"box-{metric[:2].lower()}-{rows}"
    svg = box_chart(key, f"{metric} of each {rows}", samples, x=metric, limits=limits)
    boxes = {name: Box.of(list(of_row.values())) for name, of_row in samples.items()}
    header = (rows, "cases", "low", "1st quartile", "median", "3rd quartile", "high", "mean")
    numbers = [
        (name, str(box.number), *(_shown(value) for value in box[1:])) if box else (name, "0", *("–",) * 6)
        for name, box in boxes.items()
    ]
    cases = sorted({case for of_row in samples.values() for case in of_row})
    each = [(case, *(_shown(of_row.get(case, math.nan)) for of_row in samples.values())) for case in cases]
    if caption is None:
        caption = (
            "Cases in which the class was found." if limits is None else
            "A dot is a case; the box holds half of them, its line is the median. Missed and invented count as 0."
        )  # fmt: skip
    tables = [
        ("Numbers of the boxes", Table(header, numbers)),
        (f"{metric} of each case", Table(("case", *samples), each)),
    ]
    return Chart(metric, svg, tables, caption=caption)


def _examples(record: TrainingRecord, scores: ValidationScores, progress: Report | None) -> list[Example]:
    by_key = {case.key: case for case in record.validations.cases}
    examples = []
    for which, key in counted(scores.example_cases(), "drawing", progress):
        case = by_key[key]
        title = f"{which} case: {case.name}, fold {case.fold}, {scores.ranked_by} {scores.ranking[key]:.3f}"
        try:
            examples.append(Example(title, record.view(case)))
        except InputError as error:
            examples.append(Example(title, None, f"It is not shown: {_ended(str(error))}"))
    return examples


def _examples_caption(record: TrainingRecord) -> str:
    if record.objects:
        return (
            "By PQ. Areas are true objects, lines are predicted ones; an object counts as found at an IoU of at "
            f"least {IOU:g}."
        )
    return (
        "By mean Dice over the classes. Areas are the truth, lines the prediction. Volumes are shown in radiological "
        "convention, the patient's right on the left, along the voxel axes closest to those of the body. The "
        "first view shows the slice with most labelled voxels; the slider shows the others."
    )


def _summary_caption(record: TrainingRecord) -> str:
    if record.objects:
        return (
            "Counts are summed over all cases before the metrics are computed. AP and AP50 need the scores of the "
            "objects: they are means over folds of what the final validation measured. See docs/reference/metrics.md "
            "for the metrics."
        )
    return (
        "Means over cases; a missed or invented class counts as the worst case, and means over found classes are in "
        "a column of their own. Distances in mm, or in pixels if files have no spacing. See docs/reference/metrics.md "
        "for the metrics."
    )


def _failures(record: TrainingRecord, scores: ValidationScores) -> Table:
    size = "objects" if record.objects else "volume"
    rows = [(one.case, one.fold, one.name, one.what, one.size) for one in scores.failures]
    return Table(("case", "fold", "class", "what", size), rows, words=True)


def _failures_caption(record: TrainingRecord) -> str:
    if record.objects:
        return f"True objects without a predicted object at an IoU of {IOU:g}, and predicted ones without a true one."
    return (
        "Classes that are in the truth of a case but not in the prediction (missed), and the reverse (invented); "
        "volumes in mm³, or in pixels if files have no spacing."
    )


def _faults(record: TrainingRecord, scores: ValidationScores) -> Table:
    rows = [(fault.case, fault.fold, fault.reason) for fault in scores.faults]
    rows += [
        (name, fold, "The validation of the fold has no prediction of it; run nnUNetv2_train with --val.")
        for name, fold in record.validations.missing
    ]
    return Table(("case", "fold", "why"), rows, words=True) if rows else NO_TABLE


def _versions(record: TrainingRecord) -> list[tuple[str, str]]:
    from importlib.metadata import PackageNotFoundError, version

    planned = (record.plans.get("maskmed_nnu") or {}).get("version")
    rows = [("maskmed-nnu (plans)", str(planned))] if planned else []
    rows += trained_with(record.folder)
    for name in RELEASES:
        try:
            rows.append((f"{name} (this report)", version(name) if name != "maskmed-nnu" else package_version("–")))
        except PackageNotFoundError:
            continue
    return [*rows, ("Python (this report)", platform.python_version())]


def _number_of_classes(record: TrainingRecord) -> int:
    labels = record.dataset_json["labels"]
    return sum(name != "ignore" for name in labels)


def _table(rows: Sequence[Mapping[str, str]]) -> Table:
    return Table(list(rows[0]), [list(row.values()) for row in rows]) if rows else NO_TABLE


def _shown(value: float) -> str:
    return f"{value:.4g}" if math.isfinite(value) else "–"


def _ended(sentence: str) -> str:
    """With a capital and a full stop.

    >>> _ended("no file has liver")
    'No file has liver.'
    """
    return f"{sentence[:1].upper()}{sentence[1:].removesuffix('.')}."
