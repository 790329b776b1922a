"""What can be shown of each network: arrays, tables and figures of one patch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from maskmed_nnu.analysis.patches import Patch, innermost_voxel
from maskmed_nnu.instances.boxes import box_slices
from maskmed_nnu.instances.text import format_list
from maskmed_nnu.networks.iaunet import IAUNet
from maskmed_nnu.networks.maskattn_unet import MaskAttnUNet
from maskmed_nnu.networks.maskmed import MaskMed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from maskmed_nnu.analysis.object_queries import ObjectQueries
    from maskmed_nnu.analysis.query_roles import QueryRoles

LEAST_SHARE = 0.005
"""Of a class's voxels; queries that answer for fewer are left out of the table."""


class View(NamedTuple):
    """A patch, and what figures of it need."""

    patch: Patch
    image: NDArray[np.float32]
    """``[C, *spatial]``: the image within the patch"""
    place: tuple[int, ...] | None
    """The voxel of ``image`` that was asked for"""
    spacing: tuple[float, ...]
    names: dict[int, str]
    regions: bool
    title: str
    least_score: float
    """From which on objects are predicted"""
    things: tuple[int, ...]
    """Class numbers of the objects"""

    @property
    def aspect(self) -> float:
        """The height of a pixel over its width."""
        return self.spacing[-2] / self.spacing[-1]


@dataclass
class Parts:
    """What an `Explanation` is made of."""

    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)
    tables: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    figures: dict[str, Callable[[], Figure]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    place: tuple[int, ...] = ()
    """The voxel of the image within the patch that figures look from"""


def explainable(network: Any) -> bool:
    """Whether there is anything to show of ``network``."""
    from maskmed_nnu.analysis.attention_maps import attention_modules

    if isinstance(network, MaskMed):
        return network.has_queries or network.fsad is not None
    return isinstance(network, IAUNet) or bool(attention_modules(network))


def explained(network: Any, view: View) -> Parts:
    """What ``network``, in evaluation mode and `explainable`, does in the patch."""
    if isinstance(network, MaskMed):
        return _maskmed(network, view)
    return _iaunet(network, view) if isinstance(network, IAUNet) else _maskattn_unet(network, view)


def _maskmed(network: MaskMed, view: View) -> Parts:
    from maskmed_nnu.analysis.query_roles import query_roles

    parts = Parts()
    classes = np.zeros(view.image.shape[1:], np.int64)
    if network.has_queries:
        roles = query_roles(network, view.patch)
        classes = _add_queries(parts, roles, view)
    else:
        parts.notes.append(
            f"The head '{network.head_type}' of this MaskMed has no queries, so masks and classes of queries "
            "cannot be shown."
        )
    parts.place = view.place or innermost_voxel(classes)
    if network.fsad is None:
        parts.notes.append("This MaskMed has no FSAD-Transformer, so sampling points cannot be shown.")
    else:
        _add_sampling(parts, network, view)
    return parts


def _add_queries(parts: Parts, roles: QueryRoles, view: View) -> NDArray[np.int64]:
    """Masks, roles and similarity of the queries; the class of each voxel."""
    from maskmed_nnu.analysis.query_roles import similarity
    from maskmed_nnu.visualization.overlay import draw_classes
    from maskmed_nnu.visualization.panels import NO_OBJECT, colour_of
    from maskmed_nnu.visualization.query_figures import QueryText, masks_figure, roles_figure, similarity_figure

    numbers = [number for number in view.names if number or not view.regions]
    names = [view.names[number] for number in numbers]
    found = roles.found(view.regions)
    shares = roles.shares(found)
    classes = np.zeros(found.shape[1:], np.int64)
    for number, voxels in zip(numbers, found, strict=True):  # of regions, the later one is drawn over the earlier one
        classes[voxels] = number
    likeliest = roles.class_probabilities.argmax(1)
    texts = []
    for query, index in enumerate(likeliest):
        known = index < len(numbers)
        name = names[index] if known else "no object"
        colour = colour_of(numbers[index]) if known else NO_OBJECT
        most = np.nan_to_num(shares[query])
        remark = f"{100 * most.max():.0f}% of {names[most.argmax()]}" if most.max() >= LEAST_SHARE else "no voxels"
        texts.append(QueryText(query, name, float(roles.class_probabilities[query, index]), colour, int(index), remark))
    place = view.place or innermost_voxel(classes)
    plane = (slice(None), place[0]) if view.image.ndim == 4 else (slice(None),)
    where = f", slice {place[0]} of the patch" if view.image.ndim == 4 else ""
    legend = [*((view.names[number], colour_of(number)) for number in numbers), ("no object", NO_OBJECT)]

    def masks() -> Figure:
        image = view.image[plane]
        picture = draw_classes(image, classes[plane[1:]])
        title = f"Mask of each query: {view.title}{where}"
        return masks_figure(image, picture, roles.masks[plane], texts, legend, aspect=view.aspect, title=title)

    embeddings = roles.class_embeddings, roles.mask_embeddings
    parts.figures |= {
        "queries": masks,
        "roles": lambda: roles_figure(shares, names, title=f"Which query predicts which class\n{view.title}"),
        "similarity": lambda: similarity_figure(*embeddings, texts, title=f"Similarity of the queries: {view.title}"),
    }
    parts.tables["roles"] = [
        {"class": names[index], "query": int(query), "share": float(shares[query, index])}
        | {"probability": float(roles.class_probabilities[query, index]), "voxels": int(found[index].sum())}
        for index in range(len(names))
        for query in np.argsort(-np.nan_to_num(shares[:, index]), kind="stable")
        if shares[query, index] >= LEAST_SHARE
    ]
    parts.tables["queries"] = [
        {"query": text.number, "class": text.class_name, "probability": text.probability}
        | {"no_object": float(row[-1]), "voxels": int((mask >= 0.5).sum())}
        for text, row, mask in zip(texts, roles.class_probabilities, roles.masks, strict=True)
    ]
    parts.arrays |= {
        **roles._asdict(),
        "class_similarity": similarity(roles.class_embeddings),
        "mask_similarity": similarity(roles.mask_embeddings),
        "shares": shares,
        "scores": roles.scores(),
    }
    missing = [name for name, voxels in zip(names, found, strict=True) if not voxels.any()]
    if missing:
        parts.notes.append(f"No query predicts {format_list(missing)}: the network finds none of it in this patch.")
    return classes


def _add_sampling(parts: Parts, network: MaskMed, view: View) -> None:
    from maskmed_nnu.analysis.sampling_places import sampling_places
    from maskmed_nnu.visualization.sampling_figure import sampling_figure

    places = sampling_places(network, view.patch, parts.place)
    parts.arrays |= {f"sampling_{name}": np.asarray(value) for name, value in places._asdict().items()}
    parts.tables["sampling"] = [
        {"asking_level": level, "sampled_level": sampled, "weight": float(weights[:, sampled].sum() / weights.sum())}
        | {"distance": float(np.average(distances[:, sampled], weights=weights[:, sampled]))}
        for level, weights, distances in zip(
            places.asking_levels, places.weights, places.distances(view.spacing), strict=True
        )
        for sampled in range(weights.shape[1])
    ]
    title = f"Where the FSAD-Transformer samples for the position at the cross\n{view.title}"
    parts.figures["sampling"] = lambda: sampling_figure(view.image, places, view.spacing, title=title)


def _iaunet(network: IAUNet, view: View) -> Parts:
    from maskmed_nnu.analysis.object_queries import object_queries
    from maskmed_nnu.visualization.object_query_figures import centres_figure, query_masks_figure
    from maskmed_nnu.visualization.panels import colour_of

    queries = object_queries(network, view.patch)
    things = [view.names[number] for number in view.things]
    colours = [colour_of(number) for number in view.things]
    parts = Parts(place=view.place or _place_of_objects(queries, view))
    options: dict[str, Any] = {"aspect": view.aspect}
    image, shown, title = view.image, queries, view.title
    if image.ndim == 4:
        image, shown = image[:, parts.place[0]], queries.of_slice(parts.place[0])
        title += f", slice {parts.place[0]} of the patch"
    if not (queries.scores >= view.least_score).any():
        parts.notes.append(
            f"No query reaches the score of {view.least_score:g} that the plans require, so neither votes nor "
            "outlines of objects can be shown in this patch."
        )
    if queries.heat is None:
        parts.notes.append(
            "The queries of this IAUNet are learned, not taken from the image, so there are no heatmap, peaks "
            "and votes."
        )
    else:
        heading, least = f"From the heatmap to objects: {title}", view.least_score
        parts.figures["centres"] = lambda: centres_figure(
            image, shown, things, colours, threshold=least, title=heading, **options
        )
    parts.figures["queries"] = lambda: query_masks_figure(
        image, shown, things, colours, title=f"Masks of the likeliest queries: {title}", **options
    )
    axes = "zyx"[-(view.image.ndim - 1) :]
    parts.tables["queries"] = [
        {
            "query": index,
            "class": things[queries.classes[index]],
            "score": float(queries.scores[index]),
            "predicted": bool(queries.scores[index] >= view.least_score),
            "pixels": int((queries.masks[index] >= 0.5).sum()),
            **(dict(zip(axes, queries.peaks[index].tolist(), strict=True)) if queries.peaks is not None else {}),
        }
        for index in range(len(queries.scores))
    ]
    masks = np.zeros((len(shown.masks), *image.shape[1:]), np.float16)  # of a volume those of the slice that is shown
    for whole, box, mask in zip(masks, shown.boxes.tolist(), shown.masks, strict=True):
        whole[box_slices(box)] = mask
    arrays = {**queries._asdict(), "masks": masks}
    parts.arrays |= {name: np.asarray(value) for name, value in arrays.items() if value is not None}
    return parts


def _place_of_objects(queries: ObjectQueries, view: View) -> tuple[int, ...]:
    """The middle of the patch, in the slice in which most of the predicted objects are."""
    middle = tuple(edge // 2 for edge in view.image.shape[1:])
    boxes = queries.boxes[queries.scores >= view.least_score]
    if view.image.ndim < 4 or not len(boxes):
        return middle
    slices = np.arange(view.image.shape[1])[:, None]
    seen = ((boxes[:, 0] <= slices) & (slices < boxes[:, 3])).sum(1)
    return int(seen.argmax()), *middle[1:]


def _maskattn_unet(network: MaskAttnUNet, view: View) -> Parts:
    from maskmed_nnu.analysis.attention_weights import attention_weights
    from maskmed_nnu.visualization.attention_weight_figure import attention_weight_figure

    classes = _classes_of(network, view.patch)
    objects = np.where(np.isin(classes, view.things), classes, 0)
    parts = Parts(place=view.place or innermost_voxel(objects if objects.any() else classes))
    modules = attention_weights(network, view.patch, parts.place)
    title = f"What the cross attends to: {view.title}"
    parts.figures["attention"] = lambda: attention_weight_figure(view.image, modules, aspect=view.aspect, title=title)
    parts.tables["modules"] = [
        {
            "module": name,
            "keys": int(np.prod(weights.attention.shape[1:])),
            "used_keys": weights.used_keys(),
            "reach": weights.reach(),
            "mask": np.nan if weights.mask is None else float(weights.mask.mean()),
        }
        for name, weights in modules.items()
    ]
    for name, weights in modules.items():
        parts.arrays[f"attention_{name}"] = weights.attention
        if weights.mask is not None:
            parts.arrays[f"mask_{name}"] = weights.mask
    return parts


def _classes_of(network: MaskAttnUNet, patch: Patch) -> NDArray[np.int64]:
    from maskmed_nnu.analysis.hooks import watch

    logits = watch(network, {}, patch.data)
    return patch.crop(logits[0].argmax(0).cpu().numpy())


def not_explainable(network: Any, name: str) -> str:
    """The sentence for a network of which nothing can be shown."""
    return (
        f"The {type(network).__name__} in {name} has no queries, no sampling points and no attention maps, so it "
        "cannot be explained; take a model of MaskMed, IAUNet or MaskAttnUNet."
    )


def untrained(name: str) -> str:
    """The sentence for a network that is as it was before its training."""
    return (
        f"The network in {name} was not trained: its weights are the initial ones, so these figures do not show what "
        "queries and attention learn."
    )
