"""The picture at the top of the README: one row of each of three pictures that `maskmed demo` drew.

    python benchmarks/readme_picture.py

It reads ``demo.png``, ``demo_cells.png`` and ``demo_cells3d.png`` in ``docs/images``, crops the image and the
prediction of one row of each, and writes ``readme.png`` to the same folder. The panels are only scaled.
"""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

IMAGES = Path(__file__).resolve().parents[1] / "docs" / "images"
COLUMNS = (
    ("demo.png", 1, "Organs in CT-like volumes: MaskMed"),
    ("demo_cells.png", 1, "Overlapping cells: IAUNet"),
    ("demo_cells3d.png", 0, "Touching nuclei in stacks: IAUNet"),
)
"""Picture, its row, and the title."""
SIZE, GAP, TITLE = (300, 300), 8, 28


def runs(filled: np.ndarray, shortest: int = 60) -> list[slice]:
    """Where `filled` [N] is true without a break, for at least `shortest` pixels."""
    found, position = [], 0
    for value, group in groupby(filled.tolist()):
        length = len(list(group))
        if value and length >= shortest:
            found.append(slice(position, position + length))
        position += length
    return found


def panels(picture: Image.Image, row: int) -> tuple[Image.Image, Image.Image]:
    """The first and the last panel of a row: the image and the prediction."""
    drawn = np.asarray(picture.convert("L")) < 250
    rows, columns = runs(drawn.mean(axis=1) > 0.5), runs(drawn.mean(axis=0) > 0.5)
    first, last = (
        picture.crop((column.start, rows[row].start, column.stop, rows[row].stop))
        for column in (columns[0], columns[-1])
    )
    return first, last


def fitted(panel: Image.Image) -> Image.Image:
    """Scaled to the width, on a black square."""
    height = round(panel.height * SIZE[0] / panel.width)
    square = Image.new("RGB", SIZE, "black")
    square.paste(panel.resize((SIZE[0], height), Image.Resampling.LANCZOS), (0, (SIZE[1] - height) // 2))
    return square


def compose() -> Image.Image:
    width = len(COLUMNS) * (SIZE[0] + GAP) - GAP
    picture = Image.new("RGB", (width, TITLE + 2 * SIZE[1] + GAP), "white")
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(size=15)
    for column, (name, row, title) in enumerate(COLUMNS):
        left = column * (SIZE[0] + GAP)
        draw.text((left + SIZE[0] // 2, TITLE // 2), title, fill="black", font=font, anchor="mm")
        with Image.open(IMAGES / name) as file:
            image, prediction = panels(file.convert("RGB"), row)
        picture.paste(fitted(image), (left, TITLE))
        picture.paste(fitted(prediction), (left, TITLE + SIZE[1] + GAP))
    return picture


if __name__ == "__main__":
    compose().save(IMAGES / "readme.png", optimize=True)
