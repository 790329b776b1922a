"""ONNX files of trained models beside PyTorch: how far outputs and label maps differ, and what one patch takes.

    python benchmarks/onnx_speed.py MODEL_FOLDER=IMAGE ... [--repeats 5] [--threads 1] [--json FILE]

Each model is exported by `maskmed export --onnx` and predicts the image twice: by PyTorch and with its network replaced
by the graph in onnxruntime; all that is around the network is the same. Fold 0 is taken, or the first that is trained.
Outputs are compared, and timed, on a patch of the image: medians of a batch of one, on the CPU, after one run that is
not counted.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import onnxruntime
import torch
import typer
from torch import Tensor, nn

import maskmed_nnu as mm
from maskmed_nnu.json_file import write_json
from maskmed_nnu.networks.layers.iaunet.tile_instances import crop_masks
from maskmed_nnu.networks.layers.maskattn_unet.embedding_instances import instances_from_embeddings
from maskmed_nnu.networks.output import TileInstances
from maskmed_nnu.nnunet.inference.model_source import open_model


class RuntimeNetwork(nn.Module):
    """A graph of `maskmed export --onnx` in the place of the ``network`` that it was made from.

    Its weights are in the graph, so that a fold's state is not loaded into it.
    """

    def __init__(self, session: onnxruntime.InferenceSession, network: nn.Module) -> None:
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


def open_session(file: Path, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])


def compare(folder: Path, image: Path, *, repeats: int, threads: int) -> dict[str, Any]:
    """Differences and times of one model."""
    fold = open_model(folder).choose_folds(None)[0]
    model = mm.load(folder, folds=[fold], device="cpu")
    expected = model.predict(image).labels
    with tempfile.TemporaryDirectory() as temporary:
        file = mm.export(folder, Path(temporary) / "x.onnx", format="onnx", folds=fold)
        megabytes, session = file.stat().st_size / 1e6, open_session(file, threads)
        predictor = model._load()
        network, patch = predictor.network, predictor.configuration_manager.patch_size
        predictor.network = RuntimeNetwork(session, network)
        found = model.predict(image).labels
        tile = predictor.network.image[:1].clone()
        network.load_state_dict(predictor.list_of_parameters[0])
        by_torch = tensors_of(network.eval())
        difference = max_difference(by_torch(tile), predictor.network.run(tile))
        seconds = {
            "pytorch": median_seconds(lambda: by_torch(tile), repeats),
            "onnxruntime": median_seconds(lambda: predictor.network.run(tile), repeats),
        }
    return {
        "model": folder.name,
        "patch": list(patch),
        "megabytes": megabytes,
        "same_labels": float((found == expected).mean()),
        "labelled": float((expected != 0).mean()),
        "largest_difference": difference,
        **{f"seconds_{name}": value for name, value in seconds.items()},
    }


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


def median_seconds(run: Callable[[], object], repeats: int) -> float:
    run()
    taken = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def table(rows: Sequence[dict[str, Any]]) -> str:
    head = "| model | patch | MB | largest difference | same labels | PyTorch | onnxruntime |"
    lines = [
        f"| {row['model']} | {' × '.join(map(str, row['patch']))} | {row['megabytes']:.1f} | "
        f"{row['largest_difference']:.1e} | {row['same_labels']:.4%} | {1000 * row['seconds_pytorch']:.0f} ms | "
        f"{1000 * row['seconds_onnxruntime']:.0f} ms |"
        for row in rows
    ]
    return "\n".join([head, "|---|---|--:|--:|--:|--:|--:|", *lines])


def main(
    models: Annotated[list[str], typer.Argument(metavar="MODEL_FOLDER=IMAGE …")],
    repeats: int = 5,
    threads: int = 1,
    json: Annotated[Path | None, typer.Option()] = None,
) -> None:
    torch.set_num_threads(threads)
    rows = []
    for words in models:
        folder, _, image = words.partition("=")
        rows.append(compare(Path(folder), Path(image), repeats=repeats, threads=threads))
        print(table(rows[-1:]), flush=True)
    print(table(rows))
    if json is not None:
        write_json(json, rows, indent=2)


if __name__ == "__main__":
    typer.run(main)
