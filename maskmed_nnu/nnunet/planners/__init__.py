"""Planners behind `-pl`, and the rules by which they choose."""
