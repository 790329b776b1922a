"""The figure at the top of the README: three images and their predictions, all of generated data.

    python benchmarks/readme_picture.py --train WORK    # trains the tiny network in WORK: some minutes, on a CPU
    python benchmarks/readme_picture.py                 # puts the panels together

Organs and cells are the median unseen cases in ``demo.png`` and ``demo_cells.png``, which `maskmed demo` drew. The tiny
network is SimpleUNet-16. ``--train`` draws photographs of wounds, trains it on 24 of them with the usual commands, and
writes the median of 9 unseen ones by Dice, the image and the prediction, to ``tiny_network.png``.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from itertools import groupby
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import gaussian_filter, zoom

import maskmed_nnu as mm
from maskmed_nnu.visualization.case_pictures import Layer, colour_table, distinct_colours, draw_case

IMAGES = Path(__file__).resolve().parents[1] / "docs" / "images"
TINY = "tiny_network.png"
COLUMNS = (
    ("demo.png", 1, "Organs: MaskMed"),
    ("demo_cells.png", 1, "Overlapping cells: IAUNet"),
    (TINY, 0, "Wounds: SimpleUNet-16"),
)
"""File, its row, and the title."""
SIZE, GAP, TITLE = (300, 300), 8, 38
EDGE, TRAINING, UNSEEN, MINUTES = 128, 24, 9, 4
CLASSES = ("wound", "slough")
TRAINER = f"nnUNetTrainerSimpleUNet_{MINUTES}minutes"


def draw_photograph(random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Skin with wounds, some of which are partly covered by yellow slough, and with moles, which have no label.

    Colours ``[EDGE, EDGE, 3]`` and labels ``[EDGE, EDGE]`` in 8 bits.
    """

    def noise(scale: float) -> np.ndarray:
        smooth = gaussian_filter(random.normal(size=(EDGE, EDGE)), scale)
        return smooth / smooth.std()

    rows, columns = np.mgrid[:EDGE, :EDGE]
    skin = np.array((215, 165, 135)) * random.uniform(0.55, 1.05)
    photograph = skin + noise(12)[..., None] * 7 + noise(1)[..., None] * 4
    labels = np.zeros((EDGE, EDGE), np.uint8)
    for radius in random.uniform(2, 5, 5):
        y, x = random.uniform(0, EDGE, 2)
        photograph[np.hypot(rows - y, columns - x) < radius] *= 0.55
    for radius in random.uniform(14, 26, random.integers(1, 3)):
        y, x = random.uniform(radius, EDGE - radius, 2)
        depth = 1 - np.hypot(rows - y, columns - x) / radius + 0.16 * noise(6)
        photograph += (np.array((14, -30, -28)) * np.exp(-np.square(depth / 0.25))[..., None]).round()  # a red border
        wound, slough = depth > 0, (depth > 0.1) & (noise(7) > 0.4)
        photograph[wound] = np.array((150, 45, 45)) + noise(2)[wound, None] * 14
        photograph[slough] = np.array((200, 175, 105)) + noise(2)[slough, None] * 12
        labels[wound], labels[slough] = 1, 2
    light = 1 + 0.25 * zoom(random.uniform(-1, 1, (2, 2)), EDGE / 2, order=1)[:EDGE, :EDGE]
    blurred = gaussian_filter(photograph, (0.7, 0.7, 0)) * light[..., None]
    return (blurred + random.normal(scale=4, size=blurred.shape)).clip(0, 255).astype(np.uint8), labels


def train(work: Path) -> None:
    """Train in ``work`` and write the panels of the median unseen photograph."""
    drawn = work / "drawn"
    for name in ("images", "masks"):
        (drawn / name).mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    for number in range(TRAINING + UNSEEN):
        for name, pixels in zip(("images", "masks"), draw_photograph(random), strict=True):
            Image.fromarray(pixels).save(drawn / name / f"photograph_{number:02}.png")
    folders = {name: str(work / name) for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")}
    environment = os.environ | folders | {"nnUNet_compile": "f", "nnUNet_def_n_proc": "2"}
    for command in (
        f"maskmed convert --semantic --images {drawn}/images --masks {drawn}/masks --classes {' '.join(CLASSES)} "
        f"--id 907 --name Wounds --test {UNSEEN}",
        "nnUNetv2_plan_and_preprocess -d 907 -pl SimpleUNetPlanner16 -c 2d --verify_dataset_integrity",
        f"nnUNetv2_train 907 2d all -p SimpleUNet16Plans -tr {TRAINER} -device cpu",
    ):
        print(f"\n$ {command}", flush=True)
        program, *words = command.split()
        subprocess.run([str(Path(sys.executable).parent / program), *words], env=environment, check=True)
    raw = work / "nnUNet_raw" / "Dataset907_Wounds"
    model = mm.load(work / "nnUNet_results" / raw.name / f"{TRAINER}__SimpleUNet16Plans__2d", device="cpu")
    scored = []
    for image in sorted((raw / "imagesTs").iterdir()):
        truth = np.asarray(Image.open(raw / "labelsTs" / image.name.replace("_0000", "")))
        prediction = np.asarray(model.predict(image).labels).squeeze()
        dice = np.mean([_dice(prediction == value, truth == value) for value in (1, 2)])
        scored.append((float(dice), np.asarray(Image.open(image).convert("RGB")), prediction))
    scored.sort(key=lambda one: one[0])
    print(f"Dice of the {UNSEEN} unseen photographs: {', '.join(f'{dice:.3f}' for dice, *_ in scored)}")
    _, photograph, prediction = scored[UNSEEN // 2]
    colours = colour_table(distinct_colours(len(CLASSES)))
    panels = [
        draw_case(photograph, layers, size=SIZE, window=(0, 255))
        for layers in ([], [Layer(prediction, prediction, colours, colours)])
    ]
    gap = np.full((SIZE[0], GAP, 3), 255, np.uint8)
    Image.fromarray(np.concatenate([panels[0], gap, panels[1]], 1)).save(IMAGES / TINY, optimize=True)


def _dice(prediction: np.ndarray, truth: np.ndarray) -> float:
    """1 if both are empty."""
    pixels = np.count_nonzero(prediction) + np.count_nonzero(truth)
    return 2 * np.count_nonzero(prediction & truth) / pixels if pixels else 1.0


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
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(size=24)
    for column, (name, row, title) in enumerate(COLUMNS):
        left = column * (SIZE[0] + GAP)
        draw.text((left + SIZE[0] // 2, TITLE // 2), title, fill="black", font=font, anchor="mm")
        with Image.open(IMAGES / name) as file:
            image, prediction = panels(file.convert("RGB"), row)
        picture.paste(fitted(image), (left, TITLE))
        picture.paste(fitted(prediction), (left, TITLE + SIZE[1] + GAP))
    return picture


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=Path, metavar="WORK", help="train the tiny network in this new folder first")
    work = parser.parse_args().train
    if work is not None:
        train(work.resolve())
    compose().save(IMAGES / "readme.png", optimize=True)
