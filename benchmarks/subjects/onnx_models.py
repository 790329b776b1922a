"""Networks and trained models in onnxruntime, beside PyTorch."""

from __future__ import annotations

import io
import tempfile
import warnings
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

import maskmed_nnu as mm
from benchmarks.harness.case import MissingError
from maskmed_nnu.networks.layers.iaunet.tile_instances import crop_masks
from maskmed_nnu.networks.layers.maskattn_unet.embedding_instances import instances_from_embeddings
from maskmed_nnu.networks.output import TileInstances
from maskmed_nnu.nnunet.inference.model_source import open_model

OPSET = 18


class RuntimeNetwork(nn.Module):
    """A graph of `maskmed export --onnx` in the place of the ``network`` that it was made from.

    Its weights are in the graph, so that a fold's state is not loaded into it.
    """

    def __init__(self, session: Any, network: nn.Module) -> None:
        super().__init__()
        self.session, self.names = session, [output.name for output in session.get_outputs()]
        if "logits" not in self.names:
            self.num_queries = getattr(network, "num_queries", None)
            self.score_threshold = getattr(network, "score_threshold", None)
            self.things = {name: getattr(network, name, ()) for name in ("thing_channels", "clustering")}
            self.predict_instances = self._objects

    def run(self, image: Tensor) -> dict[str, Tensor]:
        self.image = image  # the last one, for comparisons on real input
        found = self.session.run(None, {"image": np.ascontiguousarray(image.numpy())})
        return dict(zip(self.names, map(torch.from_numpy, found), strict=True))

    def forward(self, image: Tensor) -> Tensor:
        return self.run(image)["logits"]

    def load_state_dict(self, *args: Any, **kwargs: Any) -> None:  # type: ignore[override]
        pass

    def _objects(self, image: Tensor) -> list[TileInstances]:
        tensors = self.run(image)
        tiles = [dict(zip(tensors, parts, strict=True)) for parts in zip(*tensors.values(), strict=True)]
        return [self._from_queries(tile, image) if "masks" in tile else self._from_embedding(tile) for tile in tiles]

    def _from_queries(self, tile: dict[str, Tensor], image: Tensor) -> TileInstances:
        likely = (tile["scores"] >= self.score_threshold).nonzero()[:, 0]
        masks = (tile["masks"][likely] * 255).round().byte()
        corners = tile.get("corners", torch.zeros(len(tile["scores"]), image.ndim - 2, dtype=torch.int64))
        boxes, cropped, kept = crop_masks(masks, corners[likely], image.shape[2:])
        chosen = likely[kept]
        return TileInstances(tile["scores"][chosen], tile["classes"][chosen], boxes, cropped, tile.get("semantic"))

    def _from_embedding(self, tile: dict[str, Tensor]) -> TileInstances:
        channels = self.things["thing_channels"]
        found = instances_from_embeddings(
            tile["embeddings"], tile["semantic"], thing_channels=channels, **self.things["clustering"]
        )
        return found if len(tile["semantic"]) == 1 + len(channels) else found._replace(semantic=tile["semantic"])


def session(graph: bytes | Path, threads: int) -> Any:
    """An ``onnxruntime.InferenceSession`` on the CPU."""
    try:
        import onnxruntime
    except ImportError:
        raise MissingError("onnxruntime cannot be imported (pip install 'maskmed-nnu[export]').") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def session_of(network: nn.Module, image: Tensor, threads: int) -> Any:
    """The network's forward pass, for images of this size."""
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError:
        raise MissingError("onnx and onnxscript cannot be imported (pip install 'maskmed-nnu[export]').") from None
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()), torch.no_grad():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(network, (image,), dynamo=True, opset_version=OPSET, verbose=False)
    return session(program.model_proto.SerializeToString(), threads)


class ModelPair(NamedTuple):
    """A trained model on a tile of an image, and how alike its answers are."""

    network: nn.Module
    by_torch: Callable[[], object]
    by_onnxruntime: Callable[[], object]
    notes: dict[str, Any]


def open_pair(folder: Path, image: Path, *, threads: int) -> ModelPair:
    """The model is exported by `maskmed export --onnx` and predicts the image twice: by PyTorch, and with its network
    replaced by the graph; all that is around the network is the same. Fold 0 is taken, or the first that is trained."""
    fold = open_model(folder).choose_folds(None)[0]
    model = mm.load(folder, folds=[fold], device="cpu")
    expected = model.predict(image).labels
    with tempfile.TemporaryDirectory() as temporary:
        file = mm.export(folder, Path(temporary) / "x.onnx", format="onnx", folds=fold)
        megabytes, opened = file.stat().st_size / 1e6, session(file, threads)
    predictor = model._load()
    network, patch = predictor.network, predictor.configuration_manager.patch_size
    runtime = RuntimeNetwork(opened, network)
    predictor.network = runtime
    found = model.predict(image).labels
    tile = runtime.image[:1].clone()
    network.load_state_dict(predictor.list_of_parameters[0])
    by_torch = tensors_of(network.eval())
    notes = {
        "patch": "×".join(map(str, patch)),
        "MB": megabytes,
        "largest difference": max_difference(by_torch(tile), runtime.run(tile)),
        "labelled": f"{(expected != 0).mean():.1%}",
        "same labels": f"{(found == expected).mean():.4%}",
    }
    return ModelPair(network, lambda: by_torch(tile), lambda: runtime.run(tile), notes)


def tensors_of(network: nn.Module) -> Callable[[Tensor], dict[str, Tensor]]:
    """The network's outputs under the graph's names."""

    @torch.inference_mode()
    def run(image: Tensor) -> dict[str, Tensor]:
        if getattr(network, "predicts_instances", hasattr(network, "predict_instances")):
            return dict(network.tile_tensors(image))
        return {"logits": network(image)}

    return run


def max_difference(first: dict[str, Tensor], second: dict[str, Tensor]) -> float:
    """The largest difference of an output; queries are compared by their places, as equal peaks may come in any
    order."""
    if "peaks" in first:
        first, second = (in_order_of_peaks(tensors) for tensors in (first, second))
    return max(float((first[name].double() - second[name].double()).abs().max()) for name in first)


def in_order_of_peaks(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    of_queries = [name for name in ("scores", "classes", "masks", "corners", "peaks") if name in tensors]
    order = [
        torch.from_numpy(np.lexsort((*peaks.T.numpy(), tile.numpy())))
        for tile, peaks in zip(tensors["classes"], tensors["peaks"], strict=True)
    ]
    return {
        name: torch.stack([value[rank] for value, rank in zip(tensor, order, strict=True)])
        if name in of_queries
        else tensor
        for name, tensor in tensors.items()
    }
