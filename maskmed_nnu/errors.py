"""The exceptions that the package raises on purpose: for bad input, and for a command of nnU-Net that failed."""


class InputError(ValueError):
    """Bad input, told in one sentence: what was found, where, what is legal, what to do.

    Commands end with the sentence and status 1. It is no ``RuntimeError``: nnU-Net's predictor takes those for a lack
    of memory.
    """


class CommandError(RuntimeError):
    """A command ended with an error; the message names the command, ``status`` is what it ended with."""

    def __init__(self, message: str, *, status: int = 1) -> None:
        super().__init__(message)
        self.status = status
