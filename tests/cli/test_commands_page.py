"""The reference of commands is their help of today."""

from __future__ import annotations

from tests.cli import commands_page


def test_the_page_is_the_help_of_today() -> None:
    assert commands_page.PAGE.read_text(encoding="utf-8") == commands_page.page(), "run `make docs`"
