"""Entry point of the ``maskmed`` command."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

from maskmed_nnu.cli import convert, demo, evaluate, predict
from maskmed_nnu.cli.steps import StepError
from maskmed_nnu.errors import InputError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``maskmed`` with `arguments` (by default the command line's) and return the exit status."""
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except (InputError, StepError) as error:
        print(f"\nmaskmed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nmaskmed: stopped; the same command goes on where this one ended.", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="maskmed", description="Mask-classification networks behind nnU-Net's commands."
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {_version()}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    command = commands.add_parser(
        "demo",
        help="plan, train, predict and evaluate MaskMed on generated phantoms or your own data",
        description="Plan, train, predict and evaluate MaskMed with nnU-Net's own commands, on generated CT-like "
        "phantoms or on your own raw data set (of which a fifth is held back as unseen test cases). The training is "
        "short: it shows that everything works, not how well it can. A run that was stopped goes on where it ended.",
    )
    demo.add_arguments(command)
    command.set_defaults(run=demo.run)
    command = commands.add_parser(
        "convert",
        help="make an nnU-Net data set from COCO json, label maps or a mask per object",
        description=convert.DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    convert.add_arguments(command)
    command.set_defaults(run=convert.run)
    command = commands.add_parser(
        "predict",
        help="find the objects in images: id maps, COCO results, pictures",
        description=predict.DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    predict.add_arguments(command)
    command.set_defaults(run=predict.run)
    command = commands.add_parser(
        "evaluate",
        help="compare predicted objects with the true ones: AP, F1, AJI, panoptic quality",
        description=evaluate.DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    evaluate.add_arguments(command)
    command.set_defaults(run=evaluate.run)
    return parser


def _version() -> str:
    try:
        return version("maskmed-nnu")
    except PackageNotFoundError:  # a bare checkout on the path
        return "(not installed)"
