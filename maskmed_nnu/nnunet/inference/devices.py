"""Which device a command runs on."""

from __future__ import annotations

from maskmed_nnu.errors import InputError

DEVICES = ("auto", "cpu", "cuda", "mps")


def choose_device(choice: str) -> str:
    """The device to use; ``auto`` takes CUDA or the CPU, since MPS lacks some 3D operations.

    Raises:
        InputError: where torch does not see it.
    """
    import torch  # here, because it takes seconds and `maskmed --help` does not need it

    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if choice == "auto":
        return "cuda" if available["cuda"] else "cpu"
    if not available[choice]:
        raise InputError(f"torch {torch.__version__} sees no {choice} device here; take the device cpu.")
    return choice
