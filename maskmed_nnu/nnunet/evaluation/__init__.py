"""Scores of trainings, for classes and objects: cross-validation, the best configuration, folders of predictions."""
