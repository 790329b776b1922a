"""Draw ``docs/images/explain_centres.png``: the figure ``centres`` of the model `nuclei` on its example picture.

    python benchmarks/explain_picture.py docs/images/explain_centres.png

It is what ``maskmed explain nuclei nuclei_example.png -o explained`` draws, with fewer pixels and colours.
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image

import maskmed_nnu as mm


def main(path: Path) -> None:
    mm.explain("nuclei", mm.example("nuclei")).plot("centres").savefig(path, dpi=80)
    Image.open(path).quantize(64).save(path, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
