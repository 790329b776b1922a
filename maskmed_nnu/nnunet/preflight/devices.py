"""Whether the device that a command asks for is there."""

from __future__ import annotations

from collections.abc import Iterator

from maskmed_nnu.instances.text import count
from maskmed_nnu.nnunet.preflight.faults import Fault


def device_faults(device: str, *, gpus: int = 1) -> Iterator[Fault]:
    """``device`` is the type, ``cuda``, ``cpu`` or ``mps``; of others nnU-Net says that it does not know them."""
    import torch

    if gpus > 1 and device != "cuda":
        yield Fault("-num_gpus", f"{gpus} GPUs are requested, but -device is {device}", "leave one of the two out")
    elif device == "cuda" and not torch.cuda.is_available():
        build = "a build without CUDA" if torch.version.cuda is None else "check nvidia-smi and CUDA_VISIBLE_DEVICES"
        what = f"torch {torch.__version__} sees no GPU here ({build})"
        yield Fault("-device", what, "add -device cpu, or run on a machine with a GPU")
    elif device == "cuda" and gpus > torch.cuda.device_count():
        present = count(torch.cuda.device_count(), "GPU")
        yield Fault("-num_gpus", f"{gpus} GPUs are requested, but torch sees {present}", "request at most that many")
    elif device == "mps" and not torch.backends.mps.is_available():
        yield Fault("-device", f"torch {torch.__version__} sees no mps device here", "add -device cpu")
