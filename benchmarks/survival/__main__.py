"""Stop a training at random, and fill a disk at every moment of a study; the tables are markdown.

    python -m benchmarks.survival --stops 20
    python -m benchmarks.survival --disks

The status is 1 where something was lost, left over, or told otherwise than in one sentence. Disks are file systems in
memory of 64 MB, which only root can mount.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.survival import disks, stops


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.survival", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--stops", type=int, metavar="N", help="stop a training N times")
    parser.add_argument("--disks", action="store_true", help="fill a disk at each moment")
    parser.add_argument("--moment", metavar="WORDS", help="of --disks those alone whose name holds these words")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, help="an empty folder for logs and data (default: a temporary one)")
    args = parser.parse_args()
    work = args.work or Path(tempfile.mkdtemp(prefix="survival_"))
    print(f"Logs and data: {work}", file=sys.stderr)
    failures = 0
    if args.stops:
        rows = stops.stops(work / "stops", args.stops, args.seed)
        failures += _print(stops.HEADING, ((row, stops.failed(row)) for row in rows))
    if args.disks:
        failures += _print(
            disks.HEADING, ((row, disks.failed(row)) for row in disks.disks(work / "disks", args.moment))
        )
    return int(failures > 0)


def _print(heading: Sequence[str], rows: Iterable[tuple[Sequence[str], bool]]) -> int:
    """The table, row by row as they come; how many have failed."""
    failures = 0
    for line in (heading, ["---"] * len(heading)):
        print(f"| {' | '.join(line)} |")
    for row, failed in rows:
        print(f"| {' | '.join(row)} |{' <- failed' if failed else ''}", flush=True)
        failures += failed
    return failures


if __name__ == "__main__":
    raise SystemExit(main())
