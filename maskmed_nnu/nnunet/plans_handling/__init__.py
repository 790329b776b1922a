"""Plans of ours: their settings, and checks of plans against the data set."""
