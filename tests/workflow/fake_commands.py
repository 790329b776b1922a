"""nnU-Net's and our commands as small scripts that leave the same files, in an environment with a real Snakemake."""

from __future__ import annotations

import json
import sys
import sysconfig
from pathlib import Path

from maskmed_nnu.workflow.config import Jobs
from maskmed_nnu.workflow.new_study import _write
from maskmed_nnu.workflow.study import Study, read_study

DATA_SET = "Dataset004_Tiny"
NAMES = """nnUNetv2_extract_fingerprint nnUNetv2_plan_experiment nnUNetv2_preprocess nnUNetv2_train nnUNetv2_predict
nnUNetv2_find_best_configuration nnUNetv2_ensemble nnUNetv2_apply_postprocessing maskmed""".split()
SCRIPT = """#!{python}
import json, os, re, shutil, sys, time
from pathlib import Path

name, words = Path(sys.argv[0]).name, sys.argv[1:]
def option(key, many=False):
    if key not in words:
        return None
    rest = words[words.index(key) + 1 :]
    end = next((i for i, word in enumerate(rest) if word.startswith("-")), len(rest))
    return rest[:end] if many else rest[0]
preprocessed, results = (Path(os.environ[f"nnUNet_{{kind}}"]) / "{data_set}" for kind in ("preprocessed", "results"))
with open("{calls}", "a") as calls:
    calls.write(json.dumps([name, *words]) + "\\n")
trouble = Path("{trouble}") / name
if trouble.is_file():
    what = trouble.read_text()
    trouble.unlink()
    if what == "wait":
        while not trouble.with_name("go").is_file():
            time.sleep(0.05)
    else:
        print("this attempt fails")
        sys.exit(int(what))
if name == "nnUNetv2_plan_experiment":
    preprocessed.mkdir(parents=True, exist_ok=True)
    description = {{"labels": {{"background": 0, "a": 1}}, "file_ending": ".nii.gz"}}
    (preprocessed / "dataset.json").write_text(json.dumps(description))
elif name == "nnUNetv2_train":
    configuration, fold = words[1:3]
    folder = results / f"{{option('-tr')}}__{{option('-p')}}__{{configuration}}" / f"fold_{{fold}}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "debug.json").write_text(json.dumps({{"num_epochs": "2"}}))
    with open(folder / "training_log_2026_1_1_00_00_00.txt", "a") as log:
        for epoch in range(2):
            stamp = "2026-01-01 00:00:00.1: "
            for line in (f"Epoch {{epoch}}", "train_loss -0.5", "Pseudo dice [0.75]", "Epoch time: 60.0 s"):
                log.write(f"{{stamp}}{{line}}\\n")
    (folder / "checkpoint_final.pth").touch()
elif name == "nnUNetv2_find_best_configuration":
    models = [
        {{"configuration": c, "trainer": t, "plans_identifier": p}}
        for t, p in zip(option("-tr", True), option("-p", True)) for c in option("-c", True)
    ]
    best = {{"selected_model_or_models": models[:2]}}
    best |= {{"postprocessing_file": "steps.pkl", "some_plans_file": "plans.json"}}
    (results / "inference_information.json").write_text(json.dumps({{"best_model_or_ensemble": best}}))
elif name == "nnUNetv2_predict":
    output = Path(option("-o"))
    output.mkdir(parents=True, exist_ok=True)
    part, parts = int(option("-part_id")), int(option("-num_parts"))
    images = sorted(Path(option("-i")).iterdir())[part::parts]
    broken = [image for image in images if "broken" in image.name]
    for image in images:
        if image not in broken:
            (output / image.name.replace("_0000", "")).touch()
    for image in broken:
        print(f"{{image.name.partition('_0000')[0]}}: its header is damaged.")
    if broken:
        print(f"maskmed: {{len(broken)}} of {{len(images)}} images could not be predicted; the reasons stand above.")
        sys.exit(1)
elif name in ("nnUNetv2_ensemble", "nnUNetv2_apply_postprocessing"):
    shutil.copytree(option("-i"), option("-o"), dirs_exist_ok=True)
elif name == "maskmed" and words[0] == "evaluate":
    Path(option("--csv")).touch()
    Path(option("--json-file")).write_text("{{}}")
elif name == "maskmed" and words[0] == "report":
    Path(option("-o")).touch()
"""
CUSTOMIZE = """
import os, sys
words = sys.orig_argv
if "maskmed_nnu.workflow.measure" in words:
    need = '{"memory_gb": 7.0, "seconds": 0.5, "patch": [64, 64, 64], "batch": 2, "channels": 1}'
    with open(words[-1], "w") as file:
        file.write('{"3d_fullres": ' + need + "}")
if {"maskmed_nnu.workflow.measure", "maskmed_nnu.workflow.splits"} & set(words):
    os._exit(0)
"""


class FakeEnvironment:
    """An interpreter in ``folder`` whose commands are fakes; ``python`` runs Snakemake."""

    def __init__(self, folder: Path) -> None:
        self.calls, self.trouble = folder / "calls.jsonl", folder / "trouble"
        self.python = folder / "bin" / "python"
        packages = folder / "lib" / f"python{sysconfig.get_python_version()}" / "site-packages"
        packages.mkdir(parents=True)
        self.trouble.mkdir()
        self.python.parent.mkdir()
        self.python.symlink_to(Path(sys.executable).resolve())
        (folder / "pyvenv.cfg").write_text(f"home = {Path(sys.executable).resolve().parent}\n")
        (packages / "paths.pth").write_text("\n".join(path for path in sys.path if Path(path).is_dir()))
        (packages / "sitecustomize.py").write_text(CUSTOMIZE)
        for name in NAMES:
            script = self.python.parent / name
            text = SCRIPT.format(python=self.python, data_set=DATA_SET, calls=self.calls, trouble=self.trouble)
            script.write_text(text)
            script.chmod(0o755)

    def called(self, name: str) -> list[list[str]]:
        """The words behind a command, for each time that it was run."""
        lines = self.calls.read_text().splitlines() if self.calls.is_file() else []
        return [words for first, *words in map(json.loads, lines) if first == name]


def tiny_study(folder: Path, *, parts: int = 3, images: int = 12, broken: int = 0) -> Study:
    """Two networks × two folds; what is best predicts so many images, in parts."""
    source = folder.parent / "images"
    source.mkdir()
    for number in range(images):
        (source / f"case_{number:04d}{'_broken' if number < broken else ''}_0000.nii.gz").touch()
    networks = [
        {
            "name": name.lower(),
            "planner": f"{name}Planner",
            "plans": f"{name}Plans",
            "trainer": f"nnUNetTrainer{name}_2epochs",
            "configurations": ["3d_fullres"],
        }
        for name in ("MaskMed", "SimpleUNet")
    ]
    values = {
        "dataset": DATA_SET,
        "networks": networks,
        "folds": [0, 1],
        "ensemble": True,
        "device": "cpu",
        "predict": {"images": str(source), "truth": str(source), "parts": parts},
        "jobs": Jobs().model_dump(),
        "gpus": 0,
        "raw": "raw",
        "preprocessed": "preprocessed",
        "results": "results",
    }
    _write(folder, values)
    return read_study(folder)
