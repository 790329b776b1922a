"""The model card of a package: what its files say, and what whoever exports it says beside that."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from maskmed_nnu.instances.text import count, format_list, format_shape
from maskmed_nnu.nnunet.plans_handling.configuration import resolve_configuration

NOT_SAID = """\
The origin and licence of the data, the intended use and the limits of the model are unknown. Ask its authors, and
test it on annotated images of your own."""
USAGE = """\
A model for maskmed_nnu, the plug-in for nnU-Net. In a terminal and in Python:

    maskmed predict --model {name}.zip -i images -o found
    maskmed_nnu.load("{name}.zip").predict(image)"""
NO_FIGURES = "There are none: it is unknown how good the model is on images that it was not trained on."
DESCRIPTIONS = {"description": "data", "reference": "source", "licence": "licence", "license": "licence"}
"""Entries of ``dataset.json`` that nnU-Net suggests, and what the card calls them."""


def model_card(
    manifest: Mapping[str, Any],
    plans: dict[str, Any],
    dataset_json: Mapping[str, Any],
    *,
    parameters: int,
    epochs: int | None,
    figures: Mapping[str, Any] | None,
    text: str,
    authors: Sequence[str] = (),
    licence: str | None = None,
    usage: str | None = None,
) -> str:
    """The card as Markdown; ``text`` is that of whoever exports the model, ``figures`` those of an evaluation.

    ``usage`` says how to predict, for files that are no packages.
    """
    configuration = resolve_configuration(plans, manifest["configuration"])
    channels = dataset_json.get("channel_names") or dataset_json.get("modality") or {}
    trained = f"{manifest['trainer']}, {count(epochs, 'epoch')}" if epochs is not None else manifest["trainer"]
    number = dataset_json.get("numTraining")
    cases = count(number, "training case") if isinstance(number, int) else "of an unknown number of cases"
    facts = {
        "finds": "objects" if "instances" in configuration else "a label for each voxel or pixel",
        "labels": format_list(name for name in dataset_json["labels"] if name != "background"),
        "channels": format_list(channels.values()),
        "data set": f"{plans.get('dataset_name')}, {cases}",
        **{name: str(dataset_json[key]) for key, name in DESCRIPTIONS.items() if dataset_json.get(key)},
        "network": configuration["architecture"]["network_class_name"].rpartition(".")[2],
        "parameters": f"{parameters:,}",
        "patch": format_shape(configuration["patch_size"]),
        "spacing": format_shape(configuration["spacing"]),
        "trained by": trained,
        "folds": format_list(manifest["folds"]),
        "weights": manifest["precision"],
        **({"authors of the model": format_list(authors)} if authors else {}),
        **({"licence of the model": licence} if licence else {}),
        "made with": f"maskmed_nnu {manifest['maskmed_nnu']}, nnunetv2 {manifest['nnunetv2']}",
    }
    rows = "\n".join(f"| {name} | {_cell(value)} |" for name, value in facts.items())
    usage = usage or USAGE.format(name=manifest["name"])
    measured = "\n".join(f"| {name} | {value} |" for name, value in _numbers(figures or {}))
    return f"""\
# {manifest["name"]}

{usage}

| | |
|---|---|
{rows}

## Validation: figures on unseen images
{f"| | |{chr(10)}|---|--:|{chr(10)}{measured}" if measured else NO_FIGURES}

## Data, intended use and limits
{text.strip() or NOT_SAID}
"""


def _numbers(content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """The numbers in what an evaluation wrote, nested ones with the names of what they are nested in."""
    for key, value in content.items():
        name = f"{prefix}{_cell(key)}"
        if isinstance(value, Mapping):
            yield from _numbers(value, f"{name}, ")
        elif isinstance(value, float):
            yield name, f"{value:.3f}"
        elif isinstance(value, int) and not isinstance(value, bool):
            yield name, f"{value:,}"


def _cell(value: object) -> str:
    return " ".join(str(value).replace("|", "\\|").split())
