"""A trained 2D model in the format of the BioImage Model Zoo (https://bioimage.io), with ONNX weights.

ONNX rather than torchscript: it is written for every network anyway, and runs without PyTorch. The test output is
what onnxruntime makes of the test input, so that whoever tests the package tests what is in it.
"""

from __future__ import annotations

import json
import re
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from maskmed_nnu.atomic_write import write_atomically
from maskmed_nnu.errors import InputError
from maskmed_nnu.instances.text import format_list
from maskmed_nnu.nnunet.inference.model_package import PackageModel
from maskmed_nnu.nnunet.inference.model_source import ModelSource, open_model
from maskmed_nnu.nnunet.inference.trained_model import read_files
from maskmed_nnu.nnunet.model_sharing.model_card import model_card
from maskmed_nnu.nnunet.model_sharing.onnx_export import TiledModel, load_tiled, trace
from maskmed_nnu.nnunet.model_sharing.output_file import check_output, need_packages
from maskmed_nnu.version import package_version

DESCRIPTIONS = ("bioimageio.yaml", "rdf.yaml")
SMALLEST_DEVIATION = 1e-8
"""nnU-Net's: no image is divided by less."""
USAGE = """\
A model in the format of bioimage.io, made with maskmed_nnu, the plug-in for nnU-Net. Its network takes one patch; the
metadata of the ONNX file in it say how whole images are predicted. What is described here as preprocessing is done to
the patch; nnU-Net does it to the whole image, and brings it to the model's spacing before."""
NNUNET = {
    "text": "Isensee, F. et al.: nnU-Net: a self-configuring method for deep learning-based biomedical image "
    "segmentation. Nature Methods 18 (2021)",
    "doi": "10.1038/s41592-020-01008-z",
}
TENSORS = {
    "logits": ("probabilities", "probability of each class", "channel y x"),
    "scores": ("scores", "how likely each query has found an object", "index"),
    "classes": ("classes", "class of each query's object, an index into the things", "index"),
    "masks": ("masks", "probability of each pixel of a query's window", "index y x"),
    "corners": ("corners", "first pixel (x, y) of each window in the patch", "index channel"),
    "peaks": ("peaks", "place (x, y) in pixels from which each query looks, a peak of the heatmap", "index channel"),
    "heatmap": ("heatmap", "probability of an object's centre", "channel y x"),
    "semantic": ("semantic", "probability of each class", "channel y x"),
    "embeddings": ("embeddings", "unit vectors, similar within an object", "channel y x"),
}
"""Id and description of each output of a graph, and its axes behind that of the batch."""


def export_bioimageio(
    source: str | Path,
    file: str | Path,
    *,
    folds: Sequence[int | str] | int | str | None,
    checkpoint: str,
    card: str,
    figures: Mapping[str, Any] | None,
    example: Path | None,
    authors: Sequence[str],
    licence: str | None,
) -> Path:
    """See `maskmed_nnu.export`."""
    file = Path(file).expanduser()
    need_packages("A package for bioimage.io", "onnx", "onnxscript", "onnxruntime", "bioimageio.spec")
    model = open_model(source, checkpoint=checkpoint)
    check_output(file, model, ending=".zip", kind="package for bioimage.io", is_ours=_is_package)
    if not authors:
        raise InputError("bioimage.io asks who made the model, and no authors are named; name one or more.")
    if example is None or not example.is_file():
        found = "is none" if example is None else f"{example} is no file"
        raise InputError(f"bioimage.io asks for a picture to test the model with, and there {found}; name an example.")
    licence = licence or _licence_of(model.dataset_json)
    tiled = load_tiled(model, folds)
    if len(tiled.settings["sliding_window"]["patch_size"]) != 2:
        raise InputError(
            f"{model.name} is a model of volumes, and only models of images are written for bioimage.io; take a "
            "configuration 2d, or an ONNX file."
        )
    steps = preprocessing(tiled.settings)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        description = _write_files(
            tiled, model, folder, name=file.stem, card=card, figures=figures, authors=authors, licence=licence
        )
        description.update(_tensors(tiled, folder, example, steps))
        described = _validated(description, folder)
        from bioimageio.spec import save_bioimageio_package

        write_atomically(file, lambda partial: save_bioimageio_package(described, output_path=partial))
    return file


def preprocessing(settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The normalisation of `prediction_settings` in bioimage.io's words.

    Raises:
        InputError: where these have none for it.
    """
    channels = settings["channels"]
    schemes = {channel["normalization"] for channel in channels}
    if len(schemes) > 1 or any(channel["use_mask_for_norm"] for channel in channels):
        how = "inside a mask" if len(schemes) == 1 else f"in several ways ({format_list(sorted(schemes))})"
        raise InputError(
            f"The channels {format_list(channel['name'] for channel in channels)} are normalised {how}, which "
            "bioimage.io has no words for; write an ONNX file."
        )
    (scheme,) = schemes
    if scheme == "CTNormalization":
        if len(channels) > 1:
            raise InputError(
                "Several channels are clipped, each to a range of its own, which bioimage.io has no words for; write an "
                "ONNX file."
            )
        (channel,) = channels
        limits = {"min": channel["percentile_00_5"], "max": channel["percentile_99_5"]}
        scale = {"mean": channel["mean"], "std": max(channel["std"], 1e-6)}
        return [{"id": "clip", "kwargs": limits}, {"id": "fixed_zero_mean_unit_variance", "kwargs": scale}]
    within = {"axes": ["y", "x"], "eps": SMALLEST_DEVIATION}
    return {
        "ZScoreNormalization": [{"id": "zero_mean_unit_variance", "kwargs": within}],
        "RescaleTo01Normalization": [{"id": "scale_range", "kwargs": within}],
        "RGBTo01Normalization": [{"id": "scale_linear", "kwargs": {"gain": 1 / 255}}],
        "NoNormalization": [],
    }[scheme]


def normalize(image: np.ndarray, steps: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """``image [1, C, h, w]`` float32 after ``steps`` of `preprocessing`, as bioimage.io defines them."""
    for step in steps:
        kwargs = step["kwargs"]
        if step["id"] == "clip":
            image = image.clip(kwargs["min"], kwargs["max"])
        elif step["id"] == "fixed_zero_mean_unit_variance":
            image = (image - kwargs["mean"]) / kwargs["std"]
        elif step["id"] == "scale_linear":
            image = image * kwargs["gain"]
        elif step["id"] == "scale_range":
            low, high = image.min((2, 3), keepdims=True), image.max((2, 3), keepdims=True)
            image = (image - low) / (high - low + kwargs["eps"])
        else:
            mean, deviation = image.mean((2, 3), keepdims=True), image.std((2, 3), keepdims=True)
            image = (image - mean) / (deviation + kwargs["eps"])
    return image.astype(np.float32)


def _write_files(
    tiled: TiledModel,
    model: ModelSource,
    folder: Path,
    *,
    name: str,
    card: str,
    figures: Mapping[str, Any] | None,
    authors: Sequence[str],
    licence: str,
) -> dict[str, Any]:
    """Weights and documentation into ``folder``, and what `ModelDescr` is told beside the tensors."""
    trace(tiled).save(folder / "weights.onnx")
    about = tiled.settings["model"]
    if isinstance(model, PackageModel) and not (card or figures):
        text = model.card.decode("utf-8", "replace")
    else:
        manifest = {
            "name": name,
            "trainer": about["trainer"],
            "configuration": about["configuration"],
            "folds": about["folds"],
            "precision": "float32",
            "maskmed_nnu": package_version(),
            "nnunetv2": version("nnunetv2"),
        }
        text = model_card(
            manifest,
            dict(model.plans),
            model.dataset_json,
            parameters=sum(parameter.numel() for parameter in tiled.network.folds[0].parameters()),
            epochs=None,
            figures=figures,
            text=card,
            authors=authors,
            licence=licence,
            usage=USAGE,
        )
    (folder / "README.md").write_text(text, encoding="utf-8")
    labels = [label for label in model.dataset_json["labels"] if label != "background"]
    network = type(tiled.network.folds[0]).__name__
    what = "objects" if "objects" in tiled.settings else "classes"
    return {
        "name": re.sub(r"[^\w+\- ()]|[^\x00-\x7f]", " ", name).strip().ljust(5, "_"),
        "description": f"{network} for {what}: {format_list(labels)}"[:1024],
        "authors": [{"name": author} for author in authors],
        "license": licence,
        "cite": [NNUNET],
        "tags": ["segmentation", "nnU-Net", network, "instance-segmentation" if what == "objects" else "semantic"],
        "documentation": {"source": "README.md"},
        "weights": {"onnx": {"source": "weights.onnx", "opset_version": about["opset"]}},
        "config": {"maskmed_nnu": json.loads(json.dumps(tiled.settings))},
    }


def _tensors(tiled: TiledModel, folder: Path, example: Path, steps: list[dict[str, Any]]) -> dict[str, Any]:
    """The description of inputs and outputs, with test tensors in ``folder``."""
    import onnxruntime

    settings = tiled.settings
    patch, channels = settings["sliding_window"]["patch_size"], settings["channels"]
    image = _test_image(tiled, example, patch)
    np.save(folder / "image.npy", image)
    session = onnxruntime.InferenceSession(folder / "weights.onnx", providers=["CPUExecutionProvider"])
    outputs = []
    for output, found in zip(session.get_outputs(), session.run(None, {"image": normalize(image, steps)}), strict=True):
        name, description, axes = TENSORS[output.name]
        postprocessing: list[dict[str, Any]] = []
        if output.name == "logits":
            found, postprocessing = _probabilities(found, settings["labels"]["rule"])
        np.save(folder / f"{name}.npy", found)
        sizes = dict(zip(axes.split(), found.shape[1:], strict=True))
        outputs.append(
            {
                "id": name,
                "description": description,
                "axes": [{"type": "batch"}, *(_axis(axis, size, output.name, tiled) for axis, size in sizes.items())],
                "test_tensor": {"source": f"{name}.npy"},
                "data": {"type": str(found.dtype)},
                "postprocessing": postprocessing,
            }
        )
    names = [_identifier(channel["name"], index) for index, channel in enumerate(channels)]
    spacing = settings["preprocessing"]["spacing"]
    unit = {} if np.allclose(spacing, 1) else {"unit": "millimeter"}
    space = [
        {"type": "space", "id": axis, "size": size, **({"scale": float(scale), **unit} if unit else {})}
        for axis, size, scale in zip("yx", patch, spacing, strict=True)
    ]
    described = {
        "id": "image",
        "description": "a patch of an image at the model's spacing, as it was recorded",
        "axes": [{"type": "batch"}, {"type": "channel", "channel_names": names}, *space],
        "test_tensor": {"source": "image.npy"},
        "data": {"type": "float32"},
        "preprocessing": steps,
    }
    return {"inputs": [described], "outputs": outputs}


def _axis(axis: str, size: int, output: str, tiled: TiledModel) -> dict[str, Any]:
    if axis in "yx":
        return {"type": "space", "id": axis, "size": size}
    if axis == "index":
        return {"type": "index", "size": size}
    names = [str(name) for name in tiled.settings["labels"]["names"]]
    if output in ("corners", "peaks"):
        names = ["x", "y"]
    elif len(names) != size:
        names = names[1:] if len(names) == size + 1 else [f"channel{number}" for number in range(size)]
    return {"type": "channel", "channel_names": names}


def _probabilities(logits: np.ndarray, rule: str) -> tuple[np.ndarray, list[dict[str, Any]]]:
    if rule == "argmax":
        exponentials = np.exp(logits - logits.max(1, keepdims=True))
        return exponentials / exponentials.sum(1, keepdims=True), [{"id": "softmax", "kwargs": {"axis": "channel"}}]
    return 1 / (1 + np.exp(-logits)), [{"id": "sigmoid"}]


def _test_image(tiled: TiledModel, example: Path, patch: Sequence[int]) -> np.ndarray:
    """The middle of the picture, of its middle slice, ``[1, C, *patch]`` float32; a smaller one goes on at its edges.

    Raises:
        InputError: where it cannot be read, or has other channels than the model.
    """
    predictor = tiled.predictor
    reader = predictor.plans_manager.image_reader_writer_class()
    image, _ = read_files(reader, [example], predictor.dataset_json, tell=lambda sentence: None)
    wanted = len(tiled.settings["channels"])
    if len(image) != wanted:
        raise InputError(
            f"The example {example} has {len(image)} channels, and the model takes {wanted}; name another."
        )
    image = image.transpose(0, *(axis + 1 for axis in predictor.plans_manager.transpose_forward))
    image = image[:, image.shape[1] // 2].astype(np.float32)
    missing = [max(edge - found, 0) for edge, found in zip(patch, image.shape[1:], strict=True)]
    image = np.pad(image, [(0, 0), *((0, edge) for edge in missing)], mode="edge")
    starts = [(found - edge) // 2 for edge, found in zip(patch, image.shape[1:], strict=True)]
    window = tuple(slice(start, start + edge) for start, edge in zip(starts, patch, strict=True))
    return np.ascontiguousarray(image[(slice(None), *window)])[None]


def _validated(description: dict[str, Any], folder: Path) -> Any:
    """bioimage.io's own object.

    Raises:
        InputError: with the first fault that it finds.
    """
    from bioimageio.spec import ValidationContext
    from bioimageio.spec.model.v0_5 import ModelDescr

    content = {"type": "model", "format_version": ModelDescr.implemented_format_version, **description}
    try:
        with ValidationContext(root=folder, perform_io_checks=True):
            return ModelDescr.model_validate(content)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(map(str, fault["loc"][:2]))
        if place.startswith("license"):
            raise InputError(
                f"{description['license']!r} is no licence that SPDX lists (https://spdx.org/licenses); name one as it "
                "does, such as CC-BY-4.0."
            ) from None
        raise InputError(f"bioimage.io does not take this model ({place}: {fault['msg']}).") from None


def _licence_of(dataset_json: Mapping[str, Any]) -> str:
    found = dataset_json.get("licence") or dataset_json.get("license")
    if not isinstance(found, str) or not found.strip():
        raise InputError(
            "bioimage.io asks under which licence the model is, and none is named; name one of SPDX's, such as CC-BY-4.0."
        )
    return found.strip()


def _identifier(name: Any, index: int) -> str:
    return str(name).strip() or f"channel{index}"


def _is_package(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name in archive.namelist() for name in DESCRIPTIONS)
    except (zipfile.BadZipFile, OSError):
        return False
