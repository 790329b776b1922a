"""Draw ``maskmed_nnu/models/nuclei_example.png``, the picture to try the model `nuclei` with.

    python benchmarks/nuclei_picture.py maskmed_nnu/models/nuclei_example.png

Ellipses of uneven brightness, some of which touch, blurred and noisy as under a microscope. The picture is dedicated to
the public domain (CC0).
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

HEIGHT, WIDTH, NUCLEI = 256, 320, 45


def draw(seed: int = 0) -> np.ndarray:
    """The picture, ``[HEIGHT, WIDTH]`` in 8 bits."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    light, drawn = np.zeros((HEIGHT, WIDTH)), []
    while len(drawn) < NUCLEI:
        centre, radii = random.uniform((0, 0), (HEIGHT, WIDTH)), random.uniform(7, 13, 2)
        # they touch, and do not cover each other
        if any(np.hypot(*(centre - other)) < 0.95 * (radii.mean() + size) for other, size in drawn):
            continue
        drawn.append((centre, radii.mean()))
        angle = random.uniform(0, np.pi)
        u = (np.cos(angle) * (y - centre[0]) + np.sin(angle) * (x - centre[1])) / radii[0]
        v = (np.cos(angle) * (x - centre[1]) - np.sin(angle) * (y - centre[0])) / radii[1]
        texture = 1 + 2.5 * gaussian_filter(random.normal(size=light.shape), 2.5)
        light = np.maximum(light, (u**2 + v**2 < 1) * random.uniform(50, 140) * texture.clip(0.5, 1.5))
    blurred = gaussian_filter(light, 1.2) + 0.06 * gaussian_filter(light, 12) + 8
    return random.poisson(blurred).clip(0, 255).astype(np.uint8)


if __name__ == "__main__":
    Image.fromarray(draw()).save(Path(sys.argv[1]), optimize=True)
