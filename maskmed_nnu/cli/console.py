"""Output of the commands: tables and JSON on stdout, progress and warnings on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

import rich.progress as bars
from rich.box import MARKDOWN, SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from maskmed_nnu.progress import Progress, Report

UNLIMITED = 10_000


class _Console(Console):
    def on_broken_pipe(self) -> NoReturn:
        """Raise, so that `main` handles it; Rich would exit with status 1."""
        raise


def console(*, stderr: bool = False) -> Console:
    """The console to print on: as wide as the terminal; if it is not a terminal, lines of any length without colours.

    Text is printed unchanged: brackets and colons in file names are not markup. ``NO_COLOR`` is respected.
    """
    terminal = (sys.stderr if stderr else sys.stdout).isatty()
    width = None if terminal else UNLIMITED
    return _Console(stderr=stderr, width=width, markup=False, emoji=False, highlight=False)


def print_table(header: Sequence[str], rows: Iterable[Sequence[str]], *, names: int = 1) -> None:
    """Print a table whose first `names` columns are text and the others numbers; markdown if it is not a terminal."""
    target = console()
    table = Table(box=SIMPLE_HEAD if target.is_terminal else MARKDOWN)
    for position, title in enumerate(header):
        words = position < names
        # a number is not broken in two, where a terminal is narrow
        table.add_column(
            title, justify="left" if words else "right", overflow="fold", no_wrap=not words and " " not in title
        )
    for row in rows:
        table.add_row(*row)
    target.print(table)


def print_json(content: Any) -> None:
    """Print one JSON object, all that a command with ``--json`` prints on stdout; NaN and infinity become null."""
    print(json.dumps(_legal(content), indent=2, ensure_ascii=False, default=str))


def _legal(content: Any) -> Any:
    if isinstance(content, dict):
        return {str(key): _legal(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_legal(value) for value in content]
    if hasattr(content, "tolist"):  # NumPy's
        return _legal(content.tolist())
    if isinstance(content, float) and (content != content or abs(content) == float("inf")):
        return None
    return content


def warn(sentence: str) -> None:
    """Print a warning on stderr."""
    console(stderr=True).print(sentence, soft_wrap=True)


def _bar() -> bars.Progress:
    columns = (
        bars.BarColumn(),
        bars.MofNCompleteColumn(),
        bars.TextColumn("{task.description}", markup=False),
        bars.TimeRemainingColumn(),
    )
    return bars.Progress(*columns, console=console(stderr=True))


@contextmanager
def progress() -> Iterator[Report]:
    """A progress bar on stderr for each stage that is reported.

    >>> with progress() as report:
    ...     report(Progress("reading", 1, 2, "case_7"))
    """
    with _bar() as bar:
        tasks: dict[str, Any] = {}

        def report(now: Progress) -> None:
            if now.stage not in tasks:
                tasks[now.stage] = bar.add_task(now.stage, total=now.total)
            description = f"{now.stage}: {now.name}" if now.name else now.stage
            bar.update(tasks[now.stage], completed=now.done, total=now.total, description=description)

        yield report
