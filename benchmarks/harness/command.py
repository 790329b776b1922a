"""The command ``python -m benchmarks SUITE``."""

from __future__ import annotations

import argparse
import importlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.harness import quick

SUITES = {
    "step": "training steps of MaskMed beside nnU-Net",
    "predict": "prediction beside nnU-Net, of files beside their peers",
    "op": "deformable attention",
    "loss": "matching and losses of many objects",
    "instances": "objects: steps in volumes, stitching, metrics",
    "attention": "masked attention",
    "peers": "forward passes beside other networks",
    "startup": "the start-up hook, the check before planning",
}
ROOT = Path(__file__).resolve().parents[2]
DTYPES = ("float32", "float16", "bfloat16")


def main(argv: Sequence[str] | None = None) -> None:
    argv = list(sys.argv[1:] if argv is None else argv)
    name = argv.pop(0) if argv else "--help"
    if name == "quick":
        _run_quick(_parser("quick", "A few cases of every suite.").parse_args(argv))
    elif name in SUITES:
        suite: Any = importlib.import_module(f"benchmarks.suites.{name}")
        _run_suite(name, suite, argv)
    elif name in ("--help", "-h"):
        print("python -m benchmarks SUITE [OPTIONS]\n")
        print("\n".join(f"  {suite:<10} {what}" for suite, what in SUITES.items()))
        print("\n  quick      a few cases of every suite\n\nOptions of one: python -m benchmarks SUITE --help")
    else:
        raise SystemExit(f"There is no suite {name!r}; choose one of {', '.join([*SUITES, 'quick'])}.")


def _parser(name: str, description: str | None) -> argparse.ArgumentParser:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(f"python -m benchmarks {name}", description=description, formatter_class=form)
    parser.add_argument("--device", default="cpu", help="cpu (default), cuda, cuda:1 …")
    parser.add_argument("--threads", type=_positive, default=1, help="of the CPU (default: 1)")
    parser.add_argument("--repeats", type=_positive, help="calls of each method (default: the case's own number)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all results there, too")
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, to see that it runs; times mean nothing")
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return number


def _suite_parser(name: str, suite: Any) -> argparse.ArgumentParser:
    parser = _parser(name, suite.__doc__)
    cases = parser.add_argument("--cases", nargs="+", choices=suite.CASES, default=suite.DEFAULT, help="which to run")
    cases.help = f"of {', '.join(suite.CASES)} (default: {' '.join(suite.DEFAULT)})"
    parser.add_argument("--methods", nargs="+", help="only these of each case, by their names in the table")
    parser.add_argument(
        "--resident", action="store_true", help="also how large a process of its own becomes for each method"
    )
    parser.add_argument("--once", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--precision", choices=DTYPES, help="of autocast (default: float16 on a GPU, else float32)")
    suite.add_options(parser)
    return parser


def _run_suite(name: str, suite: Any, argv: list[str]) -> None:
    parser = _suite_parser(name, suite)
    options = parser.parse_args(argv)

    import torch

    from benchmarks.harness import machine, measure, table

    try:
        options.device = torch.device(options.device)
    except RuntimeError:
        parser.error(f"--device {options.device} is none of cpu, cuda, cuda:0 …")
    if options.device.type == "cuda" and not torch.cuda.is_available():
        parser.error(f"--device {options.device}: this torch ({torch.__version__}) sees no GPU")
    options.precision = options.precision or ("float16" if options.device.type == "cuda" else "float32")
    dtype = getattr(torch, options.precision)
    torch.set_num_threads(options.threads)
    settings = measure.Settings(options.device, dtype, options.repeats, options.smoke)
    report: dict[str, Any] = {"machine": machine.describe(options.device), "cases": []}
    report["options"] = {key: value for key, value in vars(options).items() if _is_plain(value)}
    for case_name in options.cases:
        torch.manual_seed(0)
        case = suite.CASES[case_name](options)
        case = _chosen(case, options.methods, parser)
        if options.once:
            print(json.dumps(_once(case)))
            return
        result = {"suite": name, "case": case_name, **measure.measure(case, settings)}
        if options.resident:
            for row in result["methods"]:
                row |= _resident([name, *argv, "--cases", case_name, "--methods", row["name"], "--once"])
        report["cases"].append(result)
        print(table.case_table(result), end="\n\n", flush=True)
    limits = None
    if any(row["least_seconds"] for case in report["cases"] for row in case["methods"]):
        limits = machine.limits(options.device, dtype, smoke=options.smoke)
        report["machine"] |= {"at_best": limits._asdict()}
    print(table.head(report["machine"], limits))
    _write(options.json, report)


def _is_plain(value: object) -> bool:
    return isinstance(value, (str, int, float, list, tuple, type(None)))


def _chosen(case: Any, names: Sequence[str] | None, parser: argparse.ArgumentParser) -> Any:
    """The case with these of its methods."""
    import dataclasses

    if names is None:
        return case
    known = [method.name for method in case.methods]
    unknown = [name for name in names if name not in known]
    if unknown:
        parser.error(f"--methods {unknown[0]!r} is none of {', '.join(map(repr, known))}")
    return dataclasses.replace(case, methods=[method for method in case.methods if method.name in names], check=None)


def _once(case: Any) -> dict[str, int]:
    """How large this process is before one call of its only method, and how large it becomes."""
    from benchmarks.harness.machine import peak_resident

    run = case.methods[0].prepare()
    before = peak_resident()
    if run.call is not None:
        run.call()
    return {"resident_before_bytes": before, "resident_bytes": peak_resident()} if run.call is not None else {}


def _resident(argv: Sequence[str]) -> dict[str, int]:
    """`_once` in a process of its own."""
    done = subprocess.run([sys.executable, "-m", "benchmarks", *argv], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"python -m benchmarks {' '.join(argv)} ended with {done.returncode}: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def _run_quick(options: argparse.Namespace) -> None:
    """Each suite in a process of its own, so that no one's memory or environment is another one's."""
    report: dict[str, Any] = {"machine": {}, "cases": []}
    shared = ["--device", options.device, "--threads", str(options.threads)]
    shared += ["--repeats", str(options.repeats)] if options.repeats else []
    with tempfile.TemporaryDirectory() as folder:
        for number, words in enumerate(quick.RUNS):
            file = Path(folder) / f"{number}.json"
            argv = [*words.split(), *shared, *["--smoke"] * options.smoke, "--json", str(file)]
            print(f"## python -m benchmarks {' '.join(argv[:-2])}\n", flush=True)
            done = subprocess.run([sys.executable, "-m", "benchmarks", *argv], cwd=ROOT, check=False)
            if done.returncode:
                raise SystemExit(done.returncode)
            print(flush=True)
            part = json.loads(file.read_text())
            report["machine"] |= part["machine"]
            report["cases"] += part["cases"]
    _write(options.json, report)


def _write(file: Path | None, report: dict[str, Any]) -> None:
    if file is not None:
        from maskmed_nnu.json_file import write_json

        write_json(file, report, indent=2)
