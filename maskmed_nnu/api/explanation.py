"""Show what a network does in one patch of an image."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from maskmed_nnu.atomic_write import write_atomically
from maskmed_nnu.errors import InputError
from maskmed_nnu.instances.text import format_list, format_shape
from maskmed_nnu.output_paths import refuse_image_folder, refuse_output_over_input
from maskmed_nnu.progress import Progress, Report, counted

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

    from maskmed_nnu.api.explained_networks import Parts, View
    from maskmed_nnu.api.images import InputImage
    from maskmed_nnu.api.model import Model

STEPS = ("reading the image", "predicting, to choose a patch", "running the network")
ARRAYS = "arrays.npz"


class Explanation:
    """Arrays, tables and figures of one patch.

    Attributes
    ----------
    network
        The name of its class.
    image
        float32 ``[C, *spatial]``: the preprocessed patch, without padding.
    box
        int64 ``[2·dim]``: the patch in the input: its first voxel along the axes of the input, then the one after the
        last.
    place
        The voxel of `image` at the centre of the figures.
    arrays
        Of MaskMed, with ``Q`` queries and ``K`` classes: ``masks [Q, *spatial]`` and ``class_probabilities [Q, K + 1]``
        ("no object" is the last), ``scores [K, *spatial]``, which is their product summed over the queries,
        ``shares [Q, K]``, ``class_embeddings``, ``mask_embeddings``, ``class_similarity`` and ``mask_similarity
        [Q, Q]``; ``sampling_asking_levels [R]``, ``sampling_asked_at [R, dim]``,
        ``sampling_positions [R, heads, levels, points, dim]`` in voxels of `image`, ``sampling_weights``.

        Of IAUNet: ``masks [Q, *spatial]``, ``boxes``, ``class_probabilities [Q, K + 1]``, ``heat [K, h, w]``,
        ``peaks [Q, 2]`` (y, x), ``votes [2, h, w]`` in pixels (y, x).

        Of MaskAttnUNet, for each attention module ``attention_MODULE`` and ``mask_MODULE``, ``[heads, h, w]``.
    tables
        ``"roles"`` (which query predicts which class), ``"queries"`` or ``"modules"``, as data frames.
    notes
        What cannot be shown, and why.
    """

    def __init__(
        self,
        parts: Parts,
        *,
        network: str,
        image: NDArray[np.float32],
        box: NDArray[np.int64],
        files: Sequence[Path] = (),
        notes: Sequence[str] = (),
    ) -> None:
        import pandas

        self.network, self.image, self.box, self.place = network, image, box, parts.place
        self.arrays: dict[str, NDArray[Any]] = parts.arrays
        self.tables: dict[str, pandas.DataFrame] = {name: pandas.DataFrame(rows) for name, rows in parts.tables.items()}
        self.notes = [*notes, *parts.notes]
        self._figures: Mapping[str, Callable[[], Figure]] = parts.figures
        self._files = tuple(files)

    def __repr__(self) -> str:
        return f"<Explanation of {self.network} in {format_shape(self.image.shape[1:])}: {', '.join(self.figures)}>"

    @property
    def figures(self) -> tuple[str, ...]:
        """The names of the figures, the most important one first."""
        return tuple(self._figures)

    def plot(self, name: str | None = None) -> Figure:
        """A matplotlib figure, by default the first; pyplot is not used.

        Raises
        ------
        InputError
            If `figures` has no such name.
        """
        chosen = self.figures[0] if name is None else name
        if chosen not in self._figures:
            raise InputError(f"There is no figure {chosen!r}; there is {format_list(self.figures)}.")
        return self._figures[chosen]()

    def to_table(self) -> pandas.DataFrame:
        """The first of `tables`: of MaskMed a row for each class and query that predicts some of its voxels."""
        return next(iter(self.tables.values())).copy()

    def save(self, folder: str | PathLike[str], *, progress: Report | None = None) -> list[Path]:
        """Write ``NAME.png`` for each figure, ``NAME.csv`` for each table, and `arrays` and `image` as ``arrays.npz``.

        Files of these names are replaced.

        Raises
        ------
        InputError
            If that would overwrite the image, or write into the images or labels of a data set.
        """
        target = Path(folder)
        refuse_image_folder(target)
        pictures = {target / f"{name}.png": name for name in self.figures}
        tables = {target / f"{name}.csv": table for name, table in self.tables.items()}
        written = [*pictures, *tables, target / ARRAYS]
        refuse_output_over_input([target, *written], [*self._files, *{file.parent for file in self._files}])
        if target.is_file():
            raise InputError(f"{target} is a file; name a folder to write into.")
        target.mkdir(parents=True, exist_ok=True)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph .* missing")  # names in scripts that the font lacks
            for path in counted(list(pictures), "drawing", progress):
                write_atomically(path, partial(self.plot(pictures[path]).savefig, dpi=110))
        for path, table in tables.items():
            write_atomically(path, partial(table.to_csv, index=False))
        arrays: dict[str, Any] = {"image": self.image, "box": self.box, **self.arrays}
        write_atomically(target / ARRAYS, partial(np.savez_compressed, **arrays))
        return written


def explain(
    model: Model | str | PathLike[str],
    image: Any,
    *,
    at: Sequence[int] | None = None,
    spacing: Sequence[float] | None = None,
    axes: str | None = None,
    progress: Report | None = None,
) -> Explanation:
    """Show what a network does in one patch of an image.

    MaskMed: the mask and classes of each query, which query predicts which class, how similar the queries are, and
    where the FSAD-Transformer samples. IAUNet: the heatmap, its peaks, votes and the masks of the queries.
    MaskAttnUNet: the attention maps. The first fold of the model is used, without mirroring.

    Parameters
    ----------
    model
        A model from `load`, or an argument for it.
    image, spacing, axes
        As for `Model.predict`.
    at
        The voxel of the image, in the order of its spatial axes, at the centre of the patch. By default the patch with
        most of the predicted classes, all weighted equally.
    progress
        Called with a `Progress` before each step, and at the end.

    Raises
    ------
    InputError
        If the network has no queries or attention maps (nnU-Net's own, SimpleUNet), or as for `Model.predict`.

    Examples
    --------
    >>> import maskmed_nnu as mm
    >>> shown = mm.explain("nuclei", mm.example("nuclei"))  # doctest: +SKIP
    >>> shown.plot("centres").savefig("centres.png")  # doctest: +SKIP
    """
    from maskmed_nnu.api.model import Model, load

    opened = model if isinstance(model, Model) else load(model)
    with opened._threads(), opened._lock:
        return _explain(opened, image, at=at, spacing=spacing, axes=axes, progress=progress)


def _explain(
    model: Model,
    given: Any,
    *,
    at: Sequence[int] | None,
    spacing: Sequence[float] | None,
    axes: str | None,
    progress: Report | None,
) -> Explanation:
    from maskmed_nnu.analysis.patches import cut_patch, fullest_place
    from maskmed_nnu.analysis.untrained import is_untrained
    from maskmed_nnu.api.explained_networks import explainable, explained, not_explainable, untrained
    from maskmed_nnu.api.places import box_in_input, voxel_of_input
    from maskmed_nnu.nnunet.inference.array_prediction import class_map, network_of_first_fold
    from maskmed_nnu.nnunet.inference.trained_model import preprocess_array

    def step(done: int) -> None:
        if progress is not None:
            progress(Progress("explaining", done, len(STEPS), STEPS[done] if done < len(STEPS) else ""))

    predictor = model._load()
    network = network_of_first_fold(predictor)
    if not explainable(network):
        raise InputError(not_explainable(network, model.source.name))
    step(0)
    image = model._reader().read(given, spacing=spacing, axes=axes)
    data, properties = preprocess_array(predictor, image.data, dict(image.properties))
    order = predictor.plans_manager.transpose_forward
    patch_size = predictor.configuration_manager.patch_size
    step(1)
    if at is not None:
        centre = voxel_of_input(at, image, properties, data.shape[1:], order)
    elif all(edge <= size for edge, size in zip(data.shape[1:], [1, *patch_size][-3:], strict=True)):
        centre = tuple(edge // 2 for edge in data.shape[1:])
    else:
        centre = fullest_place(class_map(predictor, data), patch_size)
        network_of_first_fold(predictor)
    step(2)
    patch = cut_patch(data, patch_size, centre)
    place = None
    if at is not None:
        place = tuple(int(voxel - first) for voxel, first in zip(centre, patch.corner, strict=True))[-len(patch_size) :]
    view = _view(model, predictor, image, patch, place)
    parts = explained(network, view)
    step(3)
    notes = [*([untrained(model.source.name)] if is_untrained(network) else []), *image.notes]
    shape = (*[1] * (4 - view.image.ndim), *view.image.shape[1:])
    return Explanation(
        parts,
        network=type(network).__name__,
        image=view.image,
        box=box_in_input(patch.corner, shape, image, properties, data.shape[1:], order),
        files=image.files,
        notes=notes,
    )


def _view(model: Model, predictor: Any, image: InputImage, patch: Any, place: tuple[int, ...] | None) -> View:
    from maskmed_nnu.api.explained_networks import View
    from maskmed_nnu.nnunet.inference.predictor import prediction_settings

    manager = predictor.configuration_manager
    settings = prediction_settings(manager.configuration) if model.has_objects else {}
    return View(
        patch=patch,
        image=np.ascontiguousarray(patch.crop(patch.data.numpy())),
        place=place,
        spacing=tuple(map(float, manager.spacing[-len(patch.inside) :])),
        names=model.names,
        regions=predictor.label_manager.has_regions,
        title=image.name,
        least_score=float(settings.get("score_threshold", 0.5)),
        things=tuple(settings.get("thing_classes", ())),
    )
