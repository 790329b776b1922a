"""The report of a study as one HTML page: the contestants, the choice, the predictions, and what the jobs took."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maskmed_nnu.api.report import checked_page
from maskmed_nnu.api.report_content import boxes_of
from maskmed_nnu.atomic_write import write_atomically
from maskmed_nnu.instances.text import count
from maskmed_nnu.json_file import read_optional_object
from maskmed_nnu.semantic.comparison import FEWEST, PairedTest
from maskmed_nnu.visualization.report_page import Section, SectionsPage, Table, render_sections
from maskmed_nnu.workflow.contestants import Contestant, against_the_best, read_contestants
from maskmed_nnu.workflow.job_records import read_attempts
from maskmed_nnu.workflow.predicted_images import predicted_images
from maskmed_nnu.workflow.status import STEP_HEADER, StudyStatus, hours, in_words, read_status, today
from maskmed_nnu.workflow.study import Study

CLASS_SCORES = {"dice": "Dice", "iou": "IoU", "hd95": "HD95 [mm]", "nsd": "NSD"}
OBJECT_SCORES = ("AP", "AP50", "F1@0.5", "PQ", "SQ", "RQ", "AJI")


@dataclass(frozen=True)
class StudyReport:
    """``broken``: images that could not be predicted, with the reasons."""

    path: Path
    best: str
    metric: str
    score: float
    predicted: int
    broken: dict[str, str]


def write_study_report(study: Study, path: Path | str) -> StudyReport:
    """Write the page of a study whose trainings are done.

    Raises:
        InputError: where scores are missing, or ``path`` is no place for a page.
    """
    target = checked_page(Path(path).expanduser())
    contestants = read_contestants(study)
    predicted, broken = predicted_images(study)
    status = read_status(study)
    best = contestants[0]
    sections = [
        _contestants(contestants),
        _comparison(contestants),
        *(_predictions(study, predicted, broken) if study.images is not None else []),
        _trainings(study, status),
        _jobs(status),
    ]
    page = SectionsPage(
        title=f"Study of {study.config.dataset}",
        subtitle=f"{count(len(study.models), 'model')}, {count(len(study.config.folds), 'fold')} of each",
        facts=[
            ("best", best.title),
            (f"its mean {best.metric}", _shown(best.mean().mean)),
            ("cases of the cross-validation", str(len(best.cases))),
            *([("images predicted", f"{predicted:,}"), ("images broken", str(len(broken)))] if study.images else []),
        ],
        sections=sections,
        footer=f"Written by maskmed report on {today()}. For research only; not a medical device.",
    )
    text = render_sections(page)
    write_atomically(target, lambda partial: partial.write_bytes(text.encode(errors="replace")))
    return StudyReport(target, best.title, best.metric, best.mean().mean, predicted, broken)


def _contestants(contestants: Sequence[Contestant]) -> Section:
    metric = contestants[0].metric
    classes = list(dict.fromkeys(name for one in contestants for name in one.scores))
    rows = []
    for one in contestants:
        whole = one.mean()
        interval = "–" if math.isnan(whole.low) else f"{whole.low:.3f} to {whole.high:.3f}"
        means = [_shown(_mean(list(one.scores.get(name, {}).values()))) for name in classes]
        chosen = " (chosen)" if one.chosen else ""
        rows.append((one.title + chosen, str(whole.cases), _shown(whole.mean), interval, *means))
    return Section(
        "Contestants",
        f"{metric} of the cross-validation: means over cases, a class that was missed or invented counts as 0. The "
        "choice is nnU-Net's, by the mean alone.",
        [Table(("contestant", "cases", f"mean {metric}", "95 % CI", *classes), rows)],
    )


def _comparison(contestants: Sequence[Contestant]) -> Section:
    metric = contestants[0].metric
    boxes = boxes_of(
        metric,
        {one.title: one.case_means() for one in contestants},
        rows="contestant",
        caption="A dot is a case, the mean over its classes; the box holds half of them, its line is the median.",
    )
    tests = against_the_best(contestants)
    header = ("against", "cases", "best − other", "95 % CI", "best better", "p")
    table = Table(header, [_test_row(other, test) for other, test in tests])
    few = [other.title for other, test in tests if test.differing < FEWEST]
    caption = (
        f"{contestants[0].title} against each other contestant on the same cases: Wilcoxon's signed-rank test of the "
        "cases' means, two-sided, not corrected for the number of tests."
    )
    if few:
        caption += f" Fewer than {FEWEST} cases differ from {', '.join(few)}, too few for any p below 0.05."
    return Section("Is the best one better?", caption, [table] if tests else (), [boxes])


def _test_row(other: Contestant, test: PairedTest) -> tuple[str, ...]:
    interval = "–" if math.isnan(test.low) else f"{test.low:+.3f} to {test.high:+.3f}"
    p = "–" if math.isnan(test.p) else f"{test.p:.2g}"
    difference = "–" if math.isnan(test.difference) else f"{test.difference:+.3f}"
    return other.title, str(test.cases), difference, interval, f"{test.better} of {test.differing}", p


def _predictions(study: Study, predicted: int, broken: dict[str, str]) -> list[Section]:
    caption = f"{count(predicted, 'image')} of {study.images} in {study.final_predictions()}."
    tables = [Table(("image", "why it could not be predicted"), list(broken.items()), words=True)] if broken else []
    sections = [Section("Predictions", caption, tables)]
    scores = read_optional_object(study.folder / "scores.json")
    if scores:
        sections.append(Section("Evaluation", "Of the predictions, against their truth.", [_scores(scores)]))
    return sections


def _scores(scores: dict[str, Any]) -> Table:
    """The means of what ``maskmed evaluate`` wrote, of classes or of objects."""
    if scores.get("kind") != "semantic":
        return Table(("score", "value"), [(name, _shown(scores[name])) for name in OBJECT_SCORES if name in scores])
    rows = []
    for name, of_class in scores["summary"].items():
        means = [of_class["worst_case"][metric]["mean"] for metric in CLASS_SCORES]
        rows.append((name, *(_shown(value) for value in means)))
    return Table(("class", *CLASS_SCORES.values()), rows)


def _trainings(study: Study, status: StudyStatus) -> Section:
    rows = []
    for one in status.trainings:
        model = next(m for m in study.models if (m.network, m.configuration) == (one.network, one.configuration))
        attempts = read_attempts(study.records(f"train/{model.name}/fold_{one.fold}"))
        took = sum(hours(attempt) for attempt in attempts)
        nodes = ", ".join(dict.fromkeys(attempt.node for attempt in attempts))
        name, progress = f"{one.network} {one.configuration}", one.cells()[4:6]
        rows.append((name, str(one.fold), *progress, str(one.attempts), f"{took:.2f}", nodes))
    header = ("training", "fold", "epoch", "last Dice or PQ", "attempts", "hours", "nodes")
    links = [(f"{model.network} {model.configuration}", f"reports/{model.name}.html") for model in study.models]
    there = [(name, address) for name, address in links if (study.folder / address).is_file()]
    return Section(
        "Trainings", "The report of each training is in the same folder.", [Table(header, rows)], links=there
    )


def _jobs(status: StudyStatus) -> Section:
    whole = sum(step.hours for step in status.steps)
    return Section(
        "Other jobs",
        f"{in_words(whole * 3600)} in all, attempts that failed included.",
        [Table(STEP_HEADER, [one.cells() for one in status.steps])],
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan


def _shown(value: float | None) -> str:
    return "–" if value is None or math.isnan(value) else f"{value:.3f}"
