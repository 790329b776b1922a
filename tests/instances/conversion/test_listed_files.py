"""Files are found by the names that other machines gave them, and never the wrong one of two."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from maskmed_nnu.errors import InputError
from maskmed_nnu.instances.conversion.listed_files import locate_files


def make(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def found(folder: Path, *names: str) -> list[str]:
    return [str(p.relative_to(folder)) for p in locate_files(names, folder, Path("x.json"))]


@pytest.mark.parametrize(
    ("listed", "file"),
    [
        ("c0.png", "c0.png"),
        ("./c0.png", "c0.png"),
        ("images\\c0.png", "c0.png"),
        ("C:\\Users\\me\\c0.png", "c0.png"),
        ("\\\\server\\share\\c0.png", "c0.png"),
        ("/home/me/images/c0.png", "c0.png"),
        ("../data/c0.png", "c0.png"),
        ("https://host:8080/data/c0.png?size=full#top", "c0.png"),
        ("s3://bucket/c%201.png", "c 1.png"),
        ("c%201.png", "c 1.png"),
        ("100%.png", "100%.png"),
        ("a%20b.png", "a%20b.png"),
        ("c0.PNG", "c0.png"),
        ("C0.png", "c0.png"),
        (unicodedata.normalize("NFD", "zelle_ä.png"), unicodedata.normalize("NFC", "zelle_ä.png")),
        (unicodedata.normalize("NFC", "zelle_ä.png"), unicodedata.normalize("NFD", "zelle_ä.png")),
        ("sub\\c0.png", "sub/c0.png"),
        ("c0.png", "deep/down/c0.png"),
        (" c0.png", "c0.png"),
    ],
)
def test_spellings(tmp_path: Path, listed: str, file: str) -> None:
    make(tmp_path, file, "other.png")
    assert found(tmp_path, listed) == [file]


def test_a_name_with_backslashes_on_disk(tmp_path: Path) -> None:
    make(tmp_path, "images\\c0.png")
    assert found(tmp_path, "images\\c0.png") == ["images\\c0.png"]


def test_the_longest_agreement_decides(tmp_path: Path) -> None:
    make(tmp_path, "a/train/x.png", "a/val/x.png", "b/Val/y.png", "b/train/y.png")
    assert found(tmp_path, "D:\\data\\val\\x.png", "D:\\data\\val\\y.png") == ["a/val/x.png", "b/Val/y.png"]
    assert found(tmp_path, "a\\train\\x.png", "a/val/x.png") == ["a/train/x.png", "a/val/x.png"]
    with pytest.raises(InputError, match=r"a/train/x.png and .*a/val/x.png have the name that x.json lists"):
        found(tmp_path, "x.png")


def test_the_exact_spelling_comes_first(tmp_path: Path) -> None:
    make(tmp_path, "s/c0.PNG", "s/c0.png")
    assert found(tmp_path, "c0.png", "c0.PNG") == ["s/c0.png", "s/c0.PNG"]
    with pytest.raises(InputError, match="have the name"):
        found(tmp_path, "C0.png")


def test_two_names_never_share_a_file(tmp_path: Path) -> None:
    make(tmp_path, "c0.png")
    with pytest.raises(InputError, match=r"train\\c0.png and val\\c0.png, both listed in x.json, are the same file"):
        found(tmp_path, "train\\c0.png", "val\\c0.png")


@pytest.mark.parametrize("name", ["missing.png", "", ".", "https://host", "c0", "a" * 5000, "\0"])
def test_what_is_not_there(tmp_path: Path, name: str) -> None:
    make(tmp_path, "c0.png")
    with pytest.raises(InputError, match=r", listed in x.json, is not in"):
        found(tmp_path, name)
