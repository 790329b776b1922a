"""Plans of ours: their settings, checks of plans against the data set, and the label manager that they name."""
