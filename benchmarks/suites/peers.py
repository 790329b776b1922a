"""Forward passes of our networks beside those of others, one image.

mask2former: IAUNet as planned and as published (ResNet-50 where timm can be imported) beside Mask2Former with ResNet-50
by transformers: from the image to the classes of 100 queries and their mask probabilities at the image's resolution;
IAUNet as planned draws them in windows of 96×96. All weights are random.

simple_unet: SimpleUNet of width 16 as planned beside nnU-Net's 2D network (eight stages of 32 to 512 channels), in
PyTorch and in onnxruntime.

    python -m benchmarks peers
    python -m benchmarks peers --cases simple_unet --size 1024
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable

import torch
from torch import Tensor, nn

from benchmarks.harness.case import Case, Method, MissingError, Run
from benchmarks.subjects import mask2former, objects, onnx_models, unets
from maskmed_nnu.networks.iaunet import IAUNet
from maskmed_nnu.networks.simple_unet import SimpleUNet
from maskmed_nnu.nnunet.experiment_planning.planners.simple_unet import SimpleUNetPlanner16

QUERIES, WINDOW = 100, 96


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--size", type=int, default=512, help="edge of the image (default: 512)")


def _forward(network: nn.Module, outputs: Callable[[Tensor], object], image: Tensor, precision: str) -> Run:
    """``outputs`` of the image, as in a prediction."""
    network.to(image.device).eval()

    @torch.inference_mode()
    def call() -> None:
        with torch.autocast(image.device.type, dtype=getattr(torch, precision), enabled=precision != "float32"):
            outputs(image)

    return Run(call, unets.num_parameters(network))


def queries(options: argparse.Namespace) -> Case:
    size = 64 if options.smoke else options.size

    @functools.cache
    def image() -> Tensor:
        return torch.randn(1, 3, size, size, device=options.device)

    def theirs() -> Run:
        network = mask2former.network(smoke=options.smoke)
        return _forward(network, functools.partial(mask2former.masks, network), image(), options.precision)

    def ours(network: IAUNet) -> Run:
        return _forward(network, network.tile_tensors, image(), options.precision)

    def planned() -> Run:
        window = 16 if options.smoke else WINDOW
        return ours(objects.iaunet((size, size), (1, 1), channels=3, num_queries=QUERIES, window=window))

    def published() -> Run:
        network, encoder = objects.published_iaunet(channels=3, smoke=options.smoke)
        run = ours(network)
        return Run(run.call, run.parameters, notes={"encoder": encoder})

    peer = "Mask2Former, ResNet-50 (transformers)"
    return Case(
        title=f"Classes and masks of {QUERIES} queries in an image of {size}×{size}, {options.precision}",
        unit="image",
        peer=peer,
        methods=[Method(peer, theirs), Method("IAUNet as published", published), Method("IAUNet as planned", planned)],
    )


def simple_unet(options: argparse.Namespace) -> Case:
    size = 64 if options.smoke else options.size
    features = (4,) * 4 if options.smoke else unets.FEATURES_2D
    plan = unets.Plan("2d", (size, size), 1, 2, unets.encoder(features, 2))

    @functools.cache
    def image() -> Tensor:
        return torch.randn(1, 1, size, size, device=options.device)

    @functools.cache
    def nnunet() -> nn.Module:
        return unets.stock_network(plan, deep_supervision=False).eval()

    @functools.cache
    def simple() -> nn.Module:
        given = {name: plan.network[name] for name in SimpleUNetPlanner16.nnunet_arguments}
        return SimpleUNet(input_channels=1, num_classes=plan.classes, **given, **SimpleUNetPlanner16.preset).eval()

    def by_torch(network: Callable[[], nn.Module]) -> Run:
        return _forward(network(), network(), image(), options.precision)

    def by_onnxruntime(network: Callable[[], nn.Module]) -> Run:
        if options.device.type != "cpu":
            raise MissingError("onnxruntime is measured on the CPU; leave --device out.")
        session = onnx_models.session_of(network(), image(), options.threads)
        feed = {session.get_inputs()[0].name: image().numpy()}
        return Run(lambda: session.run(None, feed), counted=False)

    peer = "nnU-Net"
    return Case(
        title=f"Logits of an image of {size}×{size}, {options.precision}",
        unit="image",
        peer=peer,
        methods=[
            Method(peer, lambda: by_torch(nnunet)),
            Method("nnU-Net, onnxruntime", lambda: by_onnxruntime(nnunet)),
            Method("SimpleUNet of width 16", lambda: by_torch(simple)),
            Method("SimpleUNet of width 16, onnxruntime", lambda: by_onnxruntime(simple)),
        ],
    )


CASES = {"mask2former": queries, "simple_unet": simple_unet}
DEFAULT = tuple(CASES)
