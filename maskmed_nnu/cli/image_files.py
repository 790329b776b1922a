"""The name that :mod:`maskmed_nnu.nnunet.inference.input_cases` had in version 0.1."""

from maskmed_nnu.nnunet.inference.input_cases import Case, find_cases

__all__ = ["Case", "find_cases"]
