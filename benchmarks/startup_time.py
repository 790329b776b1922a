"""What the start-up hook costs an interpreter that does not use nnU-Net: ``python -c pass`` with and without it.

    python benchmarks/startup_time.py --runs 200

Makes two empty environments, one of them with ``maskmed_nnu`` and its ``.pth`` file, and starts their interpreters in
turn, so that whatever else the machine does hits all of them alike. ``without again`` shows how far two measurements of
the same thing lie apart.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]


def make_environment(folder: Path, *, with_hook: bool) -> Path:
    """A virtual environment without pip in ``folder``; returns its interpreter."""
    venv.create(folder, with_pip=False, symlinks=os.name != "nt")
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if with_hook:
        command = "import sysconfig; print(sysconfig.get_path('purelib'))"
        site_packages = Path(subprocess.check_output([python, "-c", command], text=True).strip())
        shutil.copytree(CHECKOUT / "maskmed_nnu", site_packages / "maskmed_nnu")
        shutil.copy(CHECKOUT / "maskmed_nnu.pth", site_packages)
        subprocess.run([python, "-m", "compileall", "-q", site_packages], check=True)  # as pip does
        subprocess.run([python, "-c", "import sys; assert 'maskmed_nnu._startup' in sys.modules"], check=True)
    return python


def start_ms(python: Path, environ: dict[str, str]) -> float:
    begin = time.perf_counter()
    subprocess.run([python, "-c", "pass"], check=True, env=environ)
    return 1000 * (time.perf_counter() - begin)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=int, default=200, help="starts of each interpreter")
    runs = parser.parse_args().runs

    environ = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "MASKMED_NNU_DISABLE_HOOK")}
    with tempfile.TemporaryDirectory() as folder:
        without = make_environment(Path(folder) / "without", with_hook=False)
        with_hook = make_environment(Path(folder) / "with", with_hook=True)
        methods = {
            "without": (without, environ),
            "with hook": (with_hook, environ),
            "switched off": (with_hook, {**environ, "MASKMED_NNU_DISABLE_HOOK": "1"}),
            "without again": (without, environ),
        }
        times: dict[str, list[float]] = {name: [] for name in methods}
        for _ in range(runs):
            for name, (python, env) in methods.items():
                times[name].append(start_ms(python, env))

    print(f"python -c pass, Python {sys.version.split()[0]}, {runs} starts each")
    print(f"{'':14} {'median':>8} {'quartiles':>16} {'minimum':>8}  (ms)")
    for name, values in times.items():
        low, median, high = statistics.quantiles(values, n=4)
        print(f"{name:14} {median:8.2f} {low:7.2f}–{high:.2f} {min(values):>9.2f}")


if __name__ == "__main__":
    main()
