"""Memory in huge pages is asked for where the system has them, and the user's own choice stays."""

from __future__ import annotations

import os
from types import ModuleType

import pytest

from maskmed_nnu.nnunet import huge_pages
from maskmed_nnu.nnunet.preflight import hooks


@pytest.mark.parametrize(
    ("modes", "own", "expected"),
    [
        ("always [madvise] never", None, "1"),
        ("[always] madvise never", None, "1"),
        ("always madvise [never]", None, None),
        (None, None, None),
        ("always [madvise] never", "0", "0"),
    ],
)
def test_variable_follows_the_system_and_the_user(modes, own, expected, tmp_path, monkeypatch):
    monkeypatch.delenv(huge_pages.VARIABLE, raising=False)
    if own is not None:
        monkeypatch.setenv(huge_pages.VARIABLE, own)
    if modes is not None:
        (tmp_path / "enabled").write_text(modes)
    monkeypatch.setattr(huge_pages, "SYSTEM", tmp_path / "enabled")
    huge_pages.ask_for_huge_pages()
    assert os.environ.pop(huge_pages.VARIABLE, None) == expected


@pytest.mark.parametrize("wrap", [hooks.wrap_training, hooks.wrap_prediction])
def test_training_and_prediction_ask_before_anything_else(wrap, monkeypatch):
    asked = []
    monkeypatch.setattr(hooks, "ask_for_huge_pages", lambda: asked.append(True))
    with pytest.raises(AttributeError):  # of a module without nnU-Net's functions
        wrap(ModuleType("empty"))
    assert asked
