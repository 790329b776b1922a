"""nnU-Net's predictor from plans and weights, without what nnU-Net prints and changes on the way."""

from __future__ import annotations

import inspect
import os
import pickle
import threading
from collections.abc import Mapping, Sequence
from copy import deepcopy
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import nnunetv2
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.utilities.find_class_by_name import recursive_find_python_class
from nnunetv2.utilities.label_handling.label_handling import determine_num_input_channels
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager

from maskmed_nnu.errors import InputError
from maskmed_nnu.instances.text import format_list
from maskmed_nnu.nnunet.inference.devices import choose_device
from maskmed_nnu.nnunet.inference.trained_model import check_hook
from maskmed_nnu.nnunet.plans_handling.configuration import resolve_configuration

TRAINERS = "nnunetv2.training.nnUNetTrainer"
_IMPORT_LOCK = threading.Lock()


def load_checkpoint(file: Path) -> dict[str, Any]:
    """nnU-Net's checkpoint, on the CPU. It is unpickled, as nnU-Net does: load only models that you trust.

    Raises:
        InputError: where it cannot be read, or is not a checkpoint of nnU-Net.
    """
    try:
        checkpoint = torch.load(file, map_location="cpu", weights_only=False)
    except (RuntimeError, OSError, EOFError, ValueError, pickle.UnpicklingError) as error:
        raise InputError(
            f"{file} is damaged or truncated ({_first_line(error)}); copy it again, or name another checkpoint."
        ) from None
    except (AttributeError, ImportError) as error:
        raise InputError(
            f"{file} contains objects of a package that is not installed here ({_first_line(error)}); install what the "
            "model was trained with."
        ) from None
    needed = ("trainer_name", "init_args", "network_weights")
    missing = [key for key in needed if not isinstance(checkpoint, dict) or key not in checkpoint]
    if missing:
        raise InputError(f"{file} is not a checkpoint of nnU-Net v2 (it has no {format_list(missing)}); name another.")
    return dict(checkpoint)


def build_predictor(
    plans: Mapping[str, Any],
    dataset_json: Mapping[str, Any],
    *,
    trainer: str,
    configuration: str,
    mirroring_axes: Sequence[int] | None,
    weights: Mapping[str, Mapping[str, torch.Tensor]],
    device: str,
    mirroring: bool,
    name: str,
) -> nnUNetPredictor:
    """The predictor of a model ``name``; ``weights`` of its folds by where they come from.

    Raises:
        InputError: where the trainer is unknown, the plans cannot be used by the installed nnU-Net, or weights do not
            fit them.
    """
    network, manager, chosen, own_dataset = build_network(
        plans, dataset_json, trainer=trainer, configuration=configuration, name=name
    )
    for source, state in weights.items():
        try:
            network.load_state_dict(state)
        except RuntimeError as error:
            raise InputError(
                f"The weights in {source} do not fit the network that the plans describe ({_first_line(error)}); "
                "take plans and weights of the same training."
            ) from None
    if os.environ.get("nnUNet_compile", "").lower() in ("true", "1", "t"):
        network = torch.compile(network)  # here, since nnU-Net says so when it does
    predictor = _quiet_predictor(torch.device(choose_device(device)), mirroring=mirroring)
    predictor.manual_initialization(
        network, manager, chosen, list(weights.values()), own_dataset, trainer, mirroring_axes
    )
    predictor.configuration_name = configuration
    return predictor


def build_network(
    plans: Mapping[str, Any], dataset_json: Mapping[str, Any], *, trainer: str, configuration: str, name: str
) -> tuple[Any, PlansManager, ConfigurationManager, dict[str, Any]]:
    """The network of a model ``name``, with plans, configuration and ``dataset.json`` for its predictor.

    Raises:
        InputError: where the trainer is unknown, or the plans cannot be used by the installed nnU-Net.
    """
    check_hook()
    own_plans, own_dataset = deepcopy(dict(plans)), deepcopy(dict(dataset_json))  # predictors may edit theirs
    resolve_configuration(own_plans, configuration)
    trainer_class = _find_trainer(trainer, name)
    try:
        manager = PlansManager(own_plans)
        chosen = manager.get_configuration(configuration)
        channels = determine_num_input_channels(manager, chosen, own_dataset)
        heads = manager.get_label_manager(own_dataset).num_segmentation_heads
        build = trainer_class.build_network_architecture
        first = [manager, chosen]
        if (
            "plans_manager" not in inspect.signature(build).parameters
        ):  # as trainers were written for nnU-Net before 2.7
            first = [
                chosen.network_arch_class_name,
                chosen.network_arch_init_kwargs,
                chosen.network_arch_init_kwargs_req_import,
            ]
        with torch.random.fork_rng(devices=[]):  # the weights of a new network come from the process's generator
            network = build(*first, channels, heads, enable_deep_supervision=False)
    except InputError:
        raise
    except Exception as error:  # whatever nnU-Net's code meets in files that it does not expect
        raise InputError(
            f"The plans of {name} cannot be used by nnU-Net {version('nnunetv2')} ({type(error).__name__}: "
            f"{_first_line(error)}); they are of another version or were edited, so use the version that the model "
            "was trained with, or train it again."
        ) from error
    return network, manager, chosen, own_dataset


def _quiet_predictor(device: torch.device, *, mirroring: bool) -> nnUNetPredictor:
    """nnU-Net's, for any ``device``. Made for one other than CUDA it prints a remark on `perform_everything_on_device`,
    whether or not that is requested; made for CUDA it switches cuDNN's benchmark on for the whole process."""
    benchmark = torch.backends.cudnn.benchmark
    try:
        predictor = nnUNetPredictor(use_mirroring=mirroring, device=torch.device("cuda"), allow_tqdm=False)
    finally:
        torch.backends.cudnn.benchmark = benchmark
    predictor.device = device
    predictor.perform_everything_on_device = device.type == "cuda"
    return predictor


def _find_trainer(trainer: str, model: str) -> Any:
    """The trainer's class, which knows how the network is built; nnU-Net's own search prints where it looks."""
    package = nnunetv2.__path__[0]
    found, stopped = None, ""
    _import_trainers_logger()
    try:
        folder = os.path.join(package, "training", "nnUNetTrainer")
        found = recursive_find_python_class(folder, trainer, TRAINERS, package)
    except InputError as error:  # one of nnU-Net's trainers cannot be imported
        stopped = f" ({error})"
    for folder in os.environ.get("nnUNet_extTrainer", "").split(os.pathsep):
        if found is None and folder.strip() and os.path.exists(folder):
            found = recursive_find_python_class(
                folder, trainer, None, base_folder=folder, cleanup_imports_from_base_folder=True
            )
    if found is None:
        raise InputError(
            f"{model} was trained with {trainer}, which neither maskmed_nnu nor nnU-Net has{stopped}; install "
            "its package, or set nnUNet_extTrainer to the folder of its file."
        )
    return found


def _import_trainers_logger() -> None:
    """nnU-Net's trainers import it, and it would switch matplotlib to a backend that shows no figures in notebooks."""
    import matplotlib

    with _IMPORT_LOCK:
        use, matplotlib.use = matplotlib.use, lambda *args, **kwargs: None
        try:
            import_module("nnunetv2.training.logging.nnunet_logger")
        finally:
            matplotlib.use = use


def _first_line(error: Exception) -> str:
    lines = [line.strip().rstrip(".:") for line in str(error).splitlines() if line.strip()]
    return ": ".join(lines[:2]) or type(error).__name__
