"""The one reader of JSON: what people's files are, and one sentence for what is wrong with them."""

from __future__ import annotations

import codecs
import gzip
import json

import pytest
from pydantic import BaseModel

from maskmed_nnu.errors import InputError
from maskmed_nnu.json_file import read_json, shown, write_json
from maskmed_nnu.json_types import parse_entries

TEXT = json.dumps({"Zelle": "Größe"}, ensure_ascii=False)


@pytest.mark.parametrize(
    "raw",
    [
        TEXT.encode(),
        codecs.BOM_UTF8 + TEXT.encode(),
        TEXT.encode("utf-16"),
        codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be"),
        b"\r\n\t " + TEXT.encode() + b"\r\n",
    ],
    ids=["UTF-8", "byte-order mark", "PowerShell", "big endian", "white space"],
)
def test_any_unicode_encoding(tmp_path, raw: bytes) -> None:
    (tmp_path / "a.json").write_bytes(raw)
    assert read_json(tmp_path / "a.json", expected="a test") == {"Zelle": "Größe"}


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"", "it is empty"),
        (b"\0" * 64, "it is empty"),
        (TEXT.encode()[:8], "damaged, truncated or not JSON"),
        (TEXT.encode("latin-1"), "not JSON in UTF-8"),
        (gzip.compress(TEXT.encode(), mtime=0), "compressed, so unpack it"),
        (b"PK\x03\x04...", "compressed"),
        (codecs.BOM_UTF8 + b"<!DOCTYPE html>", "XML or a web page"),
        (b'{"a": 1}\n{"a": 2}\n', "JSON Lines"),
        (b'{"a": [1, 2,\n]}', "there is a comma before a closing bracket, so remove it"),
        (b'{"a": 1,\n}', "there is a comma before a closing bracket, so remove it"),
        (b'{"a": 1, // mine\n "b": 2}', "JSON has no comments"),
        (b"# mine\n{}", "JSON has no comments"),
        (b"{'a': 1}", "a printed Python object"),
        (b'{"a": None}', "a printed Python object"),
        (b"[" * 100_000, "damaged"),
        (b"1" * 5000, "damaged"),
        (b'{"a": {"b": 1, "c": 2, "b": 3}}', "'b' appears twice in one object.*remove one of the two"),
    ],
)
def test_what_is_no_json(tmp_path, raw: bytes, said: str) -> None:
    (tmp_path / "a.json").write_bytes(raw)
    with pytest.raises(InputError, match=said) as caught:
        read_json(tmp_path / "a.json", expected="a test")
    assert str(caught.value).startswith(f"{tmp_path / 'a.json'} is not valid JSON")
    assert str(caught.value).endswith("; a test is needed.")


def test_a_file_that_cannot_be_read(tmp_path) -> None:
    for path, said in ((tmp_path, "Is a directory"), (tmp_path / "none.json", "No such file")):
        with pytest.raises(InputError, match=rf"cannot be read \({said}.*\); a test is needed there"):
            read_json(path, expected="a test")


def test_what_is_written_is_read(tmp_path) -> None:
    write_json(tmp_path / "a.json", {"a": [1, None, "ä"]}, indent=2)
    assert read_json(tmp_path / "a.json", expected="a test") == {"a": [1, None, "ä"]}
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", float("nan"))
    assert shown({"a": "x" * 500}).endswith("xxx…") and len(shown({"a": "x" * 500})) == 121


class Thing(BaseModel):
    id: int
    score: float = 0.0


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        (
            [{"id": 1}, {"id": "x"}, {"id": None}],
            r'id of things\[1\] in f is "x", .* an integer; 1 more have the same fault',
        ),
        ([{"score": 1}], r"id of things\[0\] in f is missing, but it must be an integer\."),
        ([{"id": 7, "score": [1]}], r"score of things\[0\] \(id 7\) in f is \[1\], but it must be a number\."),
        ({"a": 5}, r'things\["a"\] in f is 5, but it must be an object with id\.'),
        ([None], r"things\[0\] in f is null"),
    ],
)
def test_a_wrong_entry_is_named_by_its_place(entries, said: str) -> None:
    with pytest.raises(InputError, match=said):
        parse_entries(entries, Thing, file="f", place="things")


def test_entries_as_models() -> None:
    assert parse_entries({"a": {"id": "3", "more": 1}}, Thing, file="f", place="things") == [Thing(id=3)]
