"""``nnUNetv2_train -pretrained_weights`` for our networks: weights that do not fit are refused in one sentence."""

from __future__ import annotations

import functools
import pickle
import re
from pathlib import Path
from typing import Any

from maskmed_nnu.errors import InputError


def wrap_loading(module: Any) -> None:
    """Wrap ``load_pretrained_weights`` in ``nnunetv2.run.load_pretrained_weights``."""
    stock = module.load_pretrained_weights

    @functools.wraps(stock)
    def load_pretrained_weights(network: Any, fname: str, *args: Any, **kwargs: Any) -> None:
        plain = getattr(network, "module", network)  # of DDP
        plain = getattr(plain, "_orig_mod", plain)
        if not type(plain).__module__.startswith("maskmed_nnu."):
            stock(network, fname, *args, **kwargs)
            return
        if not Path(fname).is_file():
            raise InputError(
                f"-pretrained_weights {fname} is not a file; name a checkpoint, such as checkpoint_final.pth."
            )
        try:
            stock(network, fname, *args, **kwargs)
        except AssertionError as error:
            found = re.search(r"[Kk]ey (\S+) is", str(error))
            where = f" (first at {found[1]})" if found else ""
            raise InputError(
                f"The weights in {fname} belong to another network than this one{where}; its plans must be those of "
                "the pretraining, brought here by nnUNetv2_move_plans_between_datasets, and its images of as many "
                "channels."
            ) from None
        except (EOFError, KeyError, RuntimeError, pickle.UnpicklingError) as error:
            reason = str(error).partition(". ")[0].partition("\n")[0]
            raise InputError(
                f"{fname} cannot be read as a checkpoint of nnU-Net ({type(error).__name__}: {reason}); it is damaged, "
                "or no checkpoint, such as checkpoint_final.pth."
            ) from None

    module.load_pretrained_weights = load_pretrained_weights
