"""Answers nnU-Net's searches by name: ours first, then nnU-Net's own, then one sentence that helps.

nnU-Net finds planners, trainers, preprocessors and so on through one function, ``recursive_find_python_class``, which
scans a folder inside its own package. The start-up hook (:mod:`maskmed_nnu._startup`) hands us the modules that define
it and the trainer search the moment they are imported. Ours come first because nnU-Net's scan imports every module on
its way: seconds for the trainers, and a failure where a dependency of any of them is broken.
"""

from __future__ import annotations

import difflib
import functools
import os
import re
from pathlib import Path
from typing import Any

from maskmed_nnu.errors import InputError
from maskmed_nnu.nnunet.discovery.names import NAMES, load
from maskmed_nnu.nnunet.discovery.training_length import split_length, trainer_of_length

TRAINER_PACKAGE = "nnunetv2.training.nnUNetTrainer"

# What nnU-Net looks for in which of its packages. None stands for the folders in nnUNet_extTrainer.
KINDS: dict[str | None, tuple[str, ...]] = {
    "nnunetv2.experiment_planning": ("planner", "fingerprint extractor"),
    TRAINER_PACKAGE: ("trainer",),
    None: ("trainer",),
    "nnunetv2.preprocessing": ("preprocessor",),
    "nnunetv2.preprocessing.resampling": ("resampling function",),
    "nnunetv2.utilities.label_handling": ("label manager",),
    "nnunetv2.imageio": ("reader",),
}

# Searches that must not return None. After the others nnU-Net goes on: a trainer may be in nnUNet_extTrainer, and an
# unknown reader is replaced by one for the file ending.
MUST_FIND = (
    "nnunetv2.experiment_planning",
    "nnunetv2.preprocessing",
    "nnunetv2.preprocessing.resampling",
    "nnunetv2.utilities.label_handling",
)


def find(kind: str, name: str) -> Any | None:
    """Our class or function ``name`` of this kind (a key of ``NAMES``), or ``None`` where we have none."""
    target = NAMES[kind].get(name)
    if target is None:
        return trainer_of_length(name) if kind == "trainer" else None
    return load(target)


def wrap_class_finder(module: Any) -> None:
    """Wrap ``recursive_find_python_class`` in ``nnunetv2.utilities.find_class_by_name``."""
    stock = module.recursive_find_python_class

    @functools.wraps(stock)
    def recursive_find_python_class(
        folder: str, class_name: str, current_module: str | None, *args: Any, **kwargs: Any
    ) -> Any | None:
        kinds = KINDS.get(current_module, ())
        for kind in kinds:
            ours = find(kind, class_name)
            if ours is not None:
                return ours
        try:
            result = stock(folder, class_name, current_module, *args, **kwargs)
        except (AttributeError, ImportError, RuntimeError) as error:
            if kinds and current_module is not None and "torchvision" in str(error):
                raise _broken_torchvision(kinds, class_name, folder, error) from error
            raise
        if result is None and current_module in MUST_FIND:
            raise unknown_name(kinds, class_name, folder)
        return result

    module.recursive_find_python_class = recursive_find_python_class


def wrap_trainer_search(module: Any) -> None:
    """Wrap ``recursive_find_trainer_class_by_name`` in ``nnunetv2.utilities.find_objects``.

    It looks through nnU-Net, then through ``nnUNet_extTrainer``; only when both have failed is the name unknown.
    """
    stock = module.recursive_find_trainer_class_by_name

    @functools.wraps(stock)
    def recursive_find_trainer_class_by_name(trainer_name: str) -> type:
        try:
            return stock(trainer_name)
        except RuntimeError as error:
            if not str(error).startswith("Could not find requested nnunet trainer"):
                raise
            folder = os.path.join(module.nnunetv2.__path__[0], "training", "nnUNetTrainer")
            raise unknown_name(KINDS[TRAINER_PACKAGE], trainer_name, folder) from error

    module.recursive_find_trainer_class_by_name = recursive_find_trainer_class_by_name


def unknown_name(kinds: tuple[str, ...], name: str, folder: str) -> InputError:
    """The error for a ``name`` that is neither ours nor defined below nnU-Net's ``folder``."""
    searched = "neither maskmed_nnu nor nnU-Net has it"
    external = os.environ.get("nnUNet_extTrainer")
    if "trainer" in kinds and external:
        searched += f" and it is not in nnUNet_extTrainer={external}"
    return InputError(f"Unknown {' or '.join(kinds)} '{name}': {searched}; {_advice(kinds, name, folder)}.")


def _broken_torchvision(kinds: tuple[str, ...], name: str, folder: str, error: Exception) -> InputError:
    return InputError(
        f"maskmed_nnu has no {' or '.join(kinds)} '{name}' ({_advice(kinds, name, folder)}), and nnU-Net's own search "
        f"failed because torchvision does not fit the installed torch ({error}): correct the name, or install the "
        "torchvision release made for your torch, from the same index."
    )


def _advice(kinds: tuple[str, ...], name: str, folder: str) -> str:
    """``did you mean 'X'? maskmed_nnu's planners are …``, or that ``name`` belongs to another option."""
    ours = [known for kind in kinds for known in NAMES[kind]]
    for kind, names in NAMES.items():
        if kind not in kinds and split_length(name)[0] in names:
            return f"it is maskmed_nnu's {kind}"
    parts = []
    close = difflib.get_close_matches(split_length(name)[0], ours, n=2, cutoff=0.75)
    close += difflib.get_close_matches(name, _names_defined_below(folder), n=2, cutoff=0.8)
    if close:
        parts.append(f"did you mean {' or '.join(dict.fromkeys(close))}?")
    if ours:
        suffix = " (each also as <name>_<N>epochs or <name>_<N>minutes)" if "trainer" in kinds else ""
        parts.append(f"maskmed_nnu's {kinds[0]}s are {', '.join(ours)}{suffix}")
    else:
        parts.append(f"maskmed_nnu adds no {kinds[0]}")
    return " ".join(parts)


def _names_defined_below(folder: str) -> list[str]:
    """Names of the public classes and functions in the Python files below ``folder``, without importing any."""
    names = set()
    for path in Path(folder).rglob("*.py"):
        names.update(re.findall(r"^(?:class|def) ([A-Za-z]\w*)", path.read_text(encoding="utf-8"), re.MULTILINE))
    return sorted(names)
