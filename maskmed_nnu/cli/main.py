"""Entry point of the ``maskmed`` command."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Sequence

from maskmed_nnu.cli import analyze, convert, demo, evaluate, predict
from maskmed_nnu.demo.command_runner import CommandError
from maskmed_nnu.errors import InputError
from maskmed_nnu.machine_errors import explain
from maskmed_nnu.version import package_version

COMMANDS = {
    "demo": (demo, "plan, train, predict and evaluate MaskMed on generated phantoms or your own data"),
    "convert": (convert, "make an nnU-Net data set from COCO json, label maps or a mask per object"),
    "predict": (predict, "find the objects in images: id maps, COCO results, pictures"),
    "evaluate": (evaluate, "compare predicted objects with the true ones: AP, F1, AJI, panoptic quality"),
    "analyze": (analyze, "measure how far the attention modules of a network reach: exponents, spectra, correlations"),
}
"""Modules with ``DESCRIPTION``, ``add_arguments(parser)`` and ``run(options)``, and their lines in the help."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``maskmed`` with `arguments` (by default the command line's) and return the exit status."""
    options = _parser().parse_args(arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal may lack "×", or a file's name not be text
    try:
        options.run(options)
        sys.stdout.flush()
    except (InputError, CommandError) as error:
        print(f"\nmaskmed: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # whoever read the output, as `head` does, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141  # as a shell tells SIGPIPE, which Windows lacks
    except (OSError, MemoryError) as error:
        print(f"\nmaskmed: {explain(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nmaskmed: stopped; the same command goes on where this one ended.", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="maskmed", description="Mask-classification networks behind nnU-Net's commands."
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {package_version('(not installed)')}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for name, (module, summary) in COMMANDS.items():
        command = commands.add_parser(
            name,
            help=summary,
            description=module.DESCRIPTION,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    return parser
