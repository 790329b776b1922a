"""Trainers, their losses, data loading, augmentation and schedules."""
