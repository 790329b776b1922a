"""MaskMed for nnU-Net: mask-classification segmentation behind nnU-Net's own commands.

>>> import maskmed_nnu as mm
>>> model = mm.load("nuclei")  # doctest: +SKIP
>>> model.predict("picture.png").to_table()  # doctest: +SKIP

Every interpreter of the environment imports this file through the start-up hook (see :mod:`maskmed_nnu._startup`), so
nothing is imported here before it is asked for.
"""

TYPE_CHECKING = False  # type checkers take it for that of typing, which is true for them
if TYPE_CHECKING:
    from maskmed_nnu.api.conversion import Conversion, convert
    from maskmed_nnu.api.export import example, export
    from maskmed_nnu.errors import InputError

    __version__: str

_EXPORTS = {
    "Conversion": "maskmed_nnu.api.conversion",
    "convert": "maskmed_nnu.api.conversion",
    "InputError": "maskmed_nnu.errors",
    "example": "maskmed_nnu.api.export",
    "export": "maskmed_nnu.api.export",
}
"""What ``import maskmed_nnu`` offers, and the module that it comes from."""

__all__ = ["Conversion", "InputError", "__version__", "convert", "example", "export"]


def __getattr__(name: str) -> object:
    """What `_EXPORTS` names, and ``__version__``; that raises ``PackageNotFoundError`` in a checkout."""
    if name == "__version__":
        from importlib.metadata import version

        return version("maskmed-nnu")
    if name in _EXPORTS:
        from importlib import import_module

        return getattr(import_module(_EXPORTS[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
