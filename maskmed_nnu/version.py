"""The version of the installed package."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def package_version(otherwise: str = "unknown") -> str:
    """What the installed metadata say, or `otherwise` for a bare checkout on the path."""
    try:
        return version("maskmed-nnu")
    except PackageNotFoundError:
        return otherwise
