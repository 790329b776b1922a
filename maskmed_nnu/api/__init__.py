"""What ``import maskmed_nnu`` offers; the ``maskmed`` command is a thin layer on it."""
