"""The prediction of a model for one image."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from maskmed_nnu.api.objects import ObjectList, Objects, on_grid, table_of
from maskmed_nnu.errors import InputError
from maskmed_nnu.instances.text import count, format_shape

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

    from maskmed_nnu.api.images import InputImage
    from maskmed_nnu.instances.tool_files import Findings
    from maskmed_nnu.visualization.volume_planes import VolumeView

SHOWN_ROWS = 10


class Prediction:
    """The classes of an image's pixels, or the objects in it, on the grid of the input.

    Attributes
    ----------
    labels
        ``[*axes]`` in the order of the input's axes (a nibabel image has x, y, z): the values that ``nnUNetv2_predict``
        writes. For objects they are ids, ``class · label_divisor + index`` in data sets with a ``label_divisor``;
        ``[layers, *axes]`` if label files of the data set have layers.
    axes
        The spatial axes of the input in their order, as "ZYX".
    spacing
        In mm along `axes`; None if the input has none.
    names
        The name of each class by its number.
    notes
        Warnings about the input or the result.
    """

    def __init__(
        self,
        image: InputImage,
        raw: NDArray[Any],
        names: Mapping[int, str],
        *,
        notes: Sequence[str] = (),
        model: Any = None,
        objects: Objects | None = None,
        probabilities: Callable[[], NDArray[Any]] | None = None,
        properties: Mapping[str, Any] | None = None,
    ) -> None:
        self._properties = dict(properties or {})
        self._image, self._raw, self._objects, self._model = image, raw, objects, model
        self._make_probabilities = probabilities
        self.axes, self.spacing = image.axes, image.spacing
        self.names = dict(names)
        self.notes = list(notes)
        layered = objects is not None and bool(model.dataset_json.get("overlap_layers"))
        self.labels: NDArray[Any] = np.ascontiguousarray(image.to_input(raw if layered else raw[0]))

    def __repr__(self) -> str:
        grid = f"{format_shape(self.labels.shape[-len(self.axes) :])} ({self.axes.lower()})"
        if self._objects is not None:
            return f"<Prediction of {self._image.name}: {count(len(self.scores), 'object')} in {grid}>"
        found = ", ".join(self.names.get(int(value), str(value)) for value in np.unique(self.labels) if value)
        return f"<Prediction of {self._image.name}: {found or 'only background'} in {grid}>"

    @property
    def has_objects(self) -> bool:
        """Whether objects were predicted, not the class of each pixel."""
        return self._objects is not None

    @cached_property
    def _findings(self) -> Findings:
        from maskmed_nnu.api.findings import findings

        return findings(self)

    @cached_property
    def _list(self) -> ObjectList:
        if self._objects is None:
            raise InputError("This model predicts the class of each pixel, not objects; read labels or probabilities.")
        return on_grid(self._objects, self.axes)

    @property
    def ids(self) -> NDArray[np.int64]:
        """int64 ``[N]``: the value of each object in `labels`; 0 if objects with higher scores cover it there."""
        return self._list.ids

    @property
    def scores(self) -> NDArray[np.float32]:
        """float32 ``[N]``: the score of each object, from 0 to 1."""
        return self._list.scores

    @property
    def classes(self) -> NDArray[np.int64]:
        """int64 ``[N]``: the class number of each object; its name is in `names`."""
        return self._list.classes

    @property
    def boxes(self) -> NDArray[np.int64]:
        """int64 ``[N, 2·dim]``: the first pixel of each object along `axes`, then the one after the last."""
        return self._list.boxes

    @property
    def masks(self) -> list[NDArray[np.bool_]]:
        """``N`` masks, each cropped to its box; they may overlap."""
        return self._list.masks

    @cached_property
    def probabilities(self) -> NDArray[Any]:
        """float32 ``[K, *axes]``: the probability of each class, background first, with sum 1; or of each region.

        They are computed on demand.

        Raises
        ------
        InputError
            If the model predicts objects.
        """
        if self._make_probabilities is None:
            raise InputError("This model predicts objects, which have scores, not probabilities of classes.")
        return np.ascontiguousarray(self._image.to_input(self._make_probabilities()))

    def to_coco(self, image_id: str | int | None = None, *, min_score: float | None = None) -> list[dict[str, Any]]:
        """The objects as COCO results with compressed RLE masks; volumes slice by slice.

        The slices of one object of a volume have the same ``instance_id``.

        Parameters
        ----------
        image_id
            By default the name of the image; for slices followed by ``_z``.
        min_score
            Smallest score, by default that of the plans; values down to 0.05 add less likely objects, for average
            precision.
        """
        from maskmed_nnu.instances.coco import coco_results

        _ = self._list
        assert self._objects is not None
        least = self._objects.threshold if min_score is None else min_score
        parts = self._objects.on_file(least)
        name = self._image.name.split(".")[0] if image_id is None else image_id
        names = [name] if len(parts) == 1 else [f"{name}_{z}" for z in range(len(parts))]
        return [result for part, one in zip(parts, names, strict=True) for result in coco_results(part, one)]

    def to_table(self) -> pandas.DataFrame:
        """A row for each object, or for each class.

        Objects: ``id`` (value in `labels`), ``class``, ``score``, ``pixels``; ``volume_mm3``, or ``area_mm2`` in 2D, if
        the spacing is known; as in scikit-image's ``regionprops_table`` ``area`` and ``equivalent_diameter_area`` with
        this spacing (in mm, else in pixels), and in pixels along `axes` ``centroid-0``, ``centroid-1`` … and ``bbox-0``
        …, first all starts, then all stops; if the spacing is known, the centroid in space ``world_x``, ``world_y``
        (and ``world_z``) in mm, as in ITK and DICOM: towards left, posterior, superior; and ``touches_border``, whether
        it reaches the border of the image, where a part may be missing.

        Classes: ``id``, ``class``, ``pixels``, and ``volume_mm3`` or ``area_mm2`` if the spacing is known.
        """
        import pandas

        if self._objects is not None:
            from maskmed_nnu.api.grids import place

            shape = self.labels.shape[-len(self.axes) :]
            of_objects = table_of(self._list, self.axes, shape, self.spacing, self.names, place(self._image))
            return pandas.DataFrame(of_objects)
        pixels = np.bincount(self.labels.ravel(), minlength=max(self.names, default=0) + 1)
        columns: dict[str, Any] = {
            "id": list(self.names),
            "class": list(self.names.values()),
            "pixels": [int(pixels[number]) for number in self.names],
        }
        if self.spacing is not None:
            unit = "volume_mm3" if len(self.spacing) == 3 else "area_mm2"
            columns[unit] = np.array(columns["pixels"]) * float(np.prod(self.spacing))
        return pandas.DataFrame(columns)

    def save(self, path: str | PathLike[str]) -> None:
        """Write the prediction to a file; the ending chooses the format. The file is complete or absent.

        **Label maps**: `labels` with the geometry of the image, as ``nnUNetv2_predict`` writes them: NIfTI
        (``.nii.gz``, ``.nii``), NRRD, MetaImage, TIFF and, for one plane, PNG.

        **For other tools**: ``.geojson`` for QuPath, ``.zip`` with ROIs for ImageJ and Fiji, ``.seg.nrrd`` for 3D
        Slicer, and ``.txt`` with label descriptions for ITK-SNAP. The first three contain each object and each region
        completely, also where they overlap.

        Raises
        ------
        InputError
            If the format cannot hold them, or the file is the input.
        """
        from maskmed_nnu.api.tool_files import save

        save(Path(path), self)

    def plot(self, *, index: int | None = None) -> Figure:
        """A matplotlib figure: the image with classes tinted, or objects outlined; pyplot is not used.

        ``index`` is the slice of a volume, along its first axis as it is stored. By default it is the slice with most
        labelled pixels; for objects of a volume, three planes through the middle.
        """
        from maskmed_nnu.visualization.map_figure import map_figure

        used = np.unique(self._raw[0]) if self._objects is None else []
        names = {int(value): self.names.get(int(value), str(value)) for value in used if value}
        picture, title = self._picture(index)
        return map_figure(picture, names, title=title, aspect=1.0 if self._in_planes(index) else self._aspect())

    def _in_planes(self, index: int | None) -> bool:
        """Whether the overlay shows three planes."""
        return index is None and self._objects is not None and self._objects.in_space

    def _aspect(self) -> float:
        """The height of a pixel divided by its width, in the overlay of a slice."""
        spacing: Any = self._image.properties["spacing"]
        return float(spacing[1]) / float(spacing[2])

    def _picture(self, index: int | None = None) -> tuple[NDArray[np.uint8], str]:
        """uint8 ``[H, W, 3]`` of a slice or of three planes, and its title."""
        from maskmed_nnu.visualization.overlay import draw_classes, draw_overlay
        from maskmed_nnu.visualization.volume_overlay import draw_planes

        image, name = self._image.data, self._image.name
        if self._objects is not None and self._in_planes(index):
            picture, planes = draw_planes(
                image, self._objects.instances.ids, self._objects.instances.stuff, self._view()
            )
            return picture, f"{name}, {planes}"
        shown = (self._raw > 0).any(0).sum((1, 2))
        if index is not None and not -len(shown) <= index < len(shown):
            raise InputError(f"There is no slice {index}; the image has {count(len(shown), 'slice')}, from 0 on.")
        chosen = int(shown.argmax()) if index is None else index % len(shown)
        title = name if len(shown) == 1 else f"{name}, slice {chosen}"
        if self._objects is None:
            return draw_classes(image[:, chosen], self._raw[0, chosen]), title
        if self._objects.in_space:
            return draw_overlay(image[:, chosen], self._objects.of_slice(chosen)), title
        if self._objects.transpose_backward == (0, 1, 2):
            return draw_overlay(image[:, chosen], self._objects.on_file(self._objects.threshold)[chosen]), title
        return draw_classes(image[:, chosen], self._raw[:, chosen].max(0)), title

    def _view(self) -> VolumeView:
        """How the volume is looked at: by its header where that says how it lies."""
        from maskmed_nnu.api.grids import place
        from maskmed_nnu.instances.formats.world_axes import axis_codes
        from maskmed_nnu.visualization.volume_planes import VolumeView

        geometry = place(self._image) if self._image.placed else None
        z, y, x = (float(value) for value in self._image.properties["spacing"])
        depth, height, width = self._image.data.shape[1:]
        return VolumeView(None if geometry is None else axis_codes(geometry), (z, y, x), (depth, height, width))

    def _repr_html_(self) -> str:
        """For notebooks: the overlay and the first rows of the table."""
        from html import escape

        from maskmed_nnu.visualization.map_figure import png_of

        table = self.to_table()
        more = len(table) - SHOWN_ROWS
        rest = f"<p>… and {count(more, 'row')} more</p>" if more > 0 else ""
        rows = table.head(SHOWN_ROWS).to_html(index=False, escape=True, float_format="%.4g")
        picture = f'<img alt="overlay" src="data:image/png;base64,{png_of(self._picture()[0])}"/>'
        return f"<div><p>{escape(repr(self))}</p>{picture}{rows}{rest}</div>"


def class_names(dataset_json: Mapping[str, Any]) -> dict[int, str]:
    """The name of each class by its value in label maps; of regions by the value that ``regions_class_order`` gives.

    >>> class_names({"labels": {"background": 0, "liver": 1, "ignore": 2}})
    {0: 'background', 1: 'liver'}
    >>> class_names({"labels": {"background": 0, "whole": [1, 2], "core": 2}, "regions_class_order": [1, 2]})
    {0: 'background', 1: 'whole', 2: 'core'}
    """
    labels = {name: value for name, value in dataset_json["labels"].items() if name != "ignore"}
    if dataset_json.get("regions_class_order") and any(isinstance(value, (list, tuple)) for value in labels.values()):
        regions = [name for name, value in labels.items() if value not in (0, [0])]
        return {0: "background", **dict(zip(map(int, dataset_json["regions_class_order"]), regions, strict=False))}
    return {int(value): name for name, value in sorted(labels.items(), key=lambda item: int(item[1]))}
