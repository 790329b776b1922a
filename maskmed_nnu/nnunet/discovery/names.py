"""Every name of ours that nnU-Net can ask for: kind → name → ``"module:attribute"``.

A planner or trainer is known by its file in ``planners`` or ``trainers``, which is called as the class in it. What
else nnU-Net asks for joins the list here. Importing this file imports none of the classes.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

import maskmed_nnu.planners
import maskmed_nnu.trainers


def _files(package: ModuleType) -> dict[str, str]:
    stems = {path.stem for folder in package.__path__ for path in Path(folder).glob("[!_]*.py")}
    return {name: f"{package.__name__}.{name}:{name}" for name in sorted(stems)}


NAMES: dict[str, dict[str, str]] = {
    "planner": _files(maskmed_nnu.planners),
    "fingerprint extractor": {},
    "trainer": _files(maskmed_nnu.trainers),
    "preprocessor": {
        "MaskMedPreprocessor": "maskmed_nnu.nnunet.preprocessing.maskmed_preprocessor:MaskMedPreprocessor",
        "InstancePreprocessor": "maskmed_nnu.nnunet.preprocessing.instance_preprocessor:InstancePreprocessor",
    },
    "label manager": {"InstanceLabelManager": "maskmed_nnu.nnunet.plans_handling.label_manager:InstanceLabelManager"},
    "reader": {"InstanceIO": "maskmed_nnu.nnunet.imageio.instance_io:InstanceIO"},
    "resampling function": {},
}


def load(target: str) -> Any:
    """The class or function that ``"module:attribute"`` names."""
    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module), attribute)
