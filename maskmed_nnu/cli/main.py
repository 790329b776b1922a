"""Entry point of the ``maskmed`` command."""

from __future__ import annotations

import io
import os
import re
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Annotated, Any

import typer
from rich.markup import escape
from typer.core import TyperCommand, TyperGroup

from maskmed_nnu.cli.words import Command, PlainHelp, UsageError
from maskmed_nnu.errors import CommandError, InputError
from maskmed_nnu.machine_errors import explain
from maskmed_nnu.signals import Interrupted, name_of, raising
from maskmed_nnu.version import package_version

COMMANDS = {
    "demo": "train and evaluate on generated images, or on your own data set, in minutes",
    "doctor": "check this machine (versions, device, folders, memory, disk) and name a cure for each problem",
    "convert": "make an nnU-Net data set from COCO json, label maps or a mask per object",
    "plan": "compare what each network would train on, before anything is written",
    "train": "plan, preprocess, train and evaluate with nnU-Net's commands; resumes if it was stopped",
    "predict": "segment images with a trained model: classes, or objects with scores",
    "evaluate": "compare predictions with the truth: Dice, HD95, NSD of classes; AP, F1, PQ of objects",
    "explain": "show how a network reaches its prediction: masks and classes of queries, heatmaps, attention",
    "report": "write a training as one HTML page: scores, curves, best and worst cases, failures, plans",
    "workflow": "write a study (many trainings, the choice of the best, its predictions) for Snakemake, here or "
    "on a cluster",
    "status": "show the progress of such a study: epochs, scores, time left, attempts, nodes",
    "export": "write a trained model as one file to share",
    "import": "install such a file for nnU-Net's own commands",
    "analyze": "measure how far the attention modules of a network reach: exponents, spectra, correlations",
}
"""Modules of this package and their summaries in the help.

A module has ``DESCRIPTION``, ``EXAMPLE`` and ``run``, whose parameters are the options. It is imported only for its own
command, so that ``maskmed --help`` is fast.
"""
RESUMED = ("demo", "train", "predict")
"""Commands that resume where they were stopped"""
SETTINGS = {"help_option_names": ["-h", "--help"]}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``maskmed`` with `arguments` (by default the command line's) and return the exit status.

    0: done; 1: refused or failed, with the reason on stderr; 2: wrong usage; 141: the reader of the output closed it;
    128 + the number of the signal that ended the command (130 is Ctrl-C).
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal may lack "×", or a file's name not be text
    words = sys.argv[1:] if arguments is None else list(arguments)
    try:
        with raising(), _group().make_context("maskmed", [*words] or ["--help"]) as context:
            context.command.invoke(context)
            sys.stdout.flush()
    except typer.Exit as end:  # after --help or --version
        return end.exit_code if words else 2
    except UsageError as error:
        print(_told(error), file=sys.stderr)
        return 2
    except CommandError as error:
        print(f"\nmaskmed: {error}", file=sys.stderr)
        return error.status if error.status > 0 else 128 - error.status  # of a command that a signal has killed
    except InputError as error:
        print(f"\nmaskmed: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # whoever read the output, as `head` does, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141  # as a shell tells SIGPIPE, which Windows lacks
    except (OSError, MemoryError) as error:
        print(f"\nmaskmed: {explain(error)}", file=sys.stderr)
        return 1
    except (Interrupted, KeyboardInterrupt) as end:
        number = end.number if isinstance(end, Interrupted) else signal.SIGINT
        goes_on = words[:1] and words[0] in RESUMED
        then = "resumes where this one ended" if goes_on else "starts from the beginning"
        by = "" if number == signal.SIGINT else f" by {name_of(number)}"
        print(f"\nmaskmed: stopped{by}; the same command {then}.", file=sys.stderr)
        return 128 + number
    return 0


class _LazyGroup(PlainHelp, TyperGroup):
    """Lists the commands with their summaries, and imports only the one that is run."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, _, words = super().resolve_command(ctx, args)
        return name, load_command(str(name)), words


def _group() -> TyperGroup:
    def root(
        version: Annotated[
            bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Show the version and exit.")
        ] = False,
    ) -> None:
        """Mask-classification networks for nnU-Net. `maskmed COMMAND --help` shows an example of each."""

    app = typer.Typer(add_completion=False, rich_markup_mode="rich")
    app.callback(cls=_LazyGroup, subcommand_metavar="COMMAND …", context_settings=SETTINGS)(root)
    group = typer.main.get_group(app)
    _hide_types(group)
    for name, summary in COMMANDS.items():
        group.add_command(TyperCommand(name, help=summary), name)
    return group


def load_command(name: str) -> Any:
    """Import the module of a command, and build the Typer command."""
    module = import_module(f"maskmed_nnu.cli.{name}")
    app = typer.Typer(add_completion=False, rich_markup_mode="rich")
    prose = re.sub(r"(?m)^(\S.*)\n(?=\S)", r"\1 ", module.DESCRIPTION.strip())  # indented lines stay as they are
    example = module.EXAMPLE.strip().replace("\n", "\n  ")
    text = escape(f"{prose}\n\nExample:\n  {example}")
    app.command(name, cls=Command, help=text, context_settings=SETTINGS)(module.run)
    command: Any = typer.main.get_command(app)
    _hide_types(command)
    return command


def _hide_types(command: Any) -> None:
    """No <bool> in the help of a flag."""
    for parameter in command.params:
        if getattr(parameter, "is_flag", False):
            parameter.metavar = ""


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"maskmed {package_version('(not installed)')}")
        raise typer.Exit


def _told(error: Any) -> str:
    """A usage error as one sentence, with the command whose --help lists the options."""
    command = error.ctx.command_path if error.ctx else "maskmed"
    sentence = " ".join(error.format_message().split()).rstrip(".").replace("(s)", "")
    sentence = re.sub(r"\. Did you mean (.*)\?$", r"; did you mean \1?", sentence)
    sentence = re.sub(r"Input should be a valid (integer|number),.*", r"it must be a valid \1", sentence)
    end = " See" if sentence.endswith("?") else "; see"
    return f"{command}: {sentence}{end} {command} --help."
