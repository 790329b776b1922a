"""Writes ``docs/reference/commands.md`` from the commands' own help.

``python -m tests.cli.commands_page``; `test_commands_page` fails where the page is not the help of today.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from maskmed_nnu.cli.main import COMMANDS, load_command

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "commands.md"
HEAD = """\
# Commands

<!-- `make docs` writes this page from the commands' help. -->

`maskmed COMMAND --help` prints the same. Options may be shortened as long as they stay unique. Several values of an
option follow one another: `-f 0 1 2`.
"""


def page() -> str:
    """All commands in the order of ``maskmed --help``."""
    return "\n".join([HEAD, *(_command(name, summary) for name, summary in COMMANDS.items())])


def _command(name: str, summary: str) -> str:
    module = import_module(f"maskmed_nnu.cli.{name}")
    rows = [_row(one) for one in load_command(name).params if not getattr(one, "hidden", False)]
    table = "\n".join(["| option | meaning |", "|---|---|", *rows])
    example = f"```bash\n{module.EXAMPLE.strip()}\n```"
    help_text = f"```text\n{module.DESCRIPTION.strip()}\n```"
    return f"## maskmed {name}\n\n{_sentence(summary)}\n\n{example}\n\n{help_text}\n\n{table}\n"


def _row(parameter: Any) -> str:
    names = [*parameter.opts, *parameter.secondary_opts]
    value = "" if getattr(parameter, "is_flag", False) else parameter.metavar or ""
    if parameter.param_type_name == "argument":
        names, value = [parameter.metavar or parameter.name.upper()], ""
    text = " ".join((parameter.help or "").split()).replace("|", "\\|").replace("<", "&lt;")
    shown = ", ".join(f"`{one}`" for one in names) + (f" `{value}`" if value else "")
    return f"| {shown} | {_sentence(text)} |"


def _sentence(text: str) -> str:
    if not text or " | " in text or "\\|" in text:
        return text
    return f"{text[:1].upper()}{text[1:]}" + ("" if text.endswith((".", "!", "?")) else ".")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
