"""The methods that the benchmarks compare: their form on the command line, and their classes."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import json
import os
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

STOCK_PLANNER = "ExperimentPlanner"
STOCK_ADAMW = "benchmark:adamw"
MIRROR_AWARE_ADAMW = "benchmark:adamw_mirror_aware"


def stop(sentence: str) -> None:
    """End the program with one clear sentence."""
    raise SystemExit(f"{Path(sys.argv[0]).stem}: {sentence}")


@dataclass
class Method:
    """One line of the table: a trainer, the planner that makes its plans, and overrides of both."""

    label: str
    trainer: str
    planner: str = STOCK_PLANNER
    overrides: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> Method:
        label, separator, rest = text.partition("=")
        if not separator or not label.strip() or not rest.strip():
            stop(f"the method {text!r} is not of the form label=trainer[:planner[:key=json,...]].")
        trainer, _, rest = re.fullmatch(r"((?:benchmark:)?[^:]*)(:?)(.*)", rest, re.DOTALL).groups()
        if trainer.startswith("benchmark:") and trainer not in (STOCK_ADAMW, MIRROR_AWARE_ADAMW):
            stop(f"the trainer {trainer!r} of the method {text!r} is none of {STOCK_ADAMW} and {MIRROR_AWARE_ADAMW}.")
        planner, _, rest = rest.partition(":")
        return cls(label.strip(), trainer.strip(), planner.strip() or STOCK_PLANNER, parse_overrides(rest, text))

    def key(self, budget: dict[str, Any], configuration: dict[str, Any]) -> str:
        """A file name that changes with anything that changes the result, except the code.

        ``configuration`` is that of the planner's plans: network and training settings may change with its version.
        """
        settings = {k: v for k, v in configuration.items() if isinstance(v, dict) and not k.startswith("resampling")}
        identity = json.dumps([self.trainer, self.planner, self.overrides, budget, settings], sort_keys=True)
        slug = re.sub(r"[^A-Za-z0-9]+", "-", self.label).strip("-")
        return f"{slug}-{hashlib.sha256(identity.encode()).hexdigest()[:8]}"


def parse_overrides(text: str, method: str) -> dict[str, Any]:
    """``num_queries=8,head_levels=[3, 2]`` → dict; a comma only separates where a new ``key=`` follows."""
    overrides = {}
    for part in re.split(r",(?=\s*[\w.]+=)", text) if text.strip() else []:
        key, _, value = part.partition("=")
        try:
            overrides[key.strip()] = json.loads(value)
        except json.JSONDecodeError:
            stop(f"in the method {method!r} the value of {key.strip()!r} is not JSON: {value!r}.")
    return overrides


def find_trainer(name: str) -> type:
    """The trainer class by nnU-Net's name, ours included, or a stock one with AdamW."""
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    if name == "nnUNetTrainer":
        return nnUNetTrainer
    if name == STOCK_ADAMW:
        return stock_with_adamw(nnUNetTrainer)
    if name == MIRROR_AWARE_ADAMW:
        return stock_with_adamw(find_ours("trainer", "nnUNetTrainerMirrorAware"))
    return find_ours("trainer", name)


def check_trainer(method: Method) -> None:
    """End where there is no such trainer, or where it mirrors every axis although the method says which."""
    trainer = find_trainer(method.trainer)
    if any(key.startswith("mirroring.") for key in method.overrides):
        from maskmed_nnu.nnunet.training.trainers.mirror_aware import MirrorAware

        if not issubclass(trainer, MirrorAware):
            stop(
                f"the trainer {method.trainer} does not obey mirroring.axes and mirroring.swap (method "
                f"{method.label!r}); {MIRROR_AWARE_ADAMW}, nnUNetTrainerMirrorAware and our semantic trainers do."
            )


def find_planner(name: str) -> type:
    from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner

    return ExperimentPlanner if name == STOCK_PLANNER else find_ours("planner", name)


def find_ours(kind: str, name: str) -> type:
    """A class of this package, else one of nnU-Net's. Needs no start-up hook, so that a bare checkout works."""
    from maskmed_nnu.nnunet.discovery.names import NAMES, load

    if name in NAMES[kind]:
        return load(NAMES[kind][name])
    import nnunetv2
    from nnunetv2.utilities.find_class_by_name import recursive_find_python_class

    folder, module = {
        "trainer": ("training/nnUNetTrainer", "nnunetv2.training.nnUNetTrainer"),
        "planner": ("experiment_planning", "nnunetv2.experiment_planning"),
    }[kind]
    found_class = recursive_find_python_class(os.path.join(nnunetv2.__path__[0], folder), name, current_module=module)
    if found_class is None:
        stop(f"neither this package nor nnU-Net has the {kind} {name!r}.")
    return found_class


def multiply_adds(trainer: Any) -> float:
    """Of a forward pass over one patch, in convolutions and matrix products, those of attention included."""
    from maskmed_nnu.nnunet.plans_handling.meta_network import cost

    # fused attention of the CPU is not counted, that of the meta device is
    network = copy.deepcopy(trainer.network).to("meta")
    # torch.autocast does not know the meta device; what MaskMed switches off there is off anyway
    with mock.patch("torch.autocast", lambda *_, **__: contextlib.nullcontext()):
        return cost(network, trainer.num_input_channels, trainer.configuration_manager.patch_size)[1]


def stock_with_adamw(base: type) -> type:
    import torch
    from nnunetv2.training.lr_scheduler.polylr import PolyLRScheduler

    class StockAdamW(base):
        """The stock network and loss with AdamW 1e-3, nnU-Net's own weight decay and polynomial decay."""

        def __init__(self, plans, configuration, fold, dataset_json, device=torch.device("cuda")):
            super().__init__(plans, configuration, fold, dataset_json, device)
            self.initial_lr = 1e-3

        def configure_optimizers(self):
            parameters = self.network.parameters()
            optimizer = torch.optim.AdamW(parameters, lr=self.initial_lr, weight_decay=self.weight_decay)
            return optimizer, PolyLRScheduler(optimizer, self.initial_lr, self.num_epochs)

    return StockAdamW


def files_digest(*folders: Path) -> str:
    """Changes with the names, sizes and times of the files in the folders."""
    from maskmed_nnu.file_state import folder_state

    return hashlib.sha256(json.dumps(folder_state(folders)).encode()).hexdigest()[:16]


def made_before(stamp: Path, settings: dict[str, Any]) -> bool:
    """Whether ``stamp`` says that what is about to be made is there; ends where it was made from something else."""
    if not stamp.is_file():
        return False
    have = {key: value for key, value in json.loads(stamp.read_text()).items() if key in settings}
    if have != settings:
        stop(f"{stamp.parent} was made for {have}, not for {settings}; choose another --work.")
    return True


def convert_photographs(source: Path, work: Path) -> Path:
    """``source`` with ``images/`` and ``masks/`` of labels as an nnU-Net raw data set in ``work``; once."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from maskmed_nnu.instances.conversion.convert import convert
    from maskmed_nnu.instances.conversion.sources import SemanticSource

    folder, stamp = work / "raw" / "Dataset020_FUSeg", work / "raw" / "made_from.json"
    settings = {"data": str(source.resolve()), "files": files_digest(source / "images", source / "masks")}
    if not made_before(stamp, settings):
        folder.parent.mkdir(parents=True, exist_ok=True)
        print("\n".join(convert(SemanticSource(source / "images", source / "masks"), folder).lines))
        stamp.write_text(json.dumps(settings))
    return folder
