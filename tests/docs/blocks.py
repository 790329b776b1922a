"""The fenced blocks of the documentation."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\S*)[^\n]*\n(?P<text>.*?)^(?P=indent)```$", re.M | re.S)


class Block(NamedTuple):
    """``language`` is what follows the fence; ``line`` is the number of the fence's line."""

    language: str
    text: str
    line: int


def pages() -> list[Path]:
    """All pages of the site."""
    return sorted((ROOT / "docs").rglob("*.md"))


def blocks(page: str) -> list[Block]:
    """The blocks of a page in their order."""
    return [
        Block(found["language"], _dedented(found["text"], len(found["indent"])), page[: found.start()].count("\n") + 1)
        for found in FENCE.finditer(page)
    ]


def _dedented(text: str, indent: int) -> str:
    return re.sub(rf"(?m)^ {{{indent}}}", "", text)
