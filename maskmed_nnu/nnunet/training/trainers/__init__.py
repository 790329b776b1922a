"""Trainers after `-tr`."""
