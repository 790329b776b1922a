"""Planners after `-pl`."""
