"""Trainers and their losses; data loading, augmentation, schedules, time budget and progress."""
