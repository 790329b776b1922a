"""Preprocessors, and the checks of a case that they begin with."""
