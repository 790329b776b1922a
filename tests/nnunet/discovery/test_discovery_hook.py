"""The start-up hook in fresh interpreters: present, light, silent when broken, off when told so."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import nnunetv2
import pytest

from maskmed_nnu._startup import DISABLE_HOOK, ON_IMPORT

FIND_PLANNER = """
import os, nnunetv2
from nnunetv2.experiment_planning.plan_and_preprocess_api import recursive_find_python_class as find
def planner(name):
    folder = os.path.join(nnunetv2.__path__[0], "experiment_planning")
    return find(folder, name, current_module="nnunetv2.experiment_planning")
"""

IS_WRAPPED = """
import nnunetv2.utilities.find_class_by_name as module
print(hasattr(module.recursive_find_python_class, "__wrapped__"))
"""


def site_packages(python: Path) -> Path:
    command = "import sysconfig; print(sysconfig.get_path('purelib'))"
    return Path(subprocess.check_output([python, "-c", command], text=True).strip())


@pytest.fixture
def bare_python(tmp_path: Path, checkout: Path) -> Path:
    """The interpreter of an empty environment that holds only ``maskmed_nnu.pth``."""
    venv.create(tmp_path / "bare", with_pip=False, symlinks=True)
    python = tmp_path / "bare" / "bin" / "python"
    shutil.copy(checkout / "maskmed_nnu.pth", site_packages(python))
    return python


@pytest.fixture
def add_to_bare(bare_python: Path, checkout: Path):
    """``add_to_bare("errors.py", …)`` copies files of ours into the empty environment."""

    def add(*files: str) -> Path:
        folder = site_packages(bare_python) / "maskmed_nnu"
        for file in files:
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(checkout / "maskmed_nnu" / file, folder / file)
        return folder

    return add


def assert_silent(done: subprocess.CompletedProcess) -> None:
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_hook_loads_two_tiny_modules_and_nothing_else(run_python):
    modules = "import sys, json; print(json.dumps(sorted(sys.modules)))"
    on = set(json.loads(run_python(modules).stdout))
    off = set(json.loads(run_python(modules, **{DISABLE_HOOK: "1"}).stdout))
    assert {"maskmed_nnu", "maskmed_nnu._startup"} <= on
    assert on == off
    assert not on & {"torch", "numpy", "nnunetv2", "maskmed_nnu.nnunet", "maskmed_nnu.errors", "__future__"}


def test_in_an_empty_environment_the_hook_needs_only_the_standard_library(run_python, bare_python, add_to_bare):
    add_to_bare("__init__.py", "_startup.py")
    code = "import sys; print(type(sys.meta_path[0]).__name__, *sorted(m for m in sys.modules if 'maskmed' in m))"
    done = run_python(code, python=bare_python)
    assert done.stdout.split() == ["ImportHook", "maskmed_nnu", "maskmed_nnu._startup"]


@pytest.mark.parametrize(("value", "wrapped"), [("1", "False"), ("true", "False"), ("0", "True"), ("", "True")])
def test_off_switch(run_python, value, wrapped):
    assert run_python(IS_WRAPPED, **{DISABLE_HOOK: value}).stdout.strip() == wrapped


def test_without_the_hook_nnunet_does_not_know_our_planner(run_python):
    assert run_python(FIND_PLANNER + "print(planner('MaskMedPlanner'))", **{DISABLE_HOOK: "1"}).stdout.strip() == "None"


def test_every_action_of_the_hook_exists():
    from importlib import import_module

    for target, action in ON_IMPORT.items():
        module, _, attribute = action.partition(":")
        assert callable(getattr(import_module(module), attribute))
        assert import_module(target).__spec__.loader is import_module(target).__loader__


def test_a_wrapped_module_keeps_its_loader_and_source(run_python):
    code = (
        "import inspect, nnunetv2.utilities.find_class_by_name as m\n"
        "print(type(m.__loader__).__name__, m.__spec__.loader is m.__loader__)\n"
        "print(inspect.getsource(m).count('def recursive_find_python_class'))"
    )
    assert run_python(code).stdout.split() == ["SourceFileLoader", "True", "1"]


def test_nothing_happens_when_only_the_pth_file_is_left(run_python, bare_python):
    assert_silent(run_python("pass", python=bare_python))


@pytest.mark.parametrize("content", ["this is no Python", "raise RuntimeError('broken')", "import nowhere_to_be_found"])
def test_nothing_happens_when_the_startup_module_is_broken(run_python, bare_python, add_to_bare, content):
    folder = add_to_bare("__init__.py")
    (folder / "_startup.py").write_text(content)
    assert_silent(run_python("pass", python=bare_python))


def test_nnunet_still_works_with_a_warning_when_the_rest_of_the_package_is_gone(run_python, bare_python, add_to_bare):
    add_to_bare("__init__.py", "_startup.py")
    fake = site_packages(bare_python) / "nnunetv2" / "utilities"
    fake.mkdir(parents=True)
    (fake / "find_class_by_name.py").write_text("def recursive_find_python_class():\n    return 'stock'\n")
    assert_silent(run_python("pass", python=bare_python))
    code = "from nnunetv2.utilities.find_class_by_name import recursive_find_python_class as f; print(f())"
    done = run_python(code, python=bare_python)
    assert done.stdout.strip() == "stock"
    assert "RuntimeWarning: nnU-Net runs without maskmed_nnu, because its installation is broken" in done.stderr


@pytest.mark.parametrize("how", ["path entry", "finder"])
def test_an_editable_nnunet_in_a_clone_is_hooked_too(run_python, tmp_path, how):
    clone = tmp_path / "clone"
    clone.mkdir()
    (clone / "nnunetv2").symlink_to(Path(nnunetv2.__path__[0]), target_is_directory=True)
    path_entry = f"import sys; sys.path.insert(0, {str(clone)!r})\n"
    # what `pip install -e` of setuptools registers for a package that is not importable from one folder
    finder = f"""
import sys
from importlib.util import spec_from_file_location
class EditableFinder:
    @classmethod
    def find_spec(cls, fullname, path=None, target=None):
        if fullname == "nnunetv2":
            return spec_from_file_location(fullname, {str(clone / "nnunetv2" / "__init__.py")!r})
sys.meta_path.insert(1, EditableFinder)
"""
    show = "print(nnunetv2.__path__[0], planner('MaskMedPlanner').__name__, planner('ExperimentPlanner').__name__)"
    done = run_python((path_entry if how == "path entry" else finder) + FIND_PLANNER + show)
    assert done.stdout.split() == [str(clone / "nnunetv2"), "MaskMedPlanner", "ExperimentPlanner"], done.stderr


def test_another_hook_that_asks_for_the_spec_again_causes_no_endless_recursion(run_python):
    code = """
import sys
from importlib.util import find_spec
class Curious:
    asked = set()
    @classmethod
    def find_spec(cls, fullname, path=None, target=None):
        if fullname.startswith("nnunetv2.utilities.find") and fullname not in cls.asked:
            cls.asked.add(fullname)
            return find_spec(fullname)
sys.meta_path.insert(0, Curious)
"""
    done = run_python(code + IS_WRAPPED)
    assert done.stdout.strip() == "True", done.stderr


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (["nnUNetv2_plan_experiment", "-d", "4", "-pl", "MaskMedPlaner"], "Unknown planner"),
        (["nnUNetv2_train", "4", "3d_fullres", "0", "-tr", "nnUNetTrainerMaskMd"], "nnUNetTrainerMaskMed"),
    ],
)
def test_commands_print_the_sentence_and_no_traceback(nnunet_env, command, expected):
    script = Path(sys.executable).with_name(command[0])
    done = subprocess.run([script, *command[1:]], env=nnunet_env.environ, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert expected in done.stderr
    assert "Traceback" not in done.stderr
    assert "NoneType" not in done.stderr + done.stdout
