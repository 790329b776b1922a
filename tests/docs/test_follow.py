"""Tutorials show what their commands print."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.blocks import blocks
from tests.docs.follow import EXECUTED, FOLLOWED, PICTURE, TUTORIALS, cleaned, digest, follow, with_outputs

PAGES = sorted(TUTORIALS.glob("*.md"))
PAGE = """\
# A page

```bash
echo "$PWD/found"; printf 'one\\rtwo\\n'; echo 2026-01-02 03:04:05.6: three; echo four
```

<!-- output: found … three -->
```text
old
```

```python
from pathlib import Path

Path("drawn.png").write_bytes(b"picture")
print("five")
```

```text
```

<!-- picture: *.png -->
![drawn](output/page.png)
"""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_output_of_a_page_is_that_of_its_commands(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    pictures = [page.parent / picture["link"] for picture in PICTURE.finditer(text)]
    if not pictures and all(block.language in EXECUTED for block in blocks(text)):
        return  # it shows no output
    followed = FOLLOWED.search(text)
    assert followed and followed["digest"] == digest(text), f"run: python -m tests.docs.follow {page.stem}"
    assert all(picture.is_file() for picture in pictures)


def test_a_page_gets_its_output_and_pictures(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE, encoding="utf-8")
    (tmp_path / "work").mkdir()
    follow(page, tmp_path / "work")
    text = page.read_text(encoding="utf-8")
    assert "```text\n./found\ntwo\nthree\n```" in text and "```text\nfive\n```" in text
    assert (tmp_path / "output" / "page.png").read_bytes() == b"picture"
    assert (found := FOLLOWED.search(text)) and found["digest"] == digest(PAGE)
    assert with_outputs(text, ["found\nthree", "five", ""]).count("<!-- followed") == 1


def test_a_command_that_fails_ends_it_with_what_was_said(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```bash\necho first\n```\n\n```bash\necho why >&2; false\n```\n", encoding="utf-8")
    (tmp_path / "work").mkdir()
    with pytest.raises(SystemExit, match=r"page.md: block 2 ended with 1(?s:.*)first(?s:.*)why"):
        follow(page, tmp_path / "work")
    assert "followed" not in page.read_text(encoding="utf-8")


def test_bars_are_not_output() -> None:
    assert cleaned("a\n 50%|#####     | 1/2 [00:01<00:01]\n\n\nb  \n", Path("/nowhere")) == "a\nb"
