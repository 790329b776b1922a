"""What a study does without a GPU, measured on one CT: preprocessing, files, headers, starts, checkpoints.

``docs/explanation/study-costs.md`` multiplies these figures by the number of scans. Times are CPU seconds of one
thread. nnU-Net's commands run in processes of their own, whose times and peaks include interpreter and packages::

    python -m benchmarks.study_costs --image ct.nii.gz --labels organs.nii.gz
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

import blosc2
import numpy as np
import SimpleITK as sitk
import torch
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

from maskmed_nnu.instances.formats.volumes import read_header

COMMANDS = Path(sys.executable).parent
NAME = "Dataset999_Scans"
SCANS = 2
HEADERS = 1000
FOLDS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image", type=Path, required=True, help="a CT, .nii.gz")
    parser.add_argument("--labels", type=Path, required=True, help="its labels, numbered without gaps")
    parser.add_argument("--spacing", type=float, default=1.5, help="of the preprocessed images, in mm")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="study_costs_") as work:
        folders = {name: Path(work) / name for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")}
        environment = {**os.environ, **{name: str(folder) for name, folder in folders.items()}}
        write_raw(folders["nnUNet_raw"] / NAME, args.image, args.labels)
        voxels = np.prod(sitk.ReadImage(str(args.image)).GetSize())
        print("| step | measured |\n|---|---|")
        row("raw image, compressed", f"{args.image.stat().st_size / voxels:.2f} bytes a voxel")
        row("label map, compressed", f"{args.labels.stat().st_size / voxels:.3f} bytes a voxel")
        preprocessing(folders["nnUNet_preprocessed"] / NAME, environment, args.spacing)
        headers(args.image)
        seconds, _ = run(environment, "nnUNetv2_predict", "-h")
        row("start of `nnUNetv2_predict` (interpreter and imports)", f"{seconds:.1f} s")
        checkpoints(Path(work), folders["nnUNet_preprocessed"] / NAME)


def row(step: str, measured: str) -> None:
    print(f"| {step} | {measured} |", flush=True)


def run(environment: dict[str, str], *command: str) -> tuple[float, float]:
    """Seconds of processor time and peak GB of a command that succeeds."""
    with tempfile.TemporaryFile() as log:
        process = os.posix_spawn(
            COMMANDS / command[0],
            command,
            environment | {"OMP_NUM_THREADS": "1"},
            file_actions=[(os.POSIX_SPAWN_DUP2, log.fileno(), 1), (os.POSIX_SPAWN_DUP2, log.fileno(), 2)],
        )
        _, status, used = os.wait4(process, 0)
        if status:
            log.seek(0)
            raise SystemExit(f"{' '.join(command)} failed:\n{log.read().decode()}")
    return used.ru_utime + used.ru_stime, used.ru_maxrss / 2**20


def write_raw(folder: Path, image: Path, labels: Path) -> None:
    """The same scan several times."""
    for kind, source, end in (("imagesTr", image, "_0000"), ("labelsTr", labels, "")):
        (folder / kind).mkdir(parents=True)
        for number in range(SCANS):
            shutil.copy(source, folder / kind / f"scan{number}{end}.nii.gz")
    highest = int(sitk.GetArrayViewFromImage(sitk.ReadImage(str(labels))).max())
    classes = {"background": 0, **{f"organ {value}": value for value in range(1, highest + 1)}}
    description = {"channel_names": {"0": "CT"}, "labels": classes, "numTraining": SCANS, "file_ending": ".nii.gz"}
    (folder / "dataset.json").write_text(json.dumps(description))


def preprocessing(folder: Path, environment: dict[str, str], spacing: float) -> None:
    """By nnU-Net's plans for this spacing, one scan after the other."""
    grid = ("-overwrite_target_spacing", *[str(spacing)] * 3, "-overwrite_plans_name", "plans")
    run(environment, "nnUNetv2_plan_and_preprocess", "-d", "999", "--no_pp", "-npfp", "1", *grid)
    step = ("-d", "999", "-plans_name", "plans", "-c", "3d_fullres", "-np", "1")
    seconds, peak = run(environment, "nnUNetv2_preprocess", *step)
    scan = next(folder.glob("*_3d_fullres")) / "scan0.b2nd"
    plan = json.loads((folder / "plans.json").read_text())["configurations"]["3d_fullres"]
    voxels = int(np.prod(plan["median_image_size_in_voxels"]))
    millions = voxels / 1e6
    row(
        f"preprocessing to {millions:.1f} million voxels, resampled",
        f"{seconds / SCANS:.1f} s, {seconds / SCANS / millions:.2f} s a million voxels, {peak:.1f} GB at the peak",
    )
    for kind, file in (("image", scan), ("labels", scan.with_name("scan0_seg.b2nd"))):
        row(f"preprocessed {kind}", f"{file.stat().st_size / voxels:.2f} bytes a voxel")
    patch, blocks = plan["patch_size"], blosc2.open(str(scan)).blocks[-3:]
    read = np.prod([(edge + block - 1) / edge for edge, block in zip(patch, blocks, strict=True)])
    shape = "×".join(map(str, patch))
    row(f"read for a patch of {shape}, in whole blocks of {'×'.join(map(str, blocks))}", f"{read:.2f} times the patch")


def headers(image: Path) -> None:
    began = time.process_time()
    for _ in range(HEADERS):
        read_header(image)
    row("a header, the file in the cache", f"{(time.process_time() - began) / HEADERS * 1000:.2f} ms")


def checkpoints(work: Path, folder: Path) -> None:
    """Of nnU-Net's network for the plans, as its trainer saves them: weights, gradient momentum and all."""
    architecture = json.loads((folder / "plans.json").read_text())["configurations"]["3d_fullres"]["architecture"]
    network = get_network_from_plans(
        architecture["network_class_name"],
        architecture["arch_kwargs"],
        architecture["_kw_requires_import"],
        1,
        2,
    )
    weights = network.state_dict()
    momentum = {name: torch.zeros_like(value) for name, value in network.named_parameters()}
    number = sum(value.numel() for value in network.parameters())
    torch.save({"network_weights": weights, "optimizer_state": momentum}, work / "checkpoint.pth")
    began = time.process_time()
    for _ in range(FOLDS):
        torch.load(work / "checkpoint.pth", map_location="cpu", weights_only=False)
    row(
        f"{FOLDS} checkpoints of {number / 1e6:.0f} million weights, in the cache",
        f"{(work / 'checkpoint.pth').stat().st_size / 1e6:.0f} MB each, {time.process_time() - began:.1f} s to load",
    )


if __name__ == "__main__":
    main()
