"""Random bodies for the tests of symmetry: classes as clouds of points, a patient as a bent copy with things missing.

Lengths are mm along x to the left, y to the back and z to the head. Partners are mirror images of each other in the
body plan; every patient has other sizes, places and tilts.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.spatial.transform import Rotation

from maskmed_nnu.symmetry.places import ClassPlace, class_shapes

BODY = np.array([130.0, 90.0, 220.0])  # half axes
MIRROR = np.array([-1.0, 1.0, 1.0])


@dataclass
class Organ:
    centre: np.ndarray
    cloud: np.ndarray  # [points, 3] about the centre
    brightness: float
    spread: float = 0.3  # of brightness between cases
    group: int = 0  # organs of one group are equally bright in one case


@dataclass
class BodyPlan:
    """Organs by label, and what the truth is."""

    organs: dict[int, Organ] = field(default_factory=dict)
    pairs: list[tuple[int, int]] = field(default_factory=list)

    def add(self, organ: Organ) -> int:
        label = len(self.organs) + 1
        organ.group = organ.group or label
        self.organs[label] = organ
        return label

    def add_pair(self, rng: np.random.Generator, organ: Organ, *, asymmetry: float = 1.0) -> None:
        """The organ (right, x < 0) and its partner, which differs a little in place and size in all patients."""
        shift = asymmetry * rng.normal(size=3) * 0.03 * np.linalg.norm(organ.centre[0])
        size = np.exp(asymmetry * rng.normal(scale=0.05))
        partner = Organ(organ.centre * MIRROR + shift, organ.cloud * MIRROR * size, organ.brightness, organ.spread)
        right = self.add(organ)
        partner.group = organ.group
        self.pairs.append((right, self.add(partner)))


def blob(
    rng: np.random.Generator, radius: float, *, lobes: int = 1, flat: float = 0.3, points: int = 300
) -> np.ndarray:
    """Points in `lobes` tilted ellipsoids; `flat` is how much their half axes differ."""
    parts = []
    for _ in range(lobes):
        radii = radius * np.exp(rng.normal(scale=flat, size=3))
        offset = rng.normal(scale=0.8 * radius, size=3) if lobes > 1 else np.zeros(3)
        ball = rng.normal(size=(points // lobes, 3))
        ball *= rng.uniform(size=(len(ball), 1)) ** (1 / 3) / np.linalg.norm(ball, axis=1, keepdims=True)
        parts.append((ball * radii) @ Rotation.random(random_state=rng).as_matrix().T + offset)
    cloud = np.concatenate(parts)
    return cloud - cloud.mean(axis=0)


def random_plan(rng: np.random.Generator, *, pairs: int, central: int = 2, single: int = 3, greys: int = 0) -> BodyPlan:
    """A body with so many pairs, organs on the midplane and organs on one side; `greys` values in all, 0: any."""
    plan = BodyPlan()

    def organ(least: float, most: float, side: float = 1.0) -> Organ:
        """With its middle outside all others, as organs have it."""
        brightness = float(rng.integers(greys)) if greys else float(rng.normal(scale=2))
        cloud = blob(rng, np.exp(rng.uniform(np.log(6), np.log(32))), lobes=int(rng.integers(1, 4)))
        for _ in range(100):
            place = BODY * rng.uniform(-0.8, 0.8, size=3)
            place[0] = side * rng.uniform(least, most)
            found = Organ(place, cloud, brightness)
            if all(
                np.linalg.norm(place - other.centre) > 0.7 * (_radius(found) + _radius(other))
                for other in plan.organs.values()
            ):
                break
        return found

    for _ in range(pairs):
        plan.add_pair(rng, organ(-100, -12))
    for _ in range(central):
        plan.add(organ(-3, 3))
    for _ in range(single):
        plan.add(organ(15, 100, rng.choice([-1, 1])))
    return plan


def add_row(
    rng: np.random.Generator, plan: BodyPlan, number: int, *, axis: int, distance: float, centre: np.ndarray
) -> list[int]:
    """Add a row of alike organs along an axis, numbered from the low end."""
    cloud = blob(rng, 0.4 * distance, flat=0.15)
    cloud = np.concatenate([cloud, cloud * MIRROR])  # a vertebra is symmetric
    labels = []
    for i in range(number):
        step = np.zeros(3)
        step[axis] = (i - (number - 1) / 2) * distance
        labels.append(plan.add(Organ(centre + step, cloud * 1.02**i, 1.0, 0.2, group=1000)))
    return labels


def patient(
    rng: np.random.Generator,
    plan: BodyPlan,
    *,
    missing: float = 0.1,
    tilt: float = 4.0,
    jitter: float = 4.0,
    field_of_view: float = 0.0,
    mirrored: bool = False,
    flat: bool = False,
) -> dict[int, ClassPlace]:
    """One case: without a share of the organs, tilted by so many degrees, and cut off at a random height with some
    probability. `mirrored` exchanges the sides of the body; `flat` projects it onto x and z.
    """
    scale = np.exp(rng.normal(scale=0.07, size=3))
    turn = Rotation.from_euler("xyz", rng.normal(scale=tilt, size=3), degrees=True).as_matrix()
    place = rng.normal(scale=20, size=3)
    low = rng.uniform(-200, 0) if rng.uniform() < field_of_view else -np.inf
    group_brightness: dict[int, float] = {}
    found = {}
    for label, organ in plan.organs.items():
        shade = group_brightness.setdefault(organ.group, float(rng.normal(scale=organ.spread)))
        size = np.exp(rng.normal(scale=0.08)) * np.exp(rng.normal(scale=0.05, size=3))
        own_turn = Rotation.from_euler("xyz", rng.normal(scale=6, size=3), degrees=True).as_matrix()
        centre = organ.centre * scale + rng.normal(
            scale=jitter * np.cbrt(size.prod()) * min(1, _radius(organ) / 15), size=3
        )
        cloud = (organ.cloud * size) @ own_turn.T + centre
        if mirrored:
            cloud = cloud * MIRROR
        cloud = cloud @ turn.T + place
        if rng.uniform() < missing or centre[2] < low:
            continue
        if flat:
            cloud = cloud[:, [0, 2]]
        volume = float(_radius(organ) ** cloud.shape[1] * 4 * np.prod(size) ** (cloud.shape[1] / 3))
        middle = cloud.mean(axis=0)
        shape = class_shapes(cloud - middle, np.zeros(len(cloud), np.int64), np.array([volume]))[0]
        bright = np.array([organ.brightness + shade + rng.normal(scale=0.1)])
        found[label] = ClassPlace(middle, volume, bright, shape)
    return found


def _radius(organ: Organ) -> float:
    return float(np.sqrt((organ.cloud**2).sum(axis=1).mean() / 0.6))


def patients(
    rng: np.random.Generator, plan: BodyPlan, number: int, **options: object
) -> dict[str, dict[int, ClassPlace]]:
    return {f"case_{i:03d}": patient(rng, plan, **options) for i in range(number)}  # type: ignore[arg-type]


def class_names(plan: BodyPlan) -> dict[int, str]:
    return {label: f"organ {label}" for label in plan.organs}
