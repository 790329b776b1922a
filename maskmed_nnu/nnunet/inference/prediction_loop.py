"""Preprocessed images through the network and to the processes that export them, beyond those that fail.

nnU-Net's own loop ends with the first image that fails, and takes with it what its processes are about to write.
"""

from __future__ import annotations

import functools
import multiprocessing
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nnunetv2.inference.export_prediction import export_prediction_from_logits
from nnunetv2.inference.sliding_window_prediction import compute_gaussian
from nnunetv2.utilities.helpers import empty_cache
from torch import Tensor

from maskmed_nnu.errors import InputError
from maskmed_nnu.nnunet.inference.data_iterators import FAILED
from maskmed_nnu.nnunet.inference.failed_cases import FailedCases

QUEUED = 2
"""Predictions that wait for a process beyond those at work, as nnU-Net has it."""
POLL_S = 0.05

Send = Callable[[Path, tuple[Any, ...]], None]


def wrap_prediction_loop(predictor_class: Any) -> None:
    """Wrap the methods of ``nnUNetPredictor`` that hand images on: they go on while it has ``failed_cases``."""
    stock_iterator = predictor_class._internal_get_data_iterator_from_lists_of_filenames
    stock_loop = predictor_class.predict_from_data_iterator

    @functools.wraps(stock_iterator)
    def _internal_get_data_iterator_from_lists_of_filenames(self: Any, *args: Any, **kwargs: Any) -> Iterator[dict]:
        return _sound(stock_iterator(self, *args, **kwargs), getattr(self, "failed_cases", None))

    @functools.wraps(stock_loop)
    def predict_from_data_iterator(
        self: Any, data_iterator: Iterator[dict], save_probabilities: bool = False, *args: Any, **kwargs: Any
    ) -> Any:
        if not hasattr(self, "failed_cases"):
            return stock_loop(self, data_iterator, save_probabilities, *args, **kwargs)
        return _predict(self, data_iterator, save_probabilities, *args, **kwargs)

    name = "_internal_get_data_iterator_from_lists_of_filenames"
    setattr(predictor_class, name, _internal_get_data_iterator_from_lists_of_filenames)
    predictor_class.predict_from_data_iterator = predict_from_data_iterator


def network_output(predictor: Any, image: Tensor) -> np.ndarray:
    """What the network makes of a preprocessed ``image [C, Z, Y, X]``: logits, packed detections or labels.

    Raises:
        InputError: where there is no room for it, rather than whatever torch raises.
    """
    try:
        output: np.ndarray = predictor.predict_logits_from_preprocessed_data(image).cpu().detach().numpy()
    except RuntimeError as error:
        if not isinstance(error, torch.OutOfMemoryError) and "can't allocate memory" not in str(error):  # of the CPU
            raise
        raise InputError(
            f"The image of {' × '.join(map(str, image.shape[1:]))} voxels, after preprocessing, needs more memory "
            f"than {predictor.device} has ({error}); take the CPU as device, or cut the image into parts."
        ) from None
    return output


def _sound(items: Iterator[dict], failed: FailedCases | None) -> Iterator[dict]:
    """Those that are images; of the others the reasons are noted, or raised where nobody notes them."""
    for item in items:
        if FAILED not in item:
            yield item
        elif failed is None:
            raise InputError(item[FAILED])
        else:
            output = Path(item["ofile"])
            failed.add(output.name, output.parent, item[FAILED])


def _predict(
    predictor: Any, items: Iterator[dict], save_probabilities: bool, num_processes_segmentation_export: int
) -> None:
    failed: FailedCases = predictor.failed_cases
    managers = (predictor.configuration_manager, predictor.plans_manager, predictor.dataset_json)
    with _exporting(num_processes_segmentation_export, failed) as send:
        for item in items:
            output = Path(item["ofile"])
            print(f"\nPredicting {output.name}:", flush=True)
            with failed.noted(output.name, output.parent):
                predicted = network_output(predictor, item["data"])
            if output.name not in failed.reasons:
                send(output, (predicted, item["data_properties"], *managers, str(output), save_probabilities))
                print(f"done with {output.name}", flush=True)
    compute_gaussian.cache_clear()
    empty_cache(predictor.device)


@contextmanager
def _exporting(processes: int, failed: FailedCases) -> Iterator[Send]:
    """A function that takes the name of an output, and what nnU-Net's export wants; 0 processes: it exports itself."""
    if not processes:

        def export(output: Path, arguments: tuple[Any, ...]) -> None:
            with failed.noted(output.name, output.parent):
                export_prediction_from_logits(*arguments)

        yield export
        return
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        exports = _Exports(pool, processes, failed)
        try:
            yield exports.send
        except Exception:  # what the network has predicted is written, whatever happened since
            exports.finish()
            raise
        exports.finish()


class _Exports:
    """What a pool's processes are writing."""

    def __init__(self, pool: Any, processes: int, failed: FailedCases) -> None:
        self.pool, self.limit, self.failed = pool, processes + QUEUED, failed
        self.workers = list(pool._pool)
        self.running: list[tuple[Path, Any]] = []

    def send(self, output: Path, arguments: tuple[Any, ...]) -> None:
        """Hand it to a process; wait where too many predictions do.

        Raises:
            OSError: of an earlier one, where the next would fail as well.
        """
        self._collect(self.limit)
        self.running.append((output, self.pool.apply_async(export_prediction_from_logits, arguments)))

    def finish(self) -> None:
        """Wait until everything is written."""
        try:
            self._collect(1)
        except OSError:
            self.finish()
            raise

    def _collect(self, limit: int) -> None:
        """Note what has failed, until fewer than ``limit`` are running."""
        while True:
            for entry in [entry for entry in self.running if entry[1].ready()]:
                self.running.remove(entry)
                output, result = entry
                with self.failed.noted(output.name, output.parent):
                    result.get()
            if len(self.running) < limit:
                return
            if not all(worker.is_alive() for worker in self.workers):
                raise InputError(
                    "A process that writes predictions was killed, usually by the system for lack of memory: use "
                    "fewer processes (-nps 1), and continue with --continue_prediction."
                )
            time.sleep(POLL_S)
