"""Pairs of classes that would take each other's places if the body were mirrored along one axis.

Each measure is a share of what is allowed, so that a pair passes where all are at most 1. The limits were set on
random bodies (`tests/symmetry/bodies.py`, 12 cases, three grey values: of 671 true pairs 99 in 100 have a misfit of at
most 0.74, all of at most 1.15; of 1,194 others measured, one has less than 1 and 99 in 100 have more than 1.5) and on
deformed copies of a CT with 61 organs (kidneys 0.5, aorta and vena cava 1.5).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from maskmed_nnu.symmetry.places import ClassPlace, ball_radii

OFF_AXIS = 0.4  # of the distance along the axis: how far partners may lie off it, the median over the cases
SIZE_RATIO = 1.8  # larger partner over smaller one: lungs have 1.2, adrenals 1.3, and six cases may err by as much
BRIGHTNESS = 0.6  # steady difference of partners, in standard deviations within a class; kidneys of the demo: 0.3, …
BRIGHTNESS_SPREAD = 0.5  # … or as a share of the difference between different cases, whichever is more
BRIGHTNESS_CHANCE = 2.0  # how much larger the difference within single cases may be; kidneys of the demo reach 0.7
BETWEEN = 8  # other cases that each case is compared with for that
SHAPE = 0.88  # least cosine of one's mean shape and the other's mirrored one; adrenals have 0.92, aorta and cava 0.7
LENIENT_SHAPE = 0.64  # the same where a single case shows it, and chance is not averaged out
TOGETHER = 1.15  # root of the sum of squares of all of these: true pairs rarely differ in more than one
ROUGH = 2.5  # share of the limits of place and size, beyond which two classes are not even measured
COMPANY = 0.5  # of its radius: how near the middle of a class another one keeps it company …
MOST = 0.75  # … in this share of the cases
ALONE = 3.0  # the unlikeness of two classes of which one only has company
STEADY = 0.4  # scatter of the distance along the axis, as a share of it; nested regions have no steady side
ONE_SIDE = 0.9  # least share of cases with the usual order, apart from a single exception …
EXCEPTION = 8  # … in this many cases or more


class Measurements(NamedTuple):
    """The classes of all cases in arrays; what a case lacks is NaN (of shapes: zero)."""

    cases: tuple[str, ...]
    labels: tuple[int, ...]
    centres: NDArray[np.float64]  # [cases, classes, D] in mm
    log_volumes: NDArray[np.float64]  # [cases, classes]
    intensities: NDArray[np.float64] | None  # [cases, classes, C]; None where no case has any
    shapes: NDArray[np.float32]  # [cases, classes, bins, …]
    company: NDArray[np.float64]  # [classes, others]: share of cases in which the other lies about its middle
    names: tuple[str, ...]  # of the classes

    @property
    def present(self) -> NDArray[np.bool_]:
        return np.isfinite(self.log_volumes)

    @property
    def radii(self) -> NDArray[np.float64]:
        """Of balls of the median volumes [classes] in mm."""
        return ball_radii(np.exp(medians(self.log_volumes)), self.centres.shape[2])

    def names_of(self, indices: Iterable[int]) -> list[str]:
        return [self.names[index] for index in sorted(indices)]


class Pair(NamedTuple):
    """Two classes and how they lie along one axis; `first` lies at the lower coordinate."""

    first: int  # index of a class
    second: int
    cases: NDArray[np.int64]  # indices of the cases that hold both
    exchanged: NDArray[np.int64]  # of those, where `second` lies at the lower coordinate
    distance: float  # along the axis in mm, median
    off_axis: float  # each measure as a share of its limit
    steadiness: float
    size: float
    brightness: float
    shape: float
    company: bool  # whether a class lies about the middle of one of them only, as the heart muscle about a ventricle
    named: bool = False  # whether the names say left and right

    @property
    def unlikeness(self) -> float:
        """At most 1 where the two look alike."""
        return max(self.size, self.brightness, self.shape, ALONE * self.company)

    @property
    def misplacement(self) -> float:
        """At most 1 where the two lie opposite each other along the axis."""
        return max(self.off_axis, self.steadiness)

    @property
    def misfit(self) -> float:
        """At most 1 where the two pass."""
        together = float(np.linalg.norm([self.off_axis, self.size, self.brightness, max(self.shape, 0)])) / TOGETHER
        return max(self.misplacement, self.unlikeness, together)

    @property
    def one_sided(self) -> bool:
        exceptions, cases = len(self.exchanged), len(self.cases)
        return exceptions <= (1 - ONE_SIDE) * cases or (exceptions == 1 and cases >= EXCEPTION)


AnyPair = Pair | tuple[int, int]  # the latter by their names alone


def measure(cases: Mapping[str, Mapping[int, ClassPlace]], names: Mapping[int, str]) -> Measurements:
    """Gather the places of all cases; a label without a name is called by its number."""
    labels = tuple(sorted({label for places in cases.values() for label in places}))
    examples = [place for places in cases.values() for place in places.values()]
    size = (len(cases), len(labels))
    centres = np.full((*size, len(examples[0].centre)), np.nan)
    log_volumes = np.full(size, np.nan)
    shapes = np.zeros((*size, *examples[0].shape.shape), np.float32)
    channels = [len(place.intensity) for place in examples if place.intensity is not None]
    intensities = np.full((*size, channels[0]), np.nan) if channels else None
    for i, places in enumerate(cases.values()):
        for c, label in enumerate(labels):
            if label in places:
                place = places[label]
                centres[i, c], log_volumes[i, c], shapes[i, c] = place.centre, np.log(place.volume), place.shape
                if intensities is not None and place.intensity is not None:
                    intensities[i, c] = place.intensity
    return Measurements(
        tuple(cases),
        labels,
        centres,
        log_volumes,
        intensities,
        shapes,
        company=_company(centres, log_volumes),
        names=tuple(names.get(label, str(label)) for label in labels),
    )


def measure_pair(data: Measurements, c: int, d: int, axis: int) -> Pair | None:
    """How the classes of indices `c` and `d` compare along `axis`; None where no case holds both."""
    cases = np.flatnonzero(data.present[:, c] & data.present[:, d])
    if not len(cases):
        return None
    vectors = data.centres[cases, d] - data.centres[cases, c]
    if np.median(np.sign(vectors[:, axis])) < 0 or (vectors[:, axis] < 0).sum() > len(cases) / 2:
        c, d, vectors = d, c, -vectors
    flipped = vectors[:, axis] < 0
    usual, vectors = cases[~flipped], vectors[~flipped]
    if not len(usual):  # all at the same coordinate
        usual, vectors = cases, np.abs(vectors)
    middle = np.median(vectors, axis=0)
    distance = max(float(middle[axis]), 1e-6)
    scatter = 1.4826 * float(np.median(np.abs(vectors[:, axis] - middle[axis])))
    size = _steady(data.log_volumes[usual, d] - data.log_volumes[usual, c])
    return Pair(
        c,
        d,
        cases,
        cases[flipped],
        distance,
        off_axis=float(np.linalg.norm(np.delete(middle, axis))) / distance / OFF_AXIS,
        steadiness=scatter / distance / STEADY,
        size=float(size / np.log(SIZE_RATIO)),
        brightness=_brightness(data.intensities, usual, c, d),
        shape=_shape(data.shapes, usual, c, d, axis),
        company=_has_company(data.company, c, d) or _has_company(data.company, d, c),
    )


def _steady(differences: NDArray[np.float64]) -> NDArray[np.float64]:
    """How much cases [cases, …] differ in the median beyond its standard error."""
    middle = np.median(differences, axis=0)
    scatter = 1.4826 * np.median(np.abs(differences - middle), axis=0)
    steady: NDArray[np.float64] = np.maximum(np.abs(middle) - scatter / np.sqrt(len(differences)), 0)
    return steady


def _brightness(intensities: NDArray[np.float64] | None, cases: NDArray[np.int64], c: int, d: int) -> float:
    if intensities is None:
        return 0.0
    first, second = intensities[cases, c], intensities[cases, d]
    known = np.isfinite(first).all(axis=-1) & np.isfinite(second).all(axis=-1)
    first, second = first[known], second[known]
    if not len(first):
        return 0.0
    differences = first - second
    chance = np.median(np.abs(differences), axis=0) / BRIGHTNESS_CHANCE
    shifts = range(1, min(len(first), BETWEEN + 1))
    others = [np.abs(first - np.roll(second, shift, axis=0)) for shift in shifts]
    between = np.median(np.concatenate(others), axis=0) if others else np.zeros_like(chance)
    allowed = np.maximum(BRIGHTNESS, BRIGHTNESS_SPREAD * between)
    return float((np.maximum(_steady(differences), chance) / allowed).max())


def _company(centres: NDArray[np.float64], log_volumes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of the cases in which a class [classes, others] has another one about its middle."""
    shares = []
    for c in range(centres.shape[1]):
        distances = np.linalg.norm(centres - centres[:, [c]], axis=2)
        inside = distances <= COMPANY * ball_radii(np.exp(log_volumes[:, [c]]), centres.shape[2])  # False for NaN
        shares.append(inside.sum(axis=0) / np.maximum(np.isfinite(distances).sum(axis=0), 1))
    return np.stack(shares)


def _has_company(company: NDArray[np.float64], c: int, d: int) -> bool:
    """Whether some class mostly lies about the middle of `c`, but neither it nor another one about that of `d`."""
    with_c, with_d = np.delete(company[c], [c, d]), np.delete(company[d], [c, d])
    return bool(((with_c >= MOST) & (with_d <= 1 - MOST)).any() and (with_d < 0.5).all())


def _shape(shapes: NDArray[np.float32], cases: NDArray[np.int64], c: int, d: int, axis: int) -> float:
    """From the cosine of the mean shapes, unbiased by what differs from case to case: products of different cases."""
    first = np.flip(shapes[cases, c], axis=axis + 1).reshape(len(cases), -1).astype(np.float64)
    second = shapes[cases, d].reshape(len(cases), -1).astype(np.float64)
    if len(cases) == 1:
        cosine = float(first[0] @ second[0]) / float(np.linalg.norm(first) * np.linalg.norm(second))
        return (1 - cosine) / (1 - LENIENT_SHAPE)
    cosine = _product(first, second) / float(np.sqrt(_product(first, first) * _product(second, second)))
    return (1 - cosine) / (1 - SHAPE)


def _product(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Mean scalar product of rows of different cases."""
    n = len(a)
    return max(float(a.sum(axis=0) @ b.sum(axis=0) - (a * b).sum()) / (n * (n - 1)), 1e-12)


def candidate_pairs(data: Measurements, axis: int, wanted: Sequence[tuple[int, int]] = ()) -> list[Pair]:
    """Pairs that lie roughly opposite each other along `axis` and are roughly of one size, and the `wanted` ones."""
    pairs = []
    chosen = {frozenset(pair) for pair in wanted}
    for c in range(len(data.labels)):
        vectors = medians(data.centres - data.centres[:, [c]])
        along, off = np.abs(vectors[:, axis]), np.linalg.norm(np.delete(vectors, axis, axis=1), axis=1)
        sizes = np.abs(medians(data.log_volumes - data.log_volumes[:, [c]]))
        rough = (off <= ROUGH * OFF_AXIS * along) & (sizes <= ROUGH * np.log(SIZE_RATIO))  # False for NaN
        for d in range(c + 1, len(data.labels)):
            if rough[d] or frozenset((c, d)) in chosen:
                pair = measure_pair(data, c, d, axis)
                if pair is not None:
                    pairs.append(pair)
    return pairs


def medians(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Medians of the known values over the cases, the first axis; NaN where there are none."""
    ordered = np.sort(values, axis=0)  # NaN last
    known = np.isfinite(ordered).sum(axis=0, keepdims=True)
    low, high = (
        np.take_along_axis(ordered, np.maximum(i, 0), axis=0)[0]
        for i in ((known - 1) // 2, np.minimum(known // 2, len(values) - 1))
    )
    middle: NDArray[np.float64] = (low + high) / 2
    return middle
