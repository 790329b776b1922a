"""A trained network as one ONNX file that also says how nnU-Net predicts with it.

`docs/reference/onnx.md` explains inputs, outputs and metadata of the file, and the steps of a prediction.
"""

from __future__ import annotations

import copy
import json
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from maskmed_nnu.atomic_write import write_atomically
from maskmed_nnu.errors import InputError
from maskmed_nnu.instances.text import format_list
from maskmed_nnu.nnunet.inference.case_prediction import instance_network
from maskmed_nnu.nnunet.inference.model_source import FINAL_CHECKPOINT, ModelSource, open_model
from maskmed_nnu.nnunet.model_sharing.output_file import check_output, need_packages
from maskmed_nnu.nnunet.model_sharing.prediction_settings import OPSET, prediction_settings


class Outputs(nn.Module):
    """What a graph gives for ``image [B, C, *patch]``.

    Labels: ``logits``, the mean of the folds per tile; as all that follows is linear, nnU-Net's mean over whole images
    is the same. Objects: the ``tile_tensors`` of the only fold.
    """

    def __init__(self, folds: Sequence[nn.Module], *, of_objects: bool) -> None:
        super().__init__()
        self.folds, self.of_objects = nn.ModuleList(folds), of_objects

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.tensors(image).values())

    def tensors(self, image: Tensor) -> dict[str, Tensor]:
        """The outputs by name."""
        if self.of_objects:
            (network,) = self.folds
            tensors: dict[str, Tensor] = cast(Any, network).tile_tensors(image)
            return tensors
        logits = [fold(image) for fold in self.folds]
        return {"logits": logits[0] if len(logits) == 1 else torch.stack(logits).mean(0)}

    def output_names(self, image: Tensor) -> list[str]:
        """Those of ``tensors``; a network of objects has to see an image for it."""
        return list(self.tensors(image)) if self.of_objects else ["logits"]


class TiledModel(NamedTuple):
    """A trained model without what nnU-Net does around its network."""

    network: Outputs
    settings: dict[str, Any]
    """`prediction_settings`"""
    predictor: Any
    """nnU-Net's"""


def export_onnx(
    source: str | Path,
    file: str | Path,
    *,
    folds: Sequence[int | str] | int | str | None = None,
    checkpoint: str = FINAL_CHECKPOINT,
) -> Path:
    """Write the network of a trained model to ``file``, with the settings of its prediction.

    The graph takes ``image [B, C, *patch]`` (preprocessed, any B) to ``logits [B, heads, *patch]``, the mean of those
    of ``folds`` (numbers or "all", one or several; by default all numbered ones, or else ``all``). A network of objects
    has the outputs of its ``tile_tensors``, and one fold. The metadata (``metadata_props``, JSON values) is
    `prediction_settings`. Checkpoints of a folder are unpickled, as nnU-Net does: export only models that you trust.

    Raises
    ------
    InputError
        Where a file of the model, the folder of ``file`` or a package is missing, ``file`` is one of the model's, or
        the network cannot be written as a graph.
    """
    file = Path(file).expanduser()
    need_packages("An ONNX file", "onnx", "onnxscript")
    model = open_model(source, checkpoint=checkpoint)
    check_output(file, model, ending=".onnx", kind="ONNX file of maskmed export", is_ours=_is_ours)
    program = trace(load_tiled(model, folds))
    write_atomically(file, program.save)
    return file


def load_tiled(model: ModelSource, folds: Sequence[int | str] | int | str | None) -> TiledModel:
    """The network of ``folds`` on the CPU.

    Raises:
        InputError: where the network, or the number of folds, does not fit into a graph.
    """
    chosen = model.choose_folds(folds)
    predictor = model.predictor(chosen, device="cpu", mirroring=True)
    configuration = predictor.configuration_manager.configuration
    if configuration.get("previous_stage"):
        raise InputError(
            f"{model.name} is the second stage of a cascade, which needs the predictions of the first; export a model "
            "of one stage."
        )
    network = getattr(predictor.network, "_orig_mod", predictor.network)
    of_objects = "instances" in configuration and instance_network(network) is not None
    if of_objects and not hasattr(network, "tile_tensors"):
        raise InputError(
            f"{model.name} finds objects by {type(network).__name__}, which has no tile_tensors (the outputs of "
            "the graph); export a model of IAUNet or MaskAttnUNet."
        )
    if of_objects and len(chosen) > 1:
        raise InputError(
            f"{model.name} finds objects with {len(chosen)} folds, which predict different objects that a graph "
            f"cannot average; name one fold, such as {chosen[0]}."
        )
    described = prediction_settings(
        predictor.plans_manager.plans,
        predictor.dataset_json,
        configuration=predictor.configuration_name,
        trainer=predictor.trainer_name,
        mirroring_axes=predictor.allowed_mirroring_axes,
        folds=chosen,
    )
    networks = []
    for state in predictor.list_of_parameters:
        network.load_state_dict(state)
        networks.append(copy.deepcopy(network).eval() if len(chosen) > 1 else network.eval())
    return TiledModel(Outputs(networks, of_objects=of_objects).eval(), described, predictor)


def trace(model: TiledModel) -> Any:
    """The ONNX program, with the settings as its metadata.

    Raises:
        InputError: where torch cannot express the network.
    """
    # two images, since torch takes a batch of one for a constant
    example = torch.zeros(2, len(model.settings["channels"]), *model.settings["sliding_window"]["patch_size"])
    try:
        with torch.no_grad(), _quiet():
            names = model.network.output_names(example[:1])
            program = torch.onnx.export(
                model.network,
                (example,),
                dynamo=True,
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                input_names=["image"],
                opset_version=OPSET,
                verbose=False,
            )
    except torch.onnx.errors.OnnxExporterError as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise InputError(
            f"torch {torch.__version__} cannot write {_names(model)} as an ONNX graph ({reason})."
        ) from error
    assert program is not None, "the exporter returns a program with dynamo"
    graph: Any = program.model.graph
    for value, name in zip(graph.outputs, names, strict=True):
        value.name = name
    batches = {value.name: value.shape[0] for value in (*graph.inputs, *graph.outputs)}
    fixed = [name for name, batch in batches.items() if isinstance(batch, int)]
    if fixed:  # the exporter tries other ways where the one that was asked for fails, and says nothing
        raise InputError(
            f"torch {torch.__version__} cannot write {_names(model)} for batches of any size (that of "
            f"{format_list(fixed)} would be fixed); the network must not use len() of a tensor."
        )
    program.model.metadata_props.update({name: json.dumps(value) for name, value in model.settings.items()})
    return program


def _names(model: TiledModel) -> str:
    return format_list({type(fold).__name__ for fold in model.network.folds})


def _is_ours(file: Path) -> bool:
    return b"maskmed_nnu" in file.read_bytes()


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's remarks, which are for those who write networks."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
