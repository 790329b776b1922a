"""Functions that return a figure or a picture."""
