"""The exceptions that the package raises on purpose: for bad input, and for a command of nnU-Net that failed."""


class InputError(SystemExit, ValueError):
    """Bad input, told in one sentence: what was found, where, what is legal, what to do.

    It is a ``ValueError`` for whoever calls the library and a ``SystemExit`` for whoever runs a command: uncaught, the
    interpreter (and a spawned worker of ``multiprocessing``) prints the sentence and exits with status 1, without a
    traceback from deep inside. It is no ``RuntimeError``, because nnU-Net's predictor takes those for a lack of memory.
    """


class CommandError(RuntimeError):
    """A command ended with an error; the message names the command, ``status`` is what it ended with."""

    def __init__(self, message: str, *, status: int = 1) -> None:
        super().__init__(message)
        self.status = status
