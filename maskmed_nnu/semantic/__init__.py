"""Class maps: their metrics and comparison."""
