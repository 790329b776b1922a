"""Translate a command line in the style of argparse into the form that Typer takes."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from typer import BadParameter
from typer.core import TyperCommand

UsageError: Any = BadParameter.__mro__[1]
"""The exception of Typer for any usage error; it has no public name."""
NUMBER = re.compile(r"-(\d+\.?\d*|\.\d+)")


class PlainHelp:
    """Mixed into a command: its ``--help`` shows no <bool>."""

    def get_help_option(self, ctx: Any) -> Any:
        """Typer's, without a type."""
        option = super().get_help_option(ctx)  # type: ignore[misc]
        if option is not None:
            option.metavar = ""
        return option


class Command(PlainHelp, TyperCommand):
    """A command whose options may be shortened, and take several values where they are lists: ``-f 0 1 2``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse what `plain_words` makes of the words."""
        options = {
            name: parameter
            for parameter in self.get_params(ctx)
            if parameter.param_type_name == "option"
            for name in (*parameter.opts, *parameter.secondary_opts)
        }
        try:
            words = plain_words(args, options)
        except ValueError as error:
            ctx.fail(str(error))
        return super().parse_args(ctx, words)


def plain_words(words: Sequence[str], options: Mapping[str, Any]) -> list[str]:
    """The same command line with whole names of options, and a name before each value.

    `options` are the parameters by their names. Typer refuses unknown options. The old
    ``--json FILE`` becomes ``--json-file FILE`` in a command that has it.

    Raises:
        ValueError: If a shortened name matches several options, or a value is missing.

    >>> folds = type("Option", (), {"is_flag": False, "multiple": True, "nargs": 1})
    >>> plain_words(["-f", "0", "1", "--fol=2"], {"-f": folds, "--folds": folds})
    ['-f', '0', '-f', '1', '--folds', '2']
    """
    plain: list[str] = []
    left = deque(words)
    while left and left[0] != "--":
        word = left.popleft()
        if not _is_option(word, options):
            plain.append(word)
            continue
        name, value = _split(word, options)
        if name == "--json" and "--json-file" in options and (value or (left and _is_file(left[0]))):
            name = "--json-file"
        option = options.get(name)
        if option is None or option.is_flag:
            plain.append(name if value is None else f"{name}={value}")
        elif value is not None:
            plain += [name, value]
        else:
            values: list[str] = []
            while left and left[0] != "--" and not _is_option(left[0], options):
                if values and not option.multiple:
                    break
                values.append(left.popleft())
            if not values:
                raise ValueError(f"{name} needs a value.")
            plain += [part for value in values for part in (name, value)]
    return [*plain, *left]


def _is_file(word: str) -> bool:
    return bool(Path(word).suffix) and not word.startswith("-") and not Path(word).is_dir()


def _is_option(word: str, options: Mapping[str, Any]) -> bool:
    if not word.startswith("-") or word == "-" or NUMBER.fullmatch(word):
        return False
    return " " not in word or _split(word, options)[0] in options


def _split(word: str, options: Mapping[str, Any]) -> tuple[str, str | None]:
    """Whole name of an option, and the value that is written in the same word: ``--id=5``, ``-f0``."""
    name, equals, value = word.partition("=")
    if name in options:
        return name, value if equals else None
    names = [option for option in options if option.startswith(name) and name != "-" and name != "--"]
    shortest = min(names, key=len, default="")  # --json where there also is --json-file
    if any(options[each] is not options[shortest] and not each.startswith(shortest) for each in names):
        raise ValueError(f"{name} is short for {' and for '.join(names)}; write out which one is meant.")
    if names:
        return shortest, value if equals else None
    if not word.startswith("--") and word[:2] in options:
        return word[:2], word[2:].removeprefix("=")
    return name, value if equals else None
