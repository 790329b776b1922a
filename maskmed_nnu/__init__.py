"""MaskMed for nnU-Net: mask-classification segmentation behind nnU-Net's own commands.

Every interpreter of the environment imports this file through the start-up hook (see :mod:`maskmed_nnu._startup`), so
nothing is imported here before it is asked for.
"""


def __getattr__(name: str) -> str:
    """``maskmed_nnu.__version__``, read from the installed metadata; raises ``PackageNotFoundError`` in a checkout."""
    if name == "__version__":
        from importlib.metadata import version

        return version("maskmed-nnu")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
