"""Runs the cases of a suite in turns and tells what they take beside their peer and beside theory."""
