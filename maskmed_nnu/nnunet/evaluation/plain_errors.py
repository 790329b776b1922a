"""nnU-Net's commands end in nnU-Net's own words, without a traceback, where they were about a model of ours."""

from __future__ import annotations

import functools
import re
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from maskmed_nnu.errors import InputError
from maskmed_nnu.json_file import read_json
from maskmed_nnu.nnunet.evaluation.trained_models import are_our_plans, is_our_trainer, plans_are_ours
from maskmed_nnu.nnunet.running import running_ours

REFUSALS = (AssertionError, ConnectionError, RuntimeError, ValueError, zipfile.BadZipFile)
"""How nnU-Net refuses what a user asked for, and what a network can be at fault for."""


ENTRY_POINTS = {
    "nnunetv2.model_sharing.entry_points": (
        "export_pretrained_model_entry",
        "install_from_zip_entry_point",
        "download_by_url",
    ),
    "nnunetv2.experiment_planning.plans_for_pretraining.move_plans_between_datasets": (
        "entry_point_move_plans_between_datasets",
    ),
    "nnunetv2.utilities.overlay_plots": ("entry_point_generate_overlay",),
}
"""Those of modules in which nothing else is wrapped."""


def wrap_entry_points(module: ModuleType) -> None:
    """Wrap all of a module in ``ENTRY_POINTS``."""
    speak_plainly(module, *ENTRY_POINTS[module.__name__])


def speak_plainly(module: ModuleType, *names: str) -> None:
    """Wrap the entry points ``names`` of ``module``."""
    for name in names:
        setattr(module, name, _plain(getattr(module, name)))


def _plain(stock: Any) -> Any:
    @functools.wraps(stock)
    def entry_point() -> Any:
        if not name_ours(sys.argv[1:]):
            return stock()
        try:
            with running_ours():
                return stock()
        except InputError:
            raise
        except REFUSALS as error:
            raise InputError(f"{Path(sys.argv[0]).name}: {_sentence(error)}") from error

    return entry_point


def name_ours(words: Sequence[str]) -> bool:
    """Whether a command's arguments name a trainer, plans, or a folder of predictions of ours."""
    return any(is_our_trainer(word) or are_our_plans(word) or _leads_to_ours(Path(word)) for word in words)


def _leads_to_ours(path: Path) -> bool:
    try:
        file = path / "plans.json" if path.is_dir() else path
        if file.suffix != ".json" or not file.is_file():
            return False
        content = read_json(file, expected="nnU-Net's plans")
    except (InputError, OSError):  # OSError: of a word that is too long for a path
        return False
    return isinstance(content, dict) and plans_are_ours(content)


def _sentence(error: BaseException) -> str:
    return re.sub(r"\s+", " ", str(error)).strip() or type(error).__name__
