"""A folder of predicted class maps against one of true ones, several cases at a time.

In threads, not processes: SciPy's search for nearest neighbours and zlib, which take most of the time, let other
threads work. So a script needs no ``if __name__ == "__main__"``, MONAI is imported once, and an interruption ends at
the next class. As many pairs of volumes are in memory as there are threads.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed

from maskmed_nnu.cpus import cpu_count
from maskmed_nnu.errors import InputError
from maskmed_nnu.progress import Progress, Report
from maskmed_nnu.semantic import surfaces
from maskmed_nnu.semantic.case_scores import CaseScores, case_scores
from maskmed_nnu.semantic.classes import Classes
from maskmed_nnu.semantic.label_files import Pair, check_spacing, read_pair, refuse

MOST_WORKERS = 8
"""By default; each holds a pair of volumes."""


def evaluate_pairs(
    pairs: Sequence[Pair],
    *,
    classes: Classes | None,
    tolerance: float,
    spacing: Sequence[float] | None = None,
    partners: Sequence[tuple[int, int]] = (),
    workers: int | None = None,
    progress: Report | None = None,
) -> tuple[list[CaseScores], list[str]]:
    """The scores of each pair, in their order, and the names of the cases without a spacing.

    ``spacing`` is that of files that tell none.

    After the first fault the other files are only read, so that all faults are told at once.

    Raises:
        InputError: one for all files that cannot be read, are no class maps or lie on two grids.
    """
    surfaces.load()
    faulty, stopped = threading.Event(), threading.Event()

    def evaluate(pair: Pair) -> tuple[CaseScores, bool]:
        if stopped.is_set():
            return CaseScores(pair.name, {}), True
        try:
            truth, prediction = read_pair(pair)
            own = truth.spacing or prediction.spacing or spacing
            scores = case_scores(
                truth.labels,
                prediction.labels,
                spacing=check_spacing(own or (1.0,) * truth.labels.ndim, truth.labels, pair.truth),
                classes=classes,
                tolerance=tolerance,
                partners=partners,
                name=pair.name,
                stopped=lambda: faulty.is_set() or stopped.is_set(),
            )
        except InputError:
            faulty.set()
            raise
        return scores, own is not None

    results: list[tuple[CaseScores, bool] | None] = [None] * len(pairs)
    faults: dict[int, str] = {}
    pool = ThreadPoolExecutor(max_workers=workers or default_workers(len(pairs)))
    try:
        futures = {pool.submit(evaluate, pair): index for index, pair in enumerate(pairs)}
        for done, future in enumerate(as_completed(futures), 1):
            index = futures[future]
            try:
                results[index] = future.result()
            except InputError as error:
                faults[index] = str(error).removesuffix(".")
            if progress is not None:
                progress(Progress("evaluating", done, len(pairs)))
    finally:
        stopped.set()
        pool.shutdown(cancel_futures=True)
    refuse([faults[index] for index in sorted(faults)])
    complete = [result for result in results if result is not None]
    return [scores for scores, _ in complete], [scores.name for scores, spaced in complete if not spaced]


def default_workers(cases: int) -> int:
    """A thread for each CPU that this process may use, and no more than there are cases."""
    return max(1, min(cpu_count(), MOST_WORKERS, cases))
