"""Preprocessing of files to predict: what is wrong with an image of ours takes its place, and the next one comes."""

from __future__ import annotations

import functools
import queue
import threading
from collections.abc import Iterator, Sequence
from typing import Any

from maskmed_nnu.errors import InputError
from maskmed_nnu.nnunet.inference.failed_cases import reason_of
from maskmed_nnu.nnunet.plans_handling.label_manager import is_ours

FAILED = "failed"
"""In the place of an image the key of the reason why there is none."""


class _Unheard:
    """Stands before an event of nnU-Net's: what is set here reaches nobody."""

    def __init__(self, event: Any) -> None:
        self.is_set = event.is_set

    def set(self) -> None:
        """Do nothing."""


def wrap_data_iterators(module: Any) -> None:
    """Wrap what nnU-Net's processes run, and what collects from them, in ``nnunetv2.inference.data_iterators``."""
    stock_process = module.preprocess_fromfiles_save_to_queue
    stock_iterator = module.preprocessing_iterator_fromfiles

    @functools.wraps(stock_process)
    def preprocess_fromfiles_save_to_queue(
        list_of_lists: list[list[str]],
        list_of_segs_from_prev_stage_files: list[str] | None,
        output_filenames_truncated: list[str] | None,
        plans_manager: Any,
        dataset_json: dict,
        configuration_manager: Any,
        target_queue: Any,
        done_event: Any,
        abort_event: Any,
        verbose: bool = False,
    ) -> None:
        """One image at a time: nnU-Net stops at the first that it cannot preprocess."""
        lists = (list_of_lists, list_of_segs_from_prev_stage_files, output_filenames_truncated)
        managers = (plans_manager, dataset_json, configuration_manager)
        if not is_ours(plans_manager.plans, configuration_manager.configuration):
            return stock_process(*lists, *managers, target_queue, done_event, abort_event, verbose)
        for index in range(len(list_of_lists)):
            one = _only(lists, index)
            try:
                stock_process(*one, *managers, target_queue, _Unheard(done_event), _Unheard(abort_event), verbose)
            except Exception as error:
                reason = reason_of(error)
                if reason is None:
                    abort_event.set()
                    raise
                item = {FAILED: reason, "ofile": one[2][0] if one[2] is not None else None}
                _put(item, target_queue, abort_event)
        done_event.set()

    @functools.wraps(stock_iterator)
    def preprocessing_iterator_fromfiles(
        list_of_lists: list[list[str]],
        list_of_segs_from_prev_stage_files: list[str] | None,
        output_filenames_truncated: list[str] | None,
        plans_manager: Any,
        dataset_json: dict,
        configuration_manager: Any,
        num_processes: int,
        *args: Any,
        **kwargs: Any,
    ) -> Iterator[dict]:
        """Images, and `FAILED` where one of ours is none; without ``num_processes`` in this process."""
        lists = (list_of_lists, list_of_segs_from_prev_stage_files, output_filenames_truncated)
        managers = (plans_manager, dataset_json, configuration_manager)
        ours = is_ours(plans_manager.plans, configuration_manager.configuration)
        if ours and not num_processes:
            for index in range(len(list_of_lists)):
                one: queue.Queue[dict] = queue.Queue()
                events = (threading.Event(), threading.Event())
                module.preprocess_fromfiles_save_to_queue(*_only(lists, index), *managers, one, *events)
                yield one.get()
            return
        try:
            yield from stock_iterator(*lists, *managers, num_processes, *args, **kwargs)
        except RuntimeError as error:
            if not ours:
                raise
            raise InputError(
                "A process that preprocesses images ended before its work was done. If no reason is printed "
                "above, the system killed it for lack of memory: use fewer processes (-npp 1), and continue with "
                "--continue_prediction."
            ) from error

    module.preprocess_fromfiles_save_to_queue = preprocess_fromfiles_save_to_queue
    module.preprocessing_iterator_fromfiles = preprocessing_iterator_fromfiles


def _only(lists: Sequence[list[Any] | None], index: int) -> list[Any]:
    """Each of the lists with one entry."""
    return [None if values is None else [values[index]] for values in lists]


def _put(item: dict, target: Any, abort: Any) -> None:
    """As nnU-Net puts an image: until there is room, or somebody gives up."""
    while not abort.is_set():
        try:
            return target.put(item, timeout=0.01)
        except queue.Full:
            pass
