"""What is installed: thin files, the wheel, the editable wheel, and nnUNet_extTrainer without the hook."""

from __future__ import annotations

import importlib.util
import inspect
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from maskmed_nnu._startup import DISABLE_HOOK
from maskmed_nnu.nnunet.discovery import class_search
from maskmed_nnu.nnunet.discovery.names import NAMES

FOLDERS = {"planner": "planners", "trainer": "trainers"}
THIN_FILES = [(kind, name) for kind in FOLDERS for name in NAMES[kind]]


def build(checkout: Path, hook: str, folder: Path) -> Path:
    """Build a wheel (``build_wheel`` or ``build_editable``) with the installed hatchling."""
    code = f"from hatchling.build import {hook}; print({hook}({str(folder)!r}))"
    output = subprocess.check_output([sys.executable, "-c", code], cwd=checkout, text=True)
    return folder / output.split()[-1]


def unpack_into_new_environment(wheel: Path, folder: Path) -> Path:
    """Unpack ``wheel`` where pip would, in an environment that has nothing else; returns the interpreter."""
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    command = "import sysconfig; print(sysconfig.get_path('purelib'))"
    target = subprocess.check_output([python, "-c", command], text=True).strip()
    zipfile.ZipFile(wheel).extractall(target)
    return python


@pytest.mark.parametrize(("kind", "name"), THIN_FILES)
def test_thin_file_gives_the_registered_class_and_says_how_to_use_it(checkout, kind, name):
    path = checkout / FOLDERS[kind] / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"thin_{name}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert getattr(module, name) is class_search.find(kind, name)
    assert f"-{'pl' if kind == 'planner' else 'tr'} {name}" in module.__doc__


@pytest.mark.parametrize("kind", FOLDERS)
def test_there_is_one_thin_file_for_each_registered_name(checkout, kind):
    assert {path.stem for path in (checkout / FOLDERS[kind]).glob("*.py")} == set(NAMES[kind])


def test_planner_files_name_the_plans_that_their_planner_writes(checkout):
    for name in NAMES["planner"]:
        planner = class_search.find("planner", name)
        plans = inspect.signature(planner).parameters["plans_name"].default or planner.default_plans_name()
        assert f"-p {plans} " in (checkout / "planners" / f"{name}.py").read_text()


def test_wheel_holds_the_package_the_hook_and_no_other_top_level_name(checkout, tmp_path, run_python):
    wheel = build(checkout, "build_wheel", tmp_path)
    files = zipfile.ZipFile(wheel).namelist()
    top_level = {file.split("/")[0] for file in files}
    assert top_level == {"maskmed_nnu", "maskmed_nnu.pth", f"{wheel.name.split('-py3')[0]}.dist-info"}
    for kind, name in THIN_FILES:
        assert f"maskmed_nnu/{FOLDERS[kind]}/{name}.py" in files
    assert "maskmed_nnu/models/nuclei_example.png" in files
    python = unpack_into_new_environment(wheel, tmp_path / "env")
    code = "import sys, maskmed_nnu as m; print(type(sys.meta_path[0]).__name__, m.__version__, m.__file__)"
    hook, version, file = run_python(code, python=python).stdout.split()
    assert (hook, version) == ("ImportHook", wheel.name.split("-")[1])
    assert Path(file).is_relative_to(tmp_path)


def test_editable_wheel_carries_the_hook_after_the_path_to_the_checkout(checkout, tmp_path, run_python):
    wheel = build(checkout, "build_editable", tmp_path)
    files = sorted(file for file in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in file)
    assert files == ["_maskmed_nnu.pth", "maskmed_nnu.pth"]  # read in this order
    python = unpack_into_new_environment(wheel, tmp_path / "env")
    code = "import sys, maskmed_nnu; print(type(sys.meta_path[0]).__name__, maskmed_nnu.__file__)"
    hook, file = run_python(code, python=python).stdout.split()
    assert (hook, Path(file)) == ("ImportHook", checkout / "maskmed_nnu" / "__init__.py")


WITHOUT_HOOK = """
import pickle, runpy, sys
{setup}
runpy.run_path({torchvision!r})["make_torchvision_importable"]()
from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name as find
for name in ("nnUNetTrainerMaskMed", "nnUNetTrainerMaskMedDemo", "nnUNetTrainerMaskMed_7epochs"):
    trainer = find(name)
    assert trainer.__name__ == name and pickle.loads(pickle.dumps(trainer)) is trainer
    print("FOUND", name, trainer.__module__)
"""


@pytest.mark.parametrize("installed", [True, False])
def test_external_trainer_folder_works_without_the_hook(checkout, run_python, installed):
    """Also in a checkout that nobody has installed: its path entry is taken away then."""
    setup = "assert not any(type(finder).__name__ == 'ImportHook' for finder in sys.meta_path)"
    if not installed:
        setup += f"\nsys.path = [path for path in sys.path if path != {str(checkout)!r}]"
        setup += "\nfor name in [n for n in sys.modules if n.startswith('maskmed_nnu')]: del sys.modules[name]"
    torchvision = str(checkout / "benchmarks" / "subjects" / "torchvision_import.py")
    code = WITHOUT_HOOK.format(setup=setup, torchvision=torchvision)
    done = run_python(code, nnUNet_extTrainer=str(checkout / "trainers"), **{DISABLE_HOOK: "1"})
    found = [line.split()[1:] for line in done.stdout.splitlines() if line.startswith("FOUND")]
    assert found == [
        ["nnUNetTrainerMaskMed", "maskmed_nnu.nnunet.training.trainers.maskmed"],
        ["nnUNetTrainerMaskMedDemo", "maskmed_nnu.nnunet.training.trainers.maskmed"],
        ["nnUNetTrainerMaskMed_7epochs", "maskmed_nnu.nnunet.discovery.training_length"],
    ], done.stderr
