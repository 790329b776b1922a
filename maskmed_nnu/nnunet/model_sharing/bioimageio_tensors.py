"""Inputs and outputs of a graph in bioimage.io's words, with test tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from maskmed_nnu.errors import InputError
from maskmed_nnu.instances.text import count, format_list
from maskmed_nnu.nnunet.inference.trained_model import read_files
from maskmed_nnu.nnunet.model_sharing.onnx_export import TiledModel

SMALLEST_DEVIATION = 1e-8
"""nnU-Net's: no image is divided by less."""
PICTURE_READERS = ("InstanceIO", "NaturalImage2DIO", "Tiff3DIO")
"""Those that give images without a spacing, too, as pixels of 1."""
TENSORS = {
    "logits": ("probabilities", "probability of each class", "channel y x"),
    "scores": ("scores", "probability that each query has found an object", "index"),
    "classes": ("classes", "class of the object of each query, the number of a thing class, from 1", "index"),
    "masks": ("masks", "probability of each pixel of a query's window", "index y x"),
    "corners": ("corners", "first pixel (x, y) of each window in the patch", "index channel"),
    "peaks": ("peaks", "reference point (x, y) of each query in pixels, a peak of the heatmap", "index channel"),
    "heatmap": ("heatmap", "probability of the centre of an object", "channel y x"),
    "semantic": ("semantic", "probability of each class", "channel y x"),
    "embeddings": ("embeddings", "unit vectors, similar within an object", "channel y x"),
}
"""Id and description of each output of a graph, and its axes behind that of the batch."""


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
            "bioimage.io cannot describe; write an ONNX file."
        )
    (scheme,) = schemes
    if scheme == "CTNormalization":
        if len(channels) > 1:
            raise InputError(
                "Several channels are clipped, each to its own range, which bioimage.io cannot describe; write "
                "an ONNX file."
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


def describe_tensors(tiled: TiledModel, folder: Path, example: Path, steps: list[dict[str, Any]]) -> dict[str, Any]:
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
        elif output.name == "classes":  # bioimage.io refuses test tensors of zeros
            found, postprocessing = found + 1, [{"id": "scale_linear", "kwargs": {"offset": 1.0}}]
        np.save(folder / f"{name}.npy", found)
        sizes = dict(zip(axes.split(), found.shape[1:], strict=True))
        outputs.append(
            {
                "id": name,
                "description": description,
                "axes": [
                    {"type": "batch"},
                    *(_axis(axis, size, output.name, settings) for axis, size in sizes.items()),
                ],
                "test_tensor": {"source": f"{name}.npy"},
                "data": {"type": str(found.dtype)},
                "postprocessing": postprocessing,
            }
        )
    names = [str(channel["name"]).strip() or f"channel{number}" for number, channel in enumerate(channels)]
    described = {
        "id": "image",
        "description": "a patch of an image at the model's spacing, with its original values",
        "axes": [
            {"type": "batch"},
            {"type": "channel", "channel_names": names},
            *(_space(axis, size, settings) for axis, size in zip("yx", patch, strict=True)),
        ],
        "test_tensor": {"source": "image.npy"},
        "data": {"type": "float32"},
        "preprocessing": steps,
    }
    return {"inputs": [described], "outputs": outputs}


def _axis(axis: str, size: int, output: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    if axis in "yx":
        return _space(axis, size, settings, whole=output != "masks")
    if axis == "index":
        return {"type": "index", "size": size}
    if output == "embeddings":
        names = [f"channel{number}" for number in range(size)]
    else:
        names = ["x", "y"] if output in ("corners", "peaks") else _class_names(output, settings)
    return {"type": "channel", "channel_names": names}


def _space(axis: str, size: int, settings: Mapping[str, Any], *, whole: bool = True) -> dict[str, Any]:
    """An axis of the ``whole`` patch, whose pixels are larger where there are fewer, or of windows of its pixels."""
    number = "yx".index(axis)
    spacing = settings["preprocessing"]["spacing"]
    larger = settings["sliding_window"]["patch_size"][number] / size if whole else 1
    in_pixels = settings["preprocessing"]["reader"] in PICTURE_READERS and np.allclose(spacing, 1)
    unit = {} if in_pixels else {"unit": "millimeter"}
    return {"type": "space", "id": axis, "size": size, "scale": float(spacing[number] * larger), **unit}


def _class_names(output: str, settings: Mapping[str, Any]) -> list[str]:
    """Names of the classes in the order of the output's channels."""
    labels = settings["labels"]
    if labels.get("rule") == "sigmoid > 0.5":  # of regions
        return [str(name) for name in labels["names"] if name != "background"]
    names = sorted(labels["names"], key=labels["names"].__getitem__)
    if output == "heatmap":
        names = [name for name in names if labels["names"][name] in settings["objects"]["thing_classes"]]
    return list(map(str, names))


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
            f"The example {example} has {count(len(image), 'channel')}, but the model needs {wanted}; name another."
        )
    image = image.transpose(0, *(axis + 1 for axis in predictor.plans_manager.transpose_forward))
    image = image[:, image.shape[1] // 2].astype(np.float32)
    missing = [max(edge - found, 0) for edge, found in zip(patch, image.shape[1:], strict=True)]
    image = np.pad(image, [(0, 0), *((0, edge) for edge in missing)], mode="edge")
    starts = [(found - edge) // 2 for edge, found in zip(patch, image.shape[1:], strict=True)]
    window = tuple(slice(start, start + edge) for start, edge in zip(starts, patch, strict=True))
    return np.ascontiguousarray(image[(slice(None), *window)])[None]
