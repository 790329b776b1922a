"""Integrity, fingerprint, planners and the rules by which they choose."""
