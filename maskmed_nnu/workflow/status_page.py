"""How far a study is, as one HTML page."""

from __future__ import annotations

from pathlib import Path

from maskmed_nnu.api.report import checked_page
from maskmed_nnu.atomic_write import write_atomically
from maskmed_nnu.visualization.report_page import Section, SectionsPage, Table, render_sections
from maskmed_nnu.workflow.status import DONE, HEADER, RUNNING, STEP_HEADER, StudyStatus, today


def write_status_page(status: StudyStatus, path: Path | str) -> Path:
    """Write the page; an older one is replaced, any other file is not.

    Raises:
        InputError: where ``path`` is no place for a page.
    """
    target = checked_page(Path(path).expanduser())
    sections = [
        Section("Trainings", tables=[Table(HEADER, [one.cells() for one in status.trainings])]),
        Section("Other steps", tables=[Table(STEP_HEADER, [one.cells() for one in status.steps])]),
    ]
    if status.failures:
        sections.append(Section("Failed", words=[f"{job}\n{words}" for job, words in status.failures]))
    page = SectionsPage(
        title=f"{status.data_set}: how far the study is",
        subtitle=status.study,
        facts=[
            ("trainings done", f"{sum(one.state == DONE for one in status.trainings)} of {len(status.trainings)}"),
            ("running", str(sum(one.state == RUNNING for one in status.trainings))),
            ("best", " with ".join(status.best) or "–"),
        ],
        sections=sections,
        footer=f"Written by maskmed status on {today()}.",
    )
    text = render_sections(page)
    write_atomically(target, lambda partial: partial.write_bytes(text.encode(errors="replace")))
    return target
