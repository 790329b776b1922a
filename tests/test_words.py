"""Documentation, help texts, messages and docstrings have none of the words and phrases in ``word_list.txt``."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("*.md", "docs/index.md", "docs/*/*.md", "benchmarks/*.md")
CODE = ("maskmed_nnu", "planners", "trainers", "benchmarks")
LINES = (ROOT / "tests" / "word_list.txt").read_text(encoding="utf-8").splitlines()
WORD = re.compile(r"[^\W_]+")
PHRASES = [line for line in LINES if line and not line.startswith("#")]


def phrases_in(text: str) -> list[str]:
    words = f" {' '.join(WORD.findall(text.lower()))} "
    return [phrase for phrase in PHRASES if f" {phrase} " in words]


def phrases_in_strings(code: str) -> list[str]:
    if not phrases_in(re.sub(r'"\s*[fr]*"', "", code)):  # parsing takes longer than searching
        return []
    constants = (node.value for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Constant))
    return [phrase for value in constants if isinstance(value, str) for phrase in phrases_in(value)]


def found(paths: Iterable[Path]) -> list[str]:
    search = {".py": phrases_in_strings, ".md": phrases_in}
    return [
        f"{path.relative_to(ROOT)}: {phrase}"
        for path in paths
        for phrase in search[path.suffix](path.read_text(encoding="utf-8"))
    ]


def test_pages_have_none_of_the_phrases():
    assert not found(page for pattern in PAGES for page in sorted(ROOT.glob(pattern)))


def test_strings_and_docstrings_have_none_of_the_phrases():
    assert not found(path for folder in CODE for path in sorted((ROOT / folder).rglob("*.py")))


def test_a_phrase_is_found_across_lines_and_broken_strings():
    assert phrases_in("A score that comes\n    to 0.841.") == ["comes to 0"] and not phrases_in("It becomes to 0.")
    assert phrases_in_strings('text = (\n    "it "\n    f"stands at 2"\n)\n# a comment stands at 2') == ["stands at"]
