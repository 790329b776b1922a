"""What the documentation shows can be typed, and its links lead somewhere."""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import itertools
import json
import re
import shlex
import unicodedata
from functools import cache
from pathlib import Path

import pytest

from maskmed_nnu.cli.main import COMMANDS, load_command
from maskmed_nnu.nnunet.discovery.names import NAMES
from maskmed_nnu.nnunet.discovery.training_length import split_length
from tests.docs.blocks import FENCE, ROOT, Block, blocks, pages

OUTPUT = ("text",)
"""Languages of blocks that are shown, not typed."""
PAGES = pytest.mark.parametrize("page", pages(), ids=lambda page: page.relative_to(ROOT / "docs").as_posix())
NAMED = {"-tr": "trainer", "-pl": "planner"}
STOCK = ("nnUNetTrainer",)


@PAGES
def test_blocks(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert text.count("```") == 2 * len(FENCE.findall(text)), "a fence is not closed"
    problems = [f"line {block.line}: {problem}" for block in blocks(text) for problem in _problems(block)]
    assert not problems


def _problems(block: Block) -> list[str]:
    if block.language in OUTPUT:
        return []
    if block.language == "python":
        compile(block.text, "block", "exec")
        return []
    if block.language == "json":
        json.loads(block.text if block.text.lstrip().startswith("{") else f"{{{block.text}}}")
        return []
    if block.language != "bash":
        return [f"a block of {block.language or 'no language'}; legal are bash, python, json and text"]
    return [problem for words in _commands(block.text) for problem in _wrong_words(words)]


def _commands(text: str) -> list[list[str]]:
    lines = text.replace("\\\n", " ").splitlines()
    words = [shlex.split(line, comments=True) for line in lines]
    starts = [[i for i, word in enumerate(line) if _is_ours(word)] for line in words]
    return [line[start[0] :] for line, start in zip(words, starts, strict=True) if start]


def _is_ours(word: str) -> bool:
    return Path(word).name == "maskmed" or word.startswith("nnUNetv2_")


def _wrong_words(words: list[str]) -> list[str]:
    program, *rest = words
    stop = next((i for i, word in enumerate(rest) if word in ("&", "|", "&&")), len(rest))
    rest = rest[:stop]
    if program.startswith("nnUNetv2_"):
        legal = _stock_options(program)
    elif not rest or rest[0] in ("--help", "--version"):
        return []
    elif rest[0] not in COMMANDS:
        return [f"maskmed has no command {rest[0]}"]
    else:
        program, legal = f"maskmed {rest[0]}", _options(rest[0])
    given = [word.partition("=")[0] for word in rest if re.match(r"--?[A-Za-z]", word)]
    problems = [f"{program} has no option {word}" for word in given if word not in legal]
    for option, value in itertools.pairwise(rest):
        name = split_length(value)[0]
        if option in NAMED and name not in NAMES[NAMED[option]] and name not in STOCK:
            problems.append(f"there is no {NAMED[option]} {value}")
    return problems


@cache
def _options(command: str) -> set[str]:
    parameters = load_command(command).params
    return {"-h", "--help"}.union(*(set(one.opts) | set(one.secondary_opts) for one in parameters))


@cache
def _stock_options(script: str) -> set[str]:
    """Of one of nnU-Net's commands, from its source: importing it takes seconds."""
    (entry,) = importlib.metadata.distribution("nnunetv2").entry_points.select(group="console_scripts", name=script)
    spec = importlib.util.find_spec(entry.module)
    assert spec is not None and spec.origin is not None
    tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    (function,) = (one for one in tree.body if isinstance(one, ast.FunctionDef) and one.name == entry.attr)
    values = (one.value for one in ast.walk(function) if isinstance(one, ast.Constant))
    return {value for value in values if isinstance(value, str) and value.startswith("-")}


@PAGES
def test_links(page: Path) -> None:
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    dead = []
    for link in re.findall(r"\]\((?!https?:|mailto:)([^)\s]+)\)", text):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if not target.is_file() or (anchor and anchor not in _anchors(target)):
            dead.append(link)
    assert not dead


@cache
def _anchors(page: Path) -> set[str]:
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    return {_slug(title) for title in re.findall(r"^#+ (.+)$", text, re.MULTILINE)}


def _slug(title: str) -> str:
    """As the site's table of contents makes it."""
    plain = unicodedata.normalize("NFKD", title.replace("`", "")).encode("ascii", "ignore").decode()
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", plain).strip().lower())


def test_every_page_is_in_the_navigation() -> None:
    named = re.findall(r"[\w/-]+\.md", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    assert sorted(named) == [page.relative_to(ROOT / "docs").as_posix() for page in pages()]
