"""The planners after ``-pl``, a file for each name; a checkout has the files in its top-level folder ``planners``."""

from pathlib import Path

__path__ = [*__path__, str(Path(__file__).parents[2] / "planners")]
