"""The examples in the docstrings run, as far as they need no trained model."""

from __future__ import annotations

import doctest
from importlib import import_module
from pkgutil import iter_modules

import pytest

from maskmed_nnu import api, semantic

MODULES = [
    f"{package.__name__}.{module.name}" for package in (api, semantic) for module in iter_modules(package.__path__)
]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert doctest.testmod(import_module(name)).failed == 0
