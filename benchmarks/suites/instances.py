"""What objects cost: a training step in a volume, stitching, metrics.

volume: IAUNet as planned beside nnU-Net's own 3d_fullres with the same scales (32 features at full resolution), a
training step each. stitching: the detections of all tiles of a big image (--dims 3: volume) joined; with --times it is
so much longer and has so many times the objects. metrics: AP and all metrics of dense images beside pycocotools' AP of
the same objects; all give the same AP.

    python -m benchmarks instances
    python -m benchmarks instances --cases volume --patch 32 96 96 --voxel 3 1 1 --objects 60 --window 12 32 32
    python -m benchmarks instances --cases stitching --dims 3 --times 1 2 4 --resident
    python -m benchmarks instances --cases metrics --objects 5000 --size 4096
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.harness.case import Case, Method, Run
from benchmarks.subjects import metrics as scores
from benchmarks.subjects import objects, scenes, unets
from benchmarks.subjects import stitching as scene
from maskmed_nnu.nnunet.experiment_planning.instance_rules import QUERY_MARGIN

IMAGES = 3
"""Of the case "metrics"."""


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--patch", type=int, nargs=3, default=[96, 96, 96], help="volume; default: 96 96 96")
    parser.add_argument("--voxel", type=float, nargs=3, default=[1, 1, 1], help="volume; its edges (default: 1 1 1)")
    parser.add_argument("--window", type=int, nargs=3, default=[32, 32, 32], help="volume; default: 32 32 32")
    parser.add_argument("--batch-size", type=int, default=2, help="volume; default: 2")
    parser.add_argument("--objects", type=int, help="default: 200 in a patch, 20000 (2000) in a scene, 1000 of metrics")
    parser.add_argument("--dims", type=int, choices=(2, 3), default=2, help="stitching; default: 2")
    parser.add_argument("--fibres", type=int, help="stitching; objects longer than three tiles (default: 50; 20)")
    parser.add_argument("--times", type=int, nargs="+", default=[1], help="stitching; default: 1")
    parser.add_argument("--size", type=int, default=1024, help="metrics; edge of the image (default: 1024)")


def volume(options: argparse.Namespace) -> Case:
    patch, window = tuple(options.patch), tuple(options.window)
    count, small = options.objects or 200, options.smoke
    if small:
        patch, window, count = (32, 32, 32), (8, 8, 8), 4

    @functools.cache
    def data() -> tuple[Tensor, Tensor]:
        random = np.random.default_rng(0)
        target = torch.stack([scenes.label_map(count, patch, random)[0] for _ in range(options.batch_size)])
        return objects.device_image(target, options), target.to(options.device)

    def method(build: Callable[[], tuple[nn.Module, nn.Module]]) -> Run:
        network, loss = build()
        trained = unets.Trained(network, loss, torch.optim.AdamW(network.parameters()))
        step = unets.training_step(trained, *data(), dtype=getattr(torch, options.precision))
        return Run(step, unets.num_parameters(network))

    def iaunet() -> tuple[nn.Module, nn.Module]:
        queries = round(QUERY_MARGIN * count)
        network = objects.iaunet(patch, options.voxel, channels=1, num_queries=queries, window=window)
        return network, objects.iaunet_loss(network)

    def nnunet() -> tuple[nn.Module, nn.Module]:
        base, most = (4, 8) if small else (32, 320)
        plan = unets.Plan("", patch, 2, 2, objects.planned_encoder(patch, options.voxel, base, most))
        return unets.stock_network(plan), objects.nnunet_loss(plan.network["n_stages"] - 1)

    return Case(
        title=(
            f"A training step in volumes, patch {'×'.join(map(str, patch))}, batch {options.batch_size}, {count} "
            f"objects in each, {options.precision}"
        ),
        peer="nnU-Net",
        methods=[Method("nnU-Net", lambda: method(nnunet)), Method("IAUNet", lambda: method(iaunet))],
        repeats=3,
        warm_up=0,
    )


def stitching(options: argparse.Namespace) -> Case:
    given = {name: getattr(options, name) for name in ("objects", "fibres") if getattr(options, name) is not None}
    setting = scene.SMOKE if options.smoke else dataclasses.replace(scene.SETTINGS[options.dims], **given)
    scaled = {f"{factor} × the objects and the image": setting.times(factor) for factor in options.times}
    return Case(
        title=f"Stitching {setting.objects:,} objects of {scene.by(setting.shape)}",
        unit="image" if len(setting.shape) == 2 else "volume",
        peer=next(iter(scaled)) if len(scaled) > 1 else None,
        methods=[Method(name, functools.partial(scene.stitching, one)) for name, one in scaled.items()],
        repeats=1,
        warm_up=0,
        check=scene.check,
    )


def metrics(options: argparse.Namespace) -> Case:
    count, size = (20, 128) if options.smoke else (options.objects or 1000, options.size)
    cap = 2 * count

    @functools.cache
    def images() -> list[Any]:
        return [scores.draw(np.random.default_rng(seed), count, size) for seed in range(IMAGES)]

    @functools.cache
    def encoded() -> list[Any]:
        return [[scores.encode(side) for side in sides] for sides in images()]

    def method(data: Callable[[], list[Any]], of_image: Callable[..., float]) -> Run:
        sides = data()
        return Run(lambda: [of_image(*pair, cap) for pair in sides], counted=False)

    def encoding() -> Run:
        sides = images()
        return Run(lambda: [[scores.encode(side) for side in pair] for pair in sides] and None, counted=False)

    def check(results: dict[str, Any]) -> None:
        found = [result for result in results.values() if result is not None]
        assert np.ptp(found, axis=0).max() < 1e-9, f"AP is not the same: {results}"

    peer = "pycocotools, AP"
    return Case(
        title=f"Metrics of {count:,} true and {count + count // 10:,} predicted objects, {size}×{size} pixels",
        unit="image",
        items=IMAGES,
        peer=peer,
        methods=[
            Method(peer, lambda: method(encoded, scores.pycocotools_ap)),
            Method("pycocotools, encoding", encoding),
            Method("ours, AP", lambda: method(images, scores.our_ap)),
            Method("ours, all", lambda: method(images, scores.all_metrics)),
        ],
        repeats=3,
        warm_up=0,
        check=check,
    )


CASES = {"volume": volume, "stitching": stitching, "metrics": metrics}
DEFAULT = tuple(CASES)
