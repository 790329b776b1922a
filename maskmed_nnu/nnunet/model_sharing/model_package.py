"""A trained model as one file that others can load without trusting it; `PackageFile` says what is in it."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Mapping, Sequence
from copy import deepcopy
from importlib.metadata import version
from pathlib import Path
from typing import Any

from maskmed_nnu.atomic_write import write_atomically
from maskmed_nnu.errors import InputError
from maskmed_nnu.nnunet.inference.build_predictor import load_checkpoint
from maskmed_nnu.nnunet.inference.model_source import FolderModel, open_model
from maskmed_nnu.nnunet.inference.package_file import (
    CARD,
    DATASET,
    EXAMPLES,
    FORMAT_VERSION,
    MANIFEST,
    PLANS,
    weights_file,
)
from maskmed_nnu.nnunet.inference.package_plans import check_classes, check_names
from maskmed_nnu.nnunet.inference.package_weights import pack_weights
from maskmed_nnu.nnunet.model_sharing.model_card import model_card
from maskmed_nnu.nnunet.model_sharing.output_file import check_output
from maskmed_nnu.nnunet.plans_handling.configuration import resolve_configuration
from maskmed_nnu.output_paths import refuse_output_over_input
from maskmed_nnu.version import package_version

PRECISIONS = ("float16", "float32")
BEGINNING_OF_TIME = (1980, 1, 1, 0, 0, 0)
"""The date of every file in a package: the same model gives the same package."""


def write_package(
    model_folder: str | Path,
    path: str | Path,
    *,
    folds: Sequence[str | int] | str | int | None,
    precision: str,
    card: str,
    figures: Mapping[str, Any] | None,
    example: Path | None,
    authors: Sequence[str],
    licence: str | None,
    checkpoint: str,
) -> Path:
    """See `maskmed_nnu.export`."""
    if precision not in PRECISIONS:
        raise InputError(f"{precision!r} is not a precision of weights; legal are {' and '.join(PRECISIONS)}.")
    model = open_model(model_folder, checkpoint=checkpoint)
    if not isinstance(model, FolderModel):
        raise InputError(f"{model.path} is a package already; copy that, or name the folder of a training.")
    chosen = model.choose_folds(folds)
    path = Path(path).expanduser()
    check_output(path, model, ending=".zip", kind="model package", is_ours=_is_package)
    if example is not None and not example.is_file():
        raise InputError(f"The example {example} is not a file; name an image that the model can segment.")
    if example is not None and not example.name.lower().endswith(EXAMPLES):
        raise InputError(f"The example {example} is not an image; its ending must be one of {', '.join(EXAMPLES)}.")
    refuse_output_over_input([path], [example] if example is not None else [], advice="name another file")

    weights, first = {}, None
    for fold in chosen:
        file = model.path / f"fold_{fold}" / checkpoint
        loaded = load_checkpoint(file)
        first = first or {key: value for key, value in loaded.items() if key != "optimizer_state"}
        weights[weights_file(fold)] = pack_weights(loaded["network_weights"], precision=precision, source=str(file))
    assert first is not None, "a model has a fold"
    trainer, configuration = first["trainer_name"], first["init_args"]["configuration"]
    axes = first.get("inference_allowed_mirroring_axes")
    plans = _without_paths(model.plans, configuration)
    settings = resolve_configuration(plans, configuration)
    if settings.get("previous_stage"):
        raise InputError(
            f"{model.name} is the second stage of a cascade, which needs the predictions of the first, and a package "
            "holds one stage; share both with nnUNetv2_export_model_to_zip."
        )
    check_names(
        plans, model.dataset_json, trainer=trainer, configuration=configuration, axes=axes or (), source=model.name
    )
    check_classes(plans, configuration=configuration, source=model.name)
    manifest = {
        "format_version": FORMAT_VERSION,
        "name": path.stem,
        "trainer": trainer,
        "configuration": configuration,
        "folds": chosen,
        "mirroring_axes": None if axes is None else [int(axis) for axis in axes],
        "precision": precision,
        "maskmed_nnu": package_version(),
        "nnunetv2": version("nnunetv2"),
    }
    parameters = sum(tensor.numel() for tensor in _distinct(first["network_weights"]))
    text = model_card(
        manifest,
        plans,
        model.dataset_json,
        parameters=parameters,
        epochs=first.get("current_epoch"),
        figures=figures,
        text=card,
        authors=authors,
        licence=licence,
    )
    files = {PLANS: _json(plans), DATASET: _json(model.dataset_json), CARD: text.encode(), **weights}
    if example is not None:
        ending = next(ending for ending in EXAMPLES if example.name.lower().endswith(ending))
        files[f"example{ending}"] = example.read_bytes()
    write_atomically(path, lambda partial: _write_zip(partial, manifest, files))
    return path


def _write_zip(path: Path, manifest: Mapping[str, Any], files: Mapping[str, bytes]) -> None:
    listed = {
        name: {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()} for name, content in files.items()
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, content in {MANIFEST: _json({**manifest, "files": listed}), **files}.items():
            info = zipfile.ZipInfo(name, BEGINNING_OF_TIME)
            info.external_attr = 0o644 << 16
            archive.writestr(info, content)


def _is_package(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return MANIFEST in archive.namelist()
    except (zipfile.BadZipFile, OSError):
        return False


def _without_paths(plans: dict[str, Any], configuration: str) -> dict[str, Any]:
    """Plans without the file that a backbone's first weights came from, on the machine that trained it."""
    plans = deepcopy(plans)
    arguments = resolve_configuration(plans, configuration).get("architecture", {}).get("arch_kwargs", {})
    if arguments.get("backbone_weights") is not None:
        arguments["backbone_weights"] = None
    return plans


def _distinct(state: Mapping[str, Any]) -> list[Any]:
    """The tensors of a state dict, each once."""
    return list({(tensor.data_ptr(), tuple(tensor.shape)): tensor for tensor in state.values()}.values())


def _json(content: Any) -> bytes:
    return (json.dumps(content, indent=2, sort_keys=False) + "\n").encode()
