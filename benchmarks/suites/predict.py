"""What predictions cost.

hippocampus, full: a patch of the sliding window, network and argmax, MaskMed beside nnU-Net's network on the plans of
the suite step; --batch-size patches at once (default: 1). objects: the objects of one image of --size pixels with all
four mirrored views, by IAUNet (the model nuclei), MaskAttn-UNet as planned and nnU-Net's 2D network with connected
components. MaskAttn-UNet has random weights; so that it has objects to find, known ones replace what its network gives.
evaluation: folders of class maps evaluated, beside reading them and MONAI's surface distances alone. model: a trained
model's network in PyTorch and in onnxruntime, and whether their label maps are the same.

    python -m benchmarks predict
    python -m benchmarks predict --cases full --patch 128
    python -m benchmarks predict --cases evaluation --threads 2 --resident
    python -m benchmarks predict --cases model --model MODEL_FOLDER --image IMAGE
"""

from __future__ import annotations

import argparse
import functools
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor, nn
from torch.nn import functional as F

import maskmed_nnu as mm
from benchmarks.harness.case import Case, Method, Run
from benchmarks.subjects import evaluation as class_maps
from benchmarks.subjects import onnx_models, scenes, unets
from benchmarks.subjects.folders import temporary_folder
from maskmed_nnu.networks import MaskAttnUNet
from maskmed_nnu.nnunet.experiment_planning import maskattn_rules
from maskmed_nnu.nnunet.inference.predictor import packed_detections

PEER = "nnU-Net"
VIEWS = ((), (2,), (3,), (2, 3))
OBJECTS = 40
"""In the image of the case "objects"."""


def add_options(parser: argparse.ArgumentParser) -> None:
    unets.add_plan_options(parser)
    parser.add_argument("--size", type=int, default=256, help="objects; edge of the image (default: 256)")
    parser.add_argument("--volumes", type=int, default=30, help="evaluation; default: 30")
    parser.add_argument(
        "--volume-size", type=int, nargs=3, default=(512, 512, 100), metavar=("X", "Y", "Z"), help="evaluation"
    )
    parser.add_argument("--classes", type=int, default=15, help="evaluation; default: 15")
    parser.add_argument("--model", default="nuclei", help="model; a trained model's folder (default: nuclei)")
    parser.add_argument("--image", type=Path, help="model; an image for it (default: the example of nuclei)")


def patch(name: str, options: argparse.Namespace) -> Case:
    plan = unets.PLANS[name](options)._replace(batch=options.batch_size or 1)
    overrides = dict(unets.parse_override(text) for text in options.set)

    @functools.cache
    def image() -> Tensor:
        return unets.batch(plan, options.device)[0]

    def method(network: nn.Module) -> Run:
        data = image()
        network.to(options.device).eval()

        @torch.inference_mode()
        def call() -> None:
            dtype = getattr(torch, options.precision)
            with torch.autocast(options.device.type, dtype=dtype, enabled=dtype != torch.float32):
                network(data).argmax(1)

        return Run(call, unets.num_parameters(network))

    return Case(
        title=f"Prediction of a patch of the {plan}, batch {plan.batch}, {options.precision}",
        unit="patch",
        items=plan.batch,
        peer=PEER,
        methods=[
            Method(PEER, lambda: method(unets.stock_network(plan, deep_supervision=False))),
            Method(unets.variant(options.set), lambda: method(unets.maskmed(plan, overrides).network)),
        ],
        repeats=15 if name == "hippocampus" else 5,
    )


def found_objects(options: argparse.Namespace) -> Case:
    size, tile, count = (64, 32, 4) if options.smoke else (options.size, 128, OBJECTS)

    @functools.cache
    def ids() -> Tensor:
        """``[1, 1, 1, size, size]``"""
        target, _ = scenes.label_map(count, (size, size), np.random.default_rng(0))
        return target[None, 1:, None].float()

    def nnunet() -> Run:
        features = (4,) * 4 if options.smoke else unets.FEATURES_2D[:7]
        plan = unets.Plan("", (size, size), 1, 2, unets.encoder(features, 2))
        network = unets.stock_network(plan, deep_supervision=False).to(options.device).eval()
        image = ids()[:, :, 0].to(options.device)

        @torch.inference_mode()
        def call() -> None:
            logits = sum(network(image.flip(view)).flip(view) for view in VIEWS)
            ndimage.label(logits.argmax(1)[0].cpu().numpy())

        return Run(call, unets.num_parameters(network))

    def iaunet() -> Run:
        predictor = mm.load("nuclei", device=str(options.device))._load()
        network = predictor.network
        bright = (ids()[0] > 0).float().expand(network.input_channels, -1, -1, -1)
        image, states = (bright - bright.mean()) / bright.std(), predictor.list_of_parameters
        return Run(lambda: len(packed_detections(predictor, image, states)), unets.num_parameters(network))

    def maskattn() -> Run:
        network, configuration = _planned_maskattn(tile, count, small=options.smoke)
        predictor = SimpleNamespace(
            network=network,
            configuration_manager=SimpleNamespace(configuration=configuration),
            tile_step_size=0.5,
            use_mirroring=True,
            allowed_mirroring_axes=(0, 1),
            device=options.device,
            allow_tqdm=False,
        )
        return Run(lambda: len(packed_detections(predictor, ids()[0])), unets.num_parameters(network))

    return Case(
        title=f"{count} objects in an image of {size}×{size}, four mirrored views",
        unit="image",
        peer=PEER,
        methods=[
            Method(PEER, nnunet),
            Method("IAUNet (nuclei)", iaunet),
            Method("MaskAttn-UNet", maskattn),
        ],
        repeats=3,
        warm_up=0,
    )


def _planned_maskattn(tile: int, count: int, *, small: bool) -> tuple[MaskAttnUNet, dict]:
    """The network and what the plans say for prediction; the image holds the numbers of the objects."""
    strides = [(1, 1), *[(2, 2)] * 3]
    found = {"embedding_dim": maskattn_rules.EMBEDDING_DIM, "thing_channels": [1]}
    architecture = maskattn_rules.architecture((tile, tile), strides, **found)
    kwargs = architecture["arch_kwargs"] | {"conv_op": nn.Conv2d, "norm_op": nn.InstanceNorm2d}
    kwargs |= {"features_per_stage": [8] * 4} if small else {}
    network = MaskAttnUNet(input_channels=1, num_classes=2, **kwargs)
    embeddings = F.normalize(torch.randn(count + 1, maskattn_rules.EMBEDDING_DIM))
    of_network = network.tile_tensors

    def of_known_objects(image: Tensor) -> dict[str, Tensor]:
        of_network(image)
        ids = image[:, 0].round().long()
        semantic = F.one_hot((ids > 0).long(), 2).movedim(-1, 1).float()
        return {"semantic": semantic, "embeddings": embeddings.to(image.device)[ids].movedim(-1, 1)}

    network.tile_tensors = of_known_objects
    configuration = {
        "patch_size": [tile, tile],
        "batch_size": 2,
        "architecture": architecture,
        "instances": {"thing_classes": [1]},
    }
    return network, configuration


def evaluation(options: argparse.Namespace) -> Case:
    volumes, size, classes = options.volumes, tuple(options.volume_size), options.classes
    if options.smoke:
        volumes, size, classes = 2, (32, 24, 20), 2

    @functools.cache
    def folders() -> tuple[Path, Path]:
        warnings.simplefilter("ignore", FutureWarning)
        mm.evaluate(np.eye(5, dtype=int), np.eye(5, dtype=int))  # imports MONAI
        return class_maps.write_folders(temporary_folder(), volumes, size, classes)

    def method(work: Callable[[Path, Path], object]) -> Run:
        truth, prediction = folders()

        def call() -> None:
            work(truth, prediction)

        return Run(call, counted=False)

    peer = "reading and MONAI's distances"
    return Case(
        title=f"Evaluation of {volumes} volumes of {'×'.join(map(str, size))} with {classes} classes",
        unit="folder",
        peer=peer,
        methods=[
            Method(peer, lambda: method(class_maps.read_and_measure)),
            Method("evaluation", lambda: method(functools.partial(mm.evaluate, workers=options.threads))),
        ],
        repeats=1,
        warm_up=0,
        clock="wall",
    )


def model(options: argparse.Namespace) -> Case:
    @functools.cache
    def pair() -> onnx_models.ModelPair:
        image = options.image or mm.example("nuclei")
        return onnx_models.open_pair(options.model, image, threads=options.threads)

    def by_torch() -> Run:
        return Run(pair().by_torch, unets.num_parameters(pair().network), notes=pair().notes)

    return Case(
        title=f"A patch by the model {Path(options.model).name}",
        unit="patch",
        peer="PyTorch",
        methods=[
            Method("PyTorch", by_torch),
            Method("onnxruntime", lambda: Run(pair().by_onnxruntime, counted=False)),
        ],
    )


CASES = {
    **{name: functools.partial(patch, name) for name in unets.PLANS},
    "objects": found_objects,
    "evaluation": evaluation,
    "model": model,
}
DEFAULT = ("hippocampus", "objects")
