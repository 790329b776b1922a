"""The ``maskmed`` command."""
