"""How far a prediction is, told before each pass of the network; whoever is told may stop it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from maskmed_nnu.progress import Progress, Report

STAGE = "predicting"


class _StoppedError(Exception):
    """What was raised is on its way out, past nnU-Net, which takes a ``RuntimeError`` for a lack of memory."""


class _Tiles(list):
    """nnU-Net's tiles, which come to an end as soon as ``raised`` holds something."""

    def __init__(self, tiles: list[Any], raised: list[BaseException]) -> None:
        super().__init__(tiles)
        self.raised = raised

    def __iter__(self) -> Iterator[Any]:
        return itertools.takewhile(lambda _: not self.raised, super().__iter__())


@contextmanager
def passes_reported(predictor: Any, report: Report | None) -> Iterator[None]:
    """Within, ``predictor`` tells ``report`` of each pass of the network through a tile, mirrored ones included.

    What ``report`` raises ends the prediction and comes out of here. No exception may leave nnU-Net's sliding window,
    whose thread that hands on tiles would wait for ever: the tiles end instead, and those on their way count as empty.
    """
    if report is None:
        yield
        return
    stock_window = predictor._internal_predict_sliding_window_return_logits
    stock_tile = predictor._internal_maybe_mirror_and_predict
    raised: list[BaseException] = []
    windows = done = total = 0

    def window(data: Tensor, tiles: list[Any], *args: Any) -> Tensor:
        nonlocal windows, done, total
        axes = predictor.allowed_mirroring_axes if predictor.use_mirroring else None
        here = len(tiles) * 2 ** len(axes or ())
        done, total = windows * here, here * getattr(predictor, "views", 1) * len(predictor.list_of_parameters)
        logits: Tensor = stock_window(data, _Tiles(tiles, raised), *args)
        if raised:
            raise _StoppedError
        windows += 1
        return logits

    def tile(image: Tensor) -> Tensor:
        try:
            if not raised:
                found: Tensor = stock_tile(image)
                return found
        except _StoppedError:
            pass
        heads = predictor.label_manager.num_segmentation_heads
        return torch.zeros((1, heads, *image.shape[2:]), device=image.device)

    def before(*_: Any) -> None:
        nonlocal done
        if not total:  # no window of nnU-Net's: who predicts reports
            return
        try:
            report(Progress(STAGE, done, total))
        except BaseException as error:
            raised.append(error)
            raise _StoppedError from None
        done += 1

    hook = predictor.network.register_forward_pre_hook(before)
    predictor.report = report  # where objects, or labels of many classes, do without nnU-Net's sliding window
    predictor._internal_predict_sliding_window_return_logits = window
    predictor._internal_maybe_mirror_and_predict = tile
    try:
        yield
        if windows:
            report(Progress(STAGE, total, total))
    except _StoppedError:
        raise raised[0] from None
    finally:
        hook.remove()
        del predictor.report
        del predictor._internal_predict_sliding_window_return_logits, predictor._internal_maybe_mirror_and_predict
