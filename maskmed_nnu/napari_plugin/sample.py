"""The sample of the menu File > Open Sample."""

from __future__ import annotations

from typing import Any


def nuclei() -> list[tuple[Any, dict[str, Any], str]]:
    """The example picture of the model nuclei, as a layer."""
    from skimage.io import imread

    from maskmed_nnu.api.export import example

    return [(imread(example("nuclei")), {"name": "nuclei"}, "image")]
