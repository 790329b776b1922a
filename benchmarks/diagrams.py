"""Draws the diagrams of ``docs/explanation`` into ``docs/images``, as SVG.

    python benchmarks/diagrams.py

A diagram is 400 units wide, so that it can be read on a phone. Its colours follow the reader's light or dark mode.
"""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "images"
WIDTH, SHOWN_WIDTH, LINE = 400, 480, 16
# background, border and text of a kind of box, in light and in dark mode
COLOURS = {
    "data": ("#eceff1", "#78909c", "#37474f", "#90a4ae"),
    "net": ("#e3f2fd", "#1e88e5", "#0d3a5f", "#64b5f6"),
    "attention": ("#f3e5f5", "#8e24aa", "#46205a", "#ce93d8"),
    "decoder": ("#e8f5e9", "#388e3c", "#1b4a21", "#81c784"),
    "result": ("#fff3e0", "#ef6c00", "#5c3300", "#ffb74d"),
}
STYLE = """text{font:13px system-ui,sans-serif;fill:#1a1a1a;text-anchor:middle}.start{text-anchor:start}
.bold{font-weight:600}.line{fill:none;stroke:#555;stroke-width:1.5}.dash{stroke-dasharray:4 3}.head{fill:#555}
rect,ellipse{stroke-width:1.5}.quiet{fill:#9ccc9f;stroke:none}"""
DARK = "text{fill:#f0f0f0}.line{stroke:#bbb}.head{fill:#bbb}.quiet{fill:#43714a}"


class Box(NamedTuple):
    """Left, top, width and height."""

    x: float
    y: float
    w: float
    h: float

    def at(self, along: float, down: float) -> tuple[float, float]:
        """A point of the box: (0, 0) is its upper left corner, (1, 1) the lower right one."""
        return self.x + along * self.w, self.y + down * self.h

    left = property(lambda self: self.at(0, 0.5))
    right = property(lambda self: self.at(1, 0.5))
    top = property(lambda self: self.at(0.5, 0))
    bottom = property(lambda self: self.at(0.5, 1))


class Drawing:
    def __init__(self, title: str) -> None:
        self.title, self.parts, self.height = title, [], 0.0

    def add(self, part: str, bottom: float) -> None:
        self.parts.append(part)
        self.height = max(self.height, bottom)

    def box(self, x: float, y: float, w: float, kind: str, *lines: str) -> Box:
        """Text in a box; a line that starts with * is bold."""
        box = Box(x, y, w, LINE * len(lines) + 12)
        self.add(f'<rect class="{kind}" x="{x}" y="{y}" width="{w}" height="{box.h}" rx="5"/>', y + box.h + 4)
        for number, line in enumerate(lines):
            self.text(x + w / 2, y + 18 + LINE * number, line)
        return box

    def text(self, x: float, y: float, line: str, style: str = "") -> None:
        style = f"{style} bold" if line.startswith("*") else style
        self.add(f'<text class="{style}" x="{x}" y="{y}">{escape(line.removeprefix("*"))}</text>', y + 6)

    def arrow(self, *points: tuple[float, float], dashed: bool = False, head: bool = True) -> None:
        path = " L".join(f"{x:g} {y:g}" for x, y in points)
        tip = ' marker-end="url(#head)"' if head else ""
        self.add(f'<path class="line{" dash" * dashed}"{tip} d="M{path}"/>', 0)

    def ellipse(self, kind: str, x: float, y: float, rx: float, ry: float) -> None:
        self.add(f'<ellipse class="{kind}" cx="{x:g}" cy="{y:g}" rx="{rx:g}" ry="{ry:g}"/>', y + ry + 4)

    def frame(self, kind: str, x: float, y: float, w: float, h: float) -> None:
        self.add(f'<rect class="{kind}" x="{x:g}" y="{y:g}" width="{w:g}" height="{h:g}" rx="3"/>', y + h + 4)

    def down(self, first: Box, second: Box) -> None:
        """A vertical arrow between two boxes, in the middle of the narrower one."""
        x = min(first, second, key=lambda box: box.w).top[0]
        self.arrow((x, first.y + first.h), (x, second.y))

    def svg(self) -> str:
        light = "".join(f".{kind}{{fill:{fill};stroke:{line}}}" for kind, (fill, line, _, _) in COLOURS.items())
        dark = "".join(f".{kind}{{fill:{fill};stroke:{line}}}" for kind, (_, _, fill, line) in COLOURS.items())
        height = round(self.height + 2)
        return "\n".join(
            (
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{SHOWN_WIDTH}" '
                f'height="{round(height * SHOWN_WIDTH / WIDTH)}" role="img">',
                f"<title>{escape(self.title)}</title>",
                f"<style>{STYLE}{light}@media (prefers-color-scheme:dark){{{DARK}{dark}}}</style>",
                '<marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
                '<path class="head" d="M0 0 8 4 0 8z"/></marker>',
                *self.parts,
                "</svg>\n",
            )
        )


def maskmed() -> Drawing:
    d = Drawing("MaskMed: encoder, FSAD-Transformer, decoder, and a head of queries")
    image = d.box(8, 4, 112, "data", "image")
    d.text(328, 22, "*nnU-Net's decoder")
    names = (("level 0", "full resolution"), ("level 1",), ("…",), ("level n−1", "bottleneck"))
    rows = (56, 116, 164, 212)
    encoder = [d.box(8, y, 112, "net", *name) for y, name in zip(rows, names, strict=True)]
    decoder = [d.box(272, y, 112, "decoder", *name) for y, name in zip(rows, names, strict=True)]
    fsad = d.box(144, 164, 104, "attention", "*FSAD", "queries: the", "deepest levels;", "values: all")
    d.arrow(image.bottom, encoder[0].top)
    for number in range(3):
        d.down(encoder[number], encoder[number + 1])
        d.arrow(decoder[number + 1].top, decoder[number].bottom)
    for number, x in enumerate((220, 172)):
        d.arrow(encoder[number].right, decoder[number].left)
        d.arrow((x, encoder[number].right[1]), (x, fsad.y), dashed=True)
    for number in (2, 3):
        y = encoder[number].right[1]
        d.arrow((120, y), (fsad.x, y))
        d.arrow((fsad.x + fsad.w, y), (272, y))
    queries = d.box(8, 284, 140, "attention", "*learned queries", "1.5 per class")
    head = d.box(
        8,
        346,
        376,
        "attention",
        "*one layer for each of the deepest levels",
        "attention to the level inside the query's mask,",
        "attention between the queries, feed-forward",
    )
    d.down(queries, head)
    d.arrow((328, 256), (328, 346))
    d.text(258, 308, "deepest level first")
    classes = d.box(8, 432, 182, "result", "*what: class logits", "[Q, K+1]")
    masks = d.box(202, 432, 182, "result", "*where: embeddings", "[Q, C+1]")
    product = d.box(202, 500, 182, "result", "mask logits: embedding", "· features of level 0")
    score = d.box(
        8,
        568,
        376,
        "result",
        "*score of a class: sum over the queries of",
        "softmax(class logits) × sigmoid(mask logits)",
    )
    logits = d.box(8, 636, 376, "data", "dense logits, for nnU-Net's sliding window")
    for first, second in ((head, classes), (head, masks), (masks, product), (classes, score), (product, score)):
        d.down(first, second)
    y = decoder[0].right[1]
    d.arrow(decoder[0].right, (394, y), (394, product.right[1]), product.right)
    d.down(score, logits)
    return d


def iaunet() -> Drawing:
    d = Drawing("IAUNet: encoder, pixel decoder, queries from the image, and masks in windows")
    image = d.box(8, 4, 112, "data", "image")
    dense = d.box(208, 4, 160, "result", "semantic map")
    rows = [56 + 38 * number for number in range(6)]
    scales = ("full resolution", "1/2", "1/4", "1/8", "1/16", "1/32")
    pixel_decoder = (
        "mask features, votes",
        "pyramid",
        "heatmap of centres",
        "CoordConv, SE",
        "CoordConv, SE",
        "CoordConv, SE",
    )
    encoder = [d.box(8, y, 112, "net", scale) for y, scale in zip(rows, scales, strict=True)]
    decoder = [d.box(208, y, 160, "decoder", text) for y, text in zip(rows, pixel_decoder, strict=True)]
    d.arrow(image.bottom, encoder[0].top)
    d.arrow(decoder[0].top, dense.bottom)
    for number in range(6):
        d.arrow(encoder[number].right, decoder[number].left)
        if number < 5:
            d.down(encoder[number], encoder[number + 1])
            d.arrow(decoder[number + 1].top, decoder[number].bottom)
    peaks = d.box(246, 298, 138, "attention", "*the highest", "*peaks are queries")
    d.arrow(decoder[2].right, (378, decoder[2].right[1]), (378, peaks.y))
    d.text(112, 312, "the three deepest scales,")
    d.text(112, 328, "the deepest first")
    block = d.box(
        8,
        364,
        376,
        "attention",
        "*query decoder, only where objects overlap",
        "attention to a scale, attention between",
        "the queries, feed-forward",
    )
    d.arrow((226, 274), (226, block.y))
    d.down(peaks, block)
    classes = d.box(8, 450, 140, "result", "*class logits", "of each query")
    weights = d.box(160, 450, 224, "result", "*weights of a small network", "for each query")
    window = d.box(
        160,
        518,
        224,
        "result",
        "*window around the peak:",
        "the small network predicts the",
        "mask from features and votes",
    )
    objects = d.box(8, 604, 376, "data", "objects of a tile: class, score, mask")
    for first, second in ((block, classes), (block, weights), (weights, window), (classes, objects), (window, objects)):
        d.down(first, second)
    d.arrow(decoder[0].right, (394, decoder[0].right[1]), (394, window.right[1]), window.right)
    return d


def maskattn_unet() -> Drawing:
    d = Drawing("MaskAttn-UNet: a U-Net with masked attention, and heads for labels and embeddings")
    image = d.box(8, 4, 120, "data", "image")
    labels = d.box(168, 4, 70, "result", "labels")
    embedding = d.box(248, 4, 144, "result", "embedding")
    rows = (58, 100, 142, 184)
    encoder = [d.box(8, y, 120, "net", f"stage {number}") for number, y in enumerate(rows)]
    decoder = [d.box(236, y, 120, "decoder", f"stage {number}") for number, y in enumerate(rows[:3])]
    d.arrow(image.bottom, encoder[0].top)
    for number in range(3):
        d.down(encoder[number], encoder[number + 1])
        d.arrow(encoder[number].right, decoder[number].left)
    d.arrow(encoder[3].right, (decoder[2].bottom[0], encoder[3].right[1]), decoder[2].bottom)
    for number in (1, 0):
        d.arrow(decoder[number + 1].top, decoder[number].bottom)
    d.arrow((246, 58), (246, 46), (labels.bottom[0], 46), labels.bottom)
    d.arrow((embedding.bottom[0], 58), embedding.bottom)
    d.text(200, 242, "*a stage (for objects, the encoder has no attention)")
    residual = d.box(8, 254, 384, "net", "two 3×3 convolutions with a shortcut")
    query = d.box(8, 306, 120, "attention", "query of", "each position")
    key = d.box(134, 306, 120, "attention", "key, value of", "means of squares")
    mask = d.box(260, 306, 132, "attention", "mask M of keys:", "log sigmoid")
    attend = d.box(8, 374, 384, "attention", "softmax(query · key / √d + M) · value, four heads")
    feed = d.box(8, 426, 384, "attention", "add to the input, norm; feed-forward, add, norm")
    for one in (query, key, mask):
        d.down(residual, one)
        d.down(one, attend)
    d.down(attend, feed)
    d.text(200, 486, "*objects from the embedding")
    captions = (
        ("pixels of", "one class"),
        ("cores: away from", "embedding edges"),
        ("each pixel joins the", "most similar core"),
    )
    for number, caption in enumerate(captions):
        x = 4 + 134 * number
        d.frame("data", x, 498, 124, 84)
        for side, kind in ((-1, "net"), (1, "attention")):
            if number != 2:
                d.ellipse("quiet", x + 62 + 23 * side, 540, 25, 32)
            if number:
                d.ellipse(kind, x + 62 + 23 * side, 540, *((14, 21) if number == 1 else (23, 32)))
        for line, text in enumerate(caption):
            d.text(x + 62, 600 + LINE * line, text)
    return d


def simple_unet() -> Drawing:
    d = Drawing("SimpleUNet: a U-Net with one width, and few selected channels in its decoder")
    image = d.box(8, 4, 110, "data", "image")
    head = d.box(250, 4, 142, "result", "1×1: logits")
    encoder, decoder = [], []
    for number, y in enumerate((58, 138, 218)):
        encoder.append(d.box(8, y, 110, "net", f"stage {number}", "C channels"))
        skip = d.box(144, y, 80, "attention", "1×1", "C → s")
        decoder.append(d.box(250, y, 142, "decoder", "α·skip ‖ β·up", "units 2s → s"))
        d.arrow(encoder[-1].right, skip.left)
        d.arrow(skip.right, decoder[-1].left)
    deepest = d.box(8, 298, 110, "net", "deepest stage", "C channels")
    bottleneck = d.box(250, 298, 142, "decoder", "bottleneck", "units C → s")
    d.arrow(image.bottom, encoder[0].top)
    for above, below in zip(encoder, [*encoder[1:], deepest], strict=True):
        d.down(above, below)
        d.text(below.x + below.w / 2 + 28, below.y - 14, "pool")
    d.arrow(deepest.right, bottleneck.left)
    for above, below in zip(decoder, [*decoder[1:], bottleneck], strict=True):
        d.arrow(below.top, above.bottom)
        d.text(below.x + below.w / 2 + 42, below.y - 14, "upsample")
    d.arrow(decoder[0].top, head.bottom)
    return d


SCENE = {"a": (72, 58, 36, 30), "b": (192, 74, 22, 26), "c": (330, 62, 36, 32), "d": (200, 140, 164, 18)}
"""Objects in an image of 400 × 180: centre and radii."""
TILES = {"left": (4, "net"), "right": (156, "attention")}
TILE_WIDTH = 240


def _objects(d: Drawing, kinds: dict[str, str], left: float = 0, top: float = 0) -> None:
    for name, (x, y, rx, ry) in SCENE.items():
        d.ellipse(kinds.get(name, "data"), left + x, top + y, rx, ry)
        d.text(left + x, top + y + 5, f"*{name}")


def stitching() -> Drawing:
    d = Drawing("Stitching: one tile decides each object, and fragments of a long object are merged")
    d.text(200, 18, "*two tiles that overlap")
    d.frame("data", 4, 28, 392, 172)
    for left, kind in TILES.values():
        d.frame(kind, left, 28, TILE_WIDTH, 172)
    d.arrow((4 + TILE_WIDTH, 28), (4 + TILE_WIDTH, 200), dashed=True, head=False)
    _objects(d, {}, top=26)
    share = 190 / TILE_WIDTH
    for x, (side, (left, kind)) in zip((4, 206), TILES.items(), strict=True):
        d.text(x + 95, 228, f"*the {side} tile finds")
        d.frame(kind, x, 236, 190, 172 * share)
        d.add(f'<svg x="{x}" y="236" width="190" height="{172 * share:.0f}" viewBox="{left} 2 {TILE_WIDTH} 172">', 0)
        _objects(d, {})
        d.add("</svg>", 236 + 172 * share)
    d.text(200, 402, "*the objects of the image")
    d.frame("data", 4, 412, 392, 172)
    _objects(d, {"a": "net", "b": "net", "c": "attention", "d": "decoder"}, top=410)
    lines = (
        "a, c: seen whole by one tile only, which decides",
        "b: seen whole by both tiles; the left one decides,",
        "because b is farther from its border",
        "d: cut off in both tiles; its fragments are merged",
    )
    for number, line in enumerate(lines):
        d.text(8, 606 + 18 * number, line, "start")
    return d


def planning() -> Drawing:
    d = Drawing("Planning of a data set of objects: from measurements to settings")
    measured = d.box(
        8,
        4,
        384,
        "data",
        "*measured in the training data",
        "size, distance, number and overlap of the objects,",
        "size and spacing of the images",
    )
    scale = d.box(8, 82, 312, "net", "*scale", "small objects cover 5 cells of", "the mask grid")
    patch = d.box(
        8, 162, 312, "net", "*patch", "as much of the image as memory allows", "with two samples of the whole network"
    )
    fits = d.box(8, 242, 312, "result", "*Do two large objects fit in the patch,", "*or does it show the whole image?")
    batch = d.box(8, 318, 384, "net", "*batch", "what fits into memory, at most 5% of the data set")
    d.down(measured, scale)
    d.down(scale, patch)
    d.down(patch, fits)
    d.arrow(fits.bottom, (fits.bottom[0], batch.y))
    d.text(172, 304, "yes", "start")
    d.arrow(fits.right, (342, fits.right[1]), (342, scale.right[1]), scale.right)
    for number, line in enumerate(("no:", "shrink", "images")):
        d.text(371, 180 + LINE * number, line)
    window = d.box(8, 386, 188, "attention", "*window of a mask", "1.25 × the edges that", "99% of objects stay below")
    query_grid = d.box(204, 386, 188, "attention", "*query grid", "every 4th pixel; every 2nd", "for close neighbours")
    mask_grid = d.box(8, 470, 188, "attention", "*mask grid", "full resolution; coarser", "for very large windows")
    queries = d.box(204, 470, 188, "attention", "*queries", "1.5 × the objects in a", "patch of a dense image")
    d.down(batch, window)
    d.down(batch, query_grid)
    d.down(window, mask_grid)
    d.down(query_grid, queries)
    overlap = d.box(8, 554, 384, "result", "*Do objects of a class overlap?")
    d.down(mask_grid, overlap)
    d.down(queries, overlap)
    no = d.box(8, 606, 188, "decoder", "*no", "no decoder blocks,", "1 layer of ids per class")
    yes = d.box(204, 606, 188, "decoder", "*yes", "3 blocks per level, as many", "layers of ids as needed")
    d.down(overlap, no)
    d.down(overlap, yes)
    volumes = d.box(
        8,
        690,
        384,
        "data",
        "*volumes: planned as 2d and as 3d_fullres",
        "3d_fullres is recommended if the median",
        "object spans two slices or more",
    )
    d.down(no, volumes)
    d.down(yes, volumes)
    return d


DIAGRAMS: dict[str, Callable[[], Drawing]] = {
    "maskmed": maskmed,
    "iaunet": iaunet,
    "maskattn_unet": maskattn_unet,
    "simple_unet": simple_unet,
    "stitching": stitching,
    "planning": planning,
}


def files() -> dict[str, str]:
    """The text of each file by its name."""
    return {f"how_{name}.svg": draw().svg() for name, draw in DIAGRAMS.items()}


if __name__ == "__main__":
    for name, text in files().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
