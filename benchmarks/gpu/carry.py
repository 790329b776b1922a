"""Collect what a bare machine with a GPU lacks for the checks: packages, and the preprocessed cases to train on.

    python -m benchmarks.gpu.carry FOLDER --data Dataset004_Hippocampus

Bare is a machine with torch, NumPy and SciPy, from which no package can be installed. Pure Python packages are copied
from the environment that runs this; wheels of the others are fetched for the Python of that machine (``--python``). The
cases of ``--data``, an nnU-Net raw data set, are preprocessed by nnU-Net's own planner and command. FOLDER then goes
along with the repository::

    python3 -m benchmarks.gpu --carry FOLDER
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import numpy as np

from maskmed_nnu.errors import InputError

COPIED = ("nnunetv2", "dynamic_network_architectures")
WHEELS = ("pydantic", "pydantic-core", "annotated-types", "typing-inspection", "typing-extensions")
LIMIT_MIB = 64
UNSEEN = 32
"""The last cases by name, as in ``compare_trainers.py``."""


def copy_packages(folder: Path) -> None:
    for name in COPIED:
        spec = importlib.util.find_spec(name)
        assert spec is not None and spec.submodule_search_locations, f"{name} is a dependency"
        source = Path(next(iter(spec.submodule_search_locations)))
        shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__", "tests", "*.png"))


def fetch_wheels(folder: Path, python: str) -> None:
    """Of the releases that are installed here, unpacked."""
    platforms = [f"--platform=manylinux{name}_x86_64" for name in ("2014", "_2_17", "_2_28")]
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile", "--only-binary=:all:"]
    command += [f"--python-version={python}", "--implementation=cp", *platforms, f"--target={folder}"]
    subprocess.run([*command, *(f"{name}=={version(name)}" for name in WHEELS)], check=True)


def preprocess(raw: Path, file: Path, *, unseen: int) -> int:
    """The cases of nnU-Net's 3d_fullres, in one file; how many there are."""
    if not (raw / "dataset.json").is_file():
        raise InputError(f"{raw} is not a raw data set of nnU-Net: it has no dataset.json; give one with --data.")
    from nnunetv2.training.dataloading.nnunet_dataset import infer_dataset_class

    with tempfile.TemporaryDirectory() as temporary:
        folders = {name: Path(temporary) / name for name in ("raw", "preprocessed", "results")}
        for folder in folders.values():
            folder.mkdir()
        (folders["raw"] / raw.name).symlink_to(raw.resolve())
        environment = os.environ | {f"nnUNet_{name}": str(folder) for name, folder in folders.items()}
        number = raw.name.removeprefix("Dataset").split("_")[0]
        command = Path(sys.executable).with_name("nnUNetv2_plan_and_preprocess")
        subprocess.run([command, "-d", number, "-c", "3d_fullres", "-np", "2"], check=True, env=environment)
        preprocessed = folders["preprocessed"] / raw.name / "nnUNetPlans_3d_fullres"
        dataset = infer_dataset_class(str(preprocessed))(str(preprocessed))
        arrays: dict[str, np.ndarray] = {"unseen": np.array(unseen)}
        for index, name in enumerate(sorted(dataset.identifiers)):
            image, label, *_ = dataset.load_case(name)
            arrays[f"image_{index}"] = np.asarray(image)[0].astype(np.float16)
            arrays[f"label_{index}"] = np.maximum(np.asarray(label)[0], 0).astype(np.uint8)
        np.savez_compressed(file, **arrays)
        return len(dataset.identifiers)


def size_mib(folder: Path) -> float:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="made anew")
    parser.add_argument("--data", type=Path, help="an nnU-Net raw data set of volumes (default: no training)")
    parser.add_argument("--unseen", type=int, default=UNSEEN, help="cases that are not trained on (%(default)s)")
    parser.add_argument("--python", default="3.12", help="version on the machine with the GPU (%(default)s)")
    options = parser.parse_args()
    shutil.rmtree(options.folder, ignore_errors=True)
    packages = options.folder / "packages"
    packages.mkdir(parents=True)
    copy_packages(packages)
    fetch_wheels(packages, options.python)
    try:
        if options.data is not None:
            count = preprocess(options.data, options.folder / "hippocampus.npz", unseen=options.unseen)
            print(f"{count} cases of {options.data.name}, {options.unseen} of them not trained on")
    except InputError as error:
        raise SystemExit(f"carry: {error}") from None
    size = size_mib(options.folder)
    print(f"{options.folder}: {size:.1f} MiB")
    if size > LIMIT_MIB:
        raise SystemExit(f"carry: that is more than {LIMIT_MIB} MiB; leave out cases.")


if __name__ == "__main__":
    main()
