"""The trainers after ``-tr``, a file for each name; a checkout has the files in its top-level folder ``trainers``."""

from pathlib import Path

__path__ = [*__path__, str(Path(__file__).parents[2] / "trainers")]
