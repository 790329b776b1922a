"""Command lines as people wrote them for argparse."""

from __future__ import annotations

import doctest
from types import SimpleNamespace

import pytest

from maskmed_nnu.cli import words
from maskmed_nnu.cli.words import plain_words


def option(*, flag: bool = False, several: bool = False) -> SimpleNamespace:
    return SimpleNamespace(is_flag=flag, multiple=several, nargs=1)


FOLDS, TRAINER, COCO, JSON = option(several=True), option(), option(flag=True), option(flag=True)
OPTIONS = {"-f": FOLDS, "--folds": FOLDS, "-tr": TRAINER, "--coco": COCO, "--no-coco": COCO, "-d": option()}
OPTIONS |= {"--id": option(), "--images": option(), "--input": option(), "--overlays": COCO}


@pytest.mark.parametrize(
    ("line", "plain"),
    [
        ("-f 0 1 2 -tr T", "-f 0 -f 1 -f 2 -tr T"),
        ("--folds 0 1 --folds 2", "--folds 0 --folds 1 --folds 2"),
        ("-tr T more", "-tr T more"),
        ("-tr=T -d=4 --id=5", "-tr T -d 4 --id 5"),
        ("-d4 -f0", "-d 4 -f 0"),
        ("-t T", "-tr T"),
        ("--fol 0 all --no", "--folds 0 --folds all --no-coco"),
        ("--no-c", "--no-coco"),
        ("--id -5", "--id -5"),
        ("--im - x", "--images - x"),
        ("-f 0 -- 1 --coco=2", "-f 0 -- 1 --coco=2"),
        ("--unknown x --coco=2", "--unknown x --coco=2"),
        ("in out", "in out"),
    ],
)
def test_words_as_argparse_took_them(line, plain):
    assert plain_words(line.split(), OPTIONS) == plain.split()


def test_a_value_may_hold_blanks_and_equals_signs():
    assert plain_words(["--id", "-a b", "--images=a=b"], OPTIONS) == ["--id", "-a b", "--images", "a=b"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("--i x", "--i is short for --id and for --images and for --input"),
        ("--id", "--id needs a value"),
        ("--id --coco", "--id needs a value"),
        ("-f -tr T", "-f needs a value"),
        ("-tr -- T", "-tr needs a value"),
    ],
)
def test_what_cannot_be_understood(line, said):
    with pytest.raises(ValueError, match=said):
        plain_words(line.split(), OPTIONS)


@pytest.mark.parametrize(
    ("line", "plain"),
    [
        ("--json", "--json"),
        ("--json scores.json", "--json-file scores.json"),
        ("--json scores.txt true", "--json-file scores.txt true"),
        ("--json .", "--json ."),
        ("--json=scores", "--json-file scores"),
        ("--json found true", "--json found true"),
        ("--js --id 5", "--json --id 5"),
        ("--json-file a", "--json-file a"),
    ],
)
def test_the_file_that_json_once_took(line, plain):
    options = OPTIONS | {"--json": JSON, "--json-file": option()}
    assert plain_words(line.split(), options) == plain.split()


def test_the_example():
    assert doctest.testmod(words).failed == 0
