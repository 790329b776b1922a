"""Studies on a cluster: many trainings, a choice and a prediction, run by Snakemake as nnU-Net's and our commands."""

from pathlib import Path

SNAKEFILE = Path(__file__).parent / "Snakefile"
"""The rules; a study's own ``Snakefile`` includes them."""
