"""The error of a prediction whose preprocessing failed in a background process."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import Any


def wrap_data_iterators(module: Any) -> None:
    """Wrap ``preprocessing_iterator_fromfiles`` in ``nnunetv2.inference.data_iterators``.

    nnU-Net's iterator only knows that a worker is gone. The cases that did not arrive are read and checked again here,
    so that the command ends with the sentence that says which file is at fault, instead of a traceback.
    """
    stock = module.preprocessing_iterator_fromfiles

    @functools.wraps(stock)
    def preprocessing_iterator_fromfiles(
        list_of_lists: list[list[str]],
        list_of_segs_from_prev_stage_files: list[str] | None,
        output_filenames_truncated: list[str] | None,
        plans_manager: Any,
        dataset_json: dict,
        configuration_manager: Any,
        *args: Any,
        **kwargs: Any,
    ) -> Iterator[dict]:
        arrived = 0
        try:
            for item in stock(
                list_of_lists,
                list_of_segs_from_prev_stage_files,
                output_filenames_truncated,
                plans_manager,
                dataset_json,
                configuration_manager,
                *args,
                **kwargs,
            ):
                yield item
                arrived += 1
        except RuntimeError:
            from maskmed_nnu.nnunet.preprocessing.case_checks import check_files
            from maskmed_nnu.nnunet.preprocessing.maskmed_preprocessor import MaskMedPreprocessor

            if issubclass(configuration_manager.preprocessor_class, MaskMedPreprocessor):
                segs: Sequence[str | None] = list_of_segs_from_prev_stage_files or [None] * len(list_of_lists)
                for images, seg in list(zip(list_of_lists, segs, strict=True))[arrived:]:
                    check_files(images, seg, plans_manager, dataset_json)
            raise

    module.preprocessing_iterator_fromfiles = preprocessing_iterator_fromfiles
