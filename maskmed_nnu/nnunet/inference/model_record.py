"""The record of the model that predicts into a folder: other models are not mixed with it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from maskmed_nnu.errors import InputError
from maskmed_nnu.instances.text import format_list
from maskmed_nnu.json_file import read_json, write_json
from maskmed_nnu.version import package_version

MODEL_RECORD = "predicted_by.json"


def describe_model(predictor: Any) -> dict[str, Any]:
    """What of nnU-Net's predictor decides about a prediction: weights, plans and options, not where they lie."""
    settings = [predictor.dataset_json, predictor.configuration_manager.configuration]
    return {
        "trainer": predictor.trainer_name,
        "weights": sorted(_weights_digests(predictor)),
        "plans": json_digest(predictor.plans_manager.plans),
        "settings": json_digest(settings),
        "mirrored_axes": list(predictor.allowed_mirroring_axes or ()) if predictor.use_mirroring else [],
        "tile_step_size": predictor.tile_step_size,
        "gaussian": predictor.use_gaussian,
    }


def check_model_record(
    folder: Path, model: Mapping[str, Any], plans: Mapping[str, Any], *, named: Mapping[str, Any], advice: str
) -> str:
    """Refuse to add to predictions of another model; ``named`` is what else the record says of it.

    Where the record is damaged or missing, another ``plans.json`` tells another model. Version 0.1 knew models by what
    is ``named`` only. Returns a line about a damaged record, or an empty one.

    Raises:
        InputError: says what differs, and ends with ``advice``.
    """
    file = folder / MODEL_RECORD
    kept, ours, decisive = _read_mapping(file), {**named, **model}, set(model)
    if kept is None:
        file = folder / "plans.json"
        kept = {"plans": _read_mapping(file)}
        ours = {"plans": plans} if kept["plans"] else {}
    elif "weights" not in kept:
        decisive = set(named)
    differing = [key for key in ours if key in kept and json_digest(kept[key]) != json_digest(ours[key])]
    if decisive.intersection(differing):
        raise InputError(
            f"{folder} holds predictions of another model or other folds or options ({file} differs in "
            f"{format_list(differing)}); {advice}."
        )
    damaged = file.name != MODEL_RECORD and (folder / MODEL_RECORD).exists()
    return f"{folder / MODEL_RECORD} is damaged and was written again\n" if damaged else ""


def write_model_record(folder: Path, model: Mapping[str, Any], named: Mapping[str, Any]) -> None:
    """Say which model predicts into the folder from now on."""
    write_json(folder / MODEL_RECORD, {**named, **model, "maskmed_nnu": package_version()}, indent=2)


def _read_mapping(path: Path) -> dict[str, Any] | None:
    try:
        content = read_json(path, expected="a JSON object") if path.is_file() else None
    except InputError:
        return None
    return content if isinstance(content, dict) else None


def json_digest(content: Any) -> str:
    """The same for contents that are the same in JSON."""
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _weights_digests(predictor: Any) -> list[str]:
    """Of each fold; kept with the predictor, for services give it one image after the other."""
    states = predictor.list_of_parameters
    if not states:
        return [_weights_digest(predictor.network.state_dict())]
    known, digests = getattr(predictor, "_weights_digests", ((), []))
    if len(known) != len(states) or any(one is not other for one, other in zip(known, states, strict=True)):
        digests = [_weights_digest(state) for state in states]
        predictor._weights_digests = (list(states), digests)
    return digests


def _weights_digest(state: Mapping[str, Any]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for name, value in sorted(state.items()):
        digest.update(name.encode())
        if isinstance(value, torch.Tensor):
            digest.update(f"{value.dtype}{tuple(value.shape)}".encode())
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
        else:
            digest.update(repr(value).encode())
    return digest.hexdigest()
