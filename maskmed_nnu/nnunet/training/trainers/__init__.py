"""Trainers behind `-tr`."""
