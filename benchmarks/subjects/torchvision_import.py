"""timm and transformers' Mask2Former import torchvision, which may have been built for another torch."""

from __future__ import annotations

import re
import sys
from importlib.util import find_spec
from pathlib import Path


def make_torchvision_importable() -> None:
    """Let torchvision be imported where its compiled operators were built for another torch.

    Such an ``import torchvision`` dies with ``operator torchvision::nms does not exist``, because the shapes of the
    operators are registered for schemas that only the compiled library defines. Empty schemas of the same names are
    enough: nothing that timm or transformers' Mask2Former import ever calls an operator. A torchvision that works, or
    none at all, is left alone.
    """
    spec = find_spec("torchvision")
    if spec is None:
        return
    try:
        import torchvision
    except (AttributeError, RuntimeError):
        import torch

        source = (Path(spec.origin).parent / "_meta_registrations.py").read_text()
        names = re.findall(r"""register_(?:meta|fake)\(\s*["'](?:torchvision::)?(\w+)""", source)
        library = torch.library.Library("torchvision", "DEF")
        for name in dict.fromkeys(names):
            library.define(f"{name}() -> ()")
        make_torchvision_importable.library = library  # the schemas live as long as the object
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        import torchvision  # noqa: F401
