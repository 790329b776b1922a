"""MaskMed for nnU-Net: mask-classification segmentation behind nnU-Net's own commands.

>>> import maskmed_nnu as mm
>>> model = mm.load("nuclei")  # doctest: +SKIP
>>> model.predict("picture.png").to_table()  # doctest: +SKIP

Every interpreter of the environment imports this file through the start-up hook (see :mod:`maskmed_nnu._startup`), so
nothing is imported here before it is needed.
"""

TYPE_CHECKING = False  # type checkers take it for that of typing, which is true for them
if TYPE_CHECKING:
    from maskmed_nnu.api.big_prediction import BigSummary
    from maskmed_nnu.api.conversion import Conversion, convert
    from maskmed_nnu.api.evaluation import compare, evaluate
    from maskmed_nnu.api.explanation import Explanation, explain
    from maskmed_nnu.api.export import example, export
    from maskmed_nnu.api.folder_prediction import FolderSummary
    from maskmed_nnu.api.installation import import_model
    from maskmed_nnu.api.machine import doctor
    from maskmed_nnu.api.model import Model, load
    from maskmed_nnu.api.planning import plan
    from maskmed_nnu.api.prediction import Prediction
    from maskmed_nnu.api.report import TrainingReport, report
    from maskmed_nnu.api.training import train
    from maskmed_nnu.errors import InputError
    from maskmed_nnu.progress import Progress

    __version__: str

_EXPORTS = {
    "BigSummary": "maskmed_nnu.api.big_prediction",
    "Explanation": "maskmed_nnu.api.explanation",
    "FolderSummary": "maskmed_nnu.api.folder_prediction",
    "InputError": "maskmed_nnu.errors",
    "Model": "maskmed_nnu.api.model",
    "Prediction": "maskmed_nnu.api.prediction",
    "Progress": "maskmed_nnu.progress",
    "Conversion": "maskmed_nnu.api.conversion",
    "compare": "maskmed_nnu.api.evaluation",
    "convert": "maskmed_nnu.api.conversion",
    "doctor": "maskmed_nnu.api.machine",
    "evaluate": "maskmed_nnu.api.evaluation",
    "example": "maskmed_nnu.api.export",
    "explain": "maskmed_nnu.api.explanation",
    "export": "maskmed_nnu.api.export",
    "import_model": "maskmed_nnu.api.installation",
    "load": "maskmed_nnu.api.model",
    "plan": "maskmed_nnu.api.planning",
    "TrainingReport": "maskmed_nnu.api.report",
    "report": "maskmed_nnu.api.report",
    "train": "maskmed_nnu.api.training",
}
"""What ``import maskmed_nnu`` offers, and the module that it comes from."""

__all__ = [
    "BigSummary",
    "Conversion",
    "Explanation",
    "FolderSummary",
    "InputError",
    "Model",
    "Prediction",
    "Progress",
    "TrainingReport",
    "__version__",
    "compare",
    "convert",
    "doctor",
    "evaluate",
    "example",
    "explain",
    "export",
    "import_model",
    "load",
    "plan",
    "report",
    "train",
]


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
