"""The one rule for arrays: (channels,) z, y, x."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskmed_nnu.errors import InputError
from maskmed_nnu.instances.text import count, format_shape


def checked_array(image: Any) -> NDArray[Any]:
    """``image`` as an array of real numbers; tensors of torch come from their device.

    Raises:
        InputError: for what is not an array, or one of other things.
    """
    what = type(image).__name__
    if isinstance(image, np.ma.MaskedArray):
        raise InputError("A masked array hides pixels, which a model cannot skip; fill them with .filled(value).")
    if hasattr(image, "detach") and hasattr(image, "cpu"):
        image = image.detach().cpu()
        if str(image.dtype) == "torch.bfloat16":
            image = image.float()
    try:
        array = np.asarray(image)
    except Exception as error:  # whatever an array-like of another library raises
        raise InputError(f"A {what} cannot be converted to an array ({error}); give a NumPy array.") from None
    if array.dtype.kind not in "buif":
        raise InputError(
            f"A {what} of {array.dtype} is not an image: its values must be whole or real numbers; give an array of "
            "those, a path, a list of paths, a nibabel or a SimpleITK image."
        )
    if array.size == 0:
        raise InputError(f"The image is empty: its shape is {format_shape(array.shape)}.")
    return array


def array_axes(shape: Sequence[int], axes: str | None, *, channels: Sequence[str], volumes: bool) -> str:
    """The axes of an array, a letter for each.

    >>> array_axes((3, 64, 64), None, channels=["R", "G", "B"], volumes=False)
    'CYX'
    >>> array_axes((20, 64, 64), None, channels=["CT"], volumes=True)
    'ZYX'

    Raises:
        InputError: where they do not fit the model; it says which arrays it takes.
    """
    number = len(channels)
    if axes is not None:
        found = axes.upper() if isinstance(axes, str) else ""
        if len(found) != len(shape) or len(set(found)) < len(found) or not set("YX") <= set(found) <= set("CZYX"):
            raise InputError(
                f"axes={axes!r} does not name the axes of an array of shape {format_shape(shape)}; give a letter for "
                "each, among C (channels), Z (slices), Y (rows) and X (columns)."
            )
    else:
        found = {2: "YX", 3: "ZYX" if number == 1 or volumes else "CYX", 4: "CZYX"}.get(len(shape), "")
    given = shape[found.index("C")] if "C" in found else 1
    if found and given == number and ("Z" in found or not volumes):
        return found
    needs = "a volume" if volumes else "an image"
    legal = ("(z, y, x)" if volumes else "(y, x) or (z, y, x)") if number == 1 else ""
    several = f"({number}, z, y, x)" if volumes else f"({number}, y, x) or ({number}, z, y, x)"
    last = ""
    if axes is None and len(shape) > 2 and shape[-1] == number > 1:
        last = f"; if the channels are the last axis, give axes={'ZYXC'[-len(shape) :]!r}"
    names = f" ({', '.join(map(str, channels))})" if number > 1 else ""
    told = f" with the axes {axes}" if axes else ""
    raise InputError(
        f"An array of shape {format_shape(shape)}{told} does not fit the model, which takes {needs} of "
        f"{count(number, 'channel')}{names}: {f'{legal} or ' if legal else ''}{several}{last}."
    )


def check_spacing(spacing: Sequence[float], spatial: str) -> tuple[float, ...]:
    """``spacing`` as numbers, one for each of the axes ``spatial``.

    Raises:
        InputError: where it is something else.
    """
    try:
        numbers = tuple(float(value) for value in spacing)
    except (TypeError, ValueError):
        numbers = ()
    if len(numbers) != len(spatial) or not all(0 < value < float("inf") for value in numbers):
        order = ", ".join(spatial.lower())
        raise InputError(
            f"spacing={spacing!r} does not fit the image: it needs {len(spatial)} positive numbers, ({order}) in mm."
        )
    return numbers
