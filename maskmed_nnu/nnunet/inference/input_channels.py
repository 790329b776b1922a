"""Images whose channels are stored in another form: with transparency, grey as colour, channels as pages."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

COLOURS = ["R", "G", "B"]
FLAT_SPACING = (999, 1, 1)


def fit_channels(data: np.ndarray, properties: dict, names: Sequence[str]) -> tuple[np.ndarray, dict]:
    """``data [C, Z, Y, X]`` of one file with the channels ``names``, as ``maskmed convert`` would have laid it out.

    Transparency is dropped, three equal channels are a grey one, a grey one is three equal ones for a model of
    colours, and the pages of a TIFF that does not say what they are (`InstanceIO`) are channels for a model of as many.
    Any other image is returned unchanged, and the preprocessor refuses it.
    """
    expected = len(names)
    if len(data) == expected:
        return data, properties
    if len(data) == 1 and data.shape[1] == expected and properties.get("pages_not_told"):
        return data.transpose(1, 0, 2, 3), {"spacing": FLAT_SPACING}
    opaque = data[:-1] if len(data) in (2, 4) else data
    if expected == 1 and (opaque == opaque[:1]).all():
        opaque = opaque[:1]
    elif list(names) == COLOURS and len(opaque) == 1:
        opaque = opaque.repeat(3, 0)
    return (opaque, properties) if len(opaque) == expected else (data, properties)
