"""What is run on the day that a machine with a GPU is there: ``python -m benchmarks.gpu``."""
