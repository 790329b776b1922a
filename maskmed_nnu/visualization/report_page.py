"""The report of a training as one HTML page that needs no other file and no network."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from maskmed_nnu.visualization.case_view import CaseView, Picture

GENERATOR = "maskmed_nnu report"
FOLDER = Path(__file__).parent / "page"


class Table(NamedTuple):
    """Cells as text; ``words``: all columns are words, not numbers."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: bool = False


NO_TABLE = Table((), ())


class Chart(NamedTuple):
    """``svg`` of `maskmed_nnu.visualization.charts`, ``legend`` (name, series, faint), and its numbers, ``tables``."""

    title: str
    svg: str
    tables: Sequence[tuple[str, Table]]
    legend: Sequence[tuple[str, int, bool]] = ()
    caption: str = ""


class Example(NamedTuple):
    """A case to look at; without a ``view``, the ``note`` says why."""

    title: str
    view: CaseView | None
    note: str = ""


@dataclass(frozen=True)
class Page:
    """The content of the page, in order; texts are plain, and escaped when they are written."""

    title: str
    subtitle: str
    facts: Sequence[tuple[str, str]]
    notes: Sequence[str] = ()
    summary: Table = NO_TABLE
    summary_caption: str = ""
    boxes: Sequence[Chart] = ()
    no_scores: str = ""
    examples: Sequence[Example] = ()
    examples_caption: str = ""
    colours: Sequence[tuple[str, str]] = ()
    failures: Table = NO_TABLE
    failures_caption: str = ""
    no_failures: str = ""
    faults: Table = NO_TABLE
    curves: Sequence[Chart] = ()
    planned: Sequence[tuple[str, str]] = ()
    fingerprint: Sequence[tuple[str, str]] = ()
    words: Sequence[str] = ()
    settings: Table = NO_TABLE
    versions: Sequence[tuple[str, str]] = ()
    titled_dataset: str = ""
    commands: Sequence[str] = ()
    footer: str = ""


class Section(NamedTuple):
    """Of a page of sections; ``words`` are shown as they are, ``links`` are names and addresses."""

    title: str
    caption: str = ""
    tables: Sequence[Table] = ()
    charts: Sequence[Chart] = ()
    words: Sequence[str] = ()
    links: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True)
class SectionsPage:
    """A page without pictures, of any sections."""

    title: str
    subtitle: str
    facts: Sequence[tuple[str, str]]
    sections: Sequence[Section]
    notes: Sequence[str] = ()
    footer: str = ""


def render(page: Page) -> str:
    """The page as HTML."""
    shown: dict[str, Any] = {
        **vars(page),
        "boxes": _charts(page.boxes),
        "curves": _charts(page.curves),
        "examples": [_example(example) for example in page.examples],
    }
    return _render("page.html", shown)


def render_sections(page: SectionsPage) -> str:
    """The page as HTML."""
    sections = [section._replace(charts=_charts(section.charts)) for section in page.sections]
    return _render("sections.html", {**vars(page), "sections": sections})


def _render(template: str, shown: dict[str, Any]) -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(FOLDER), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    style, script = ((FOLDER / name).read_text(encoding="utf-8") for name in ("style.css", "script.js"))
    return environment.get_template(template).render(
        page=shown, generator=GENERATOR, style=Markup(style), script=Markup(script)
    )


def _charts(charts: Sequence[Chart]) -> list[Chart]:
    from markupsafe import Markup

    return [chart._replace(svg=Markup(chart.svg)) for chart in charts]


def _example(example: Example) -> dict[str, Any]:
    view = example.view
    return {
        "title": example.title,
        "note": example.note,
        "planes": [_picture(one) for one in view.planes] if view else [],
        "slices": [_picture(one) for one in view.slices] if view else [],
    }


def _picture(picture: Picture) -> dict[str, Any]:
    return {**picture._asdict(), "data": base64.b64encode(picture.jpeg).decode()}
