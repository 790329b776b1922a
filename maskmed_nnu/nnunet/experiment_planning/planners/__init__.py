"""Planners behind `-pl`."""
