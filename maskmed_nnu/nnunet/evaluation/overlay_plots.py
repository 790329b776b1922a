"""``nnUNetv2_plot_overlay_pngs``: plans and configurations that are not there are refused with the names of those."""

from __future__ import annotations

import functools
import inspect
from pathlib import Path
from typing import Any

from maskmed_nnu.errors import InputError
from maskmed_nnu.json_file import read_json
from maskmed_nnu.nnunet.evaluation.plain_errors import wrap_entry_points
from maskmed_nnu.nnunet.evaluation.trained_models import plans_are_ours


def wrap_overlays(module: Any) -> None:
    """Wrap ``generate_overlays_from_preprocessed`` in ``nnunetv2.utilities.overlay_plots``."""
    stock = module.generate_overlays_from_preprocessed
    signature = inspect.signature(stock)

    @functools.wraps(stock)
    def generate_overlays_from_preprocessed(*args: Any, **kwargs: Any) -> None:
        given = signature.bind(*args, **kwargs)
        given.apply_defaults()
        dataset = str(module.maybe_convert_to_dataset_name(given.arguments["dataset_name_or_id"]))
        folder = Path(module.nnUNet_preprocessed) / dataset
        check_plans(folder, given.arguments["plans_identifier"], given.arguments["configuration"])
        stock(*args, **kwargs)

    module.generate_overlays_from_preprocessed = generate_overlays_from_preprocessed
    wrap_entry_points(module)


def check_plans(folder: Path, name: str, configuration: str | None) -> None:
    """Refuse plans of a preprocessed data set, or a configuration, that do not exist where plans of ours do.

    Raises:
        InputError
    """
    file = folder / f"{name}.json"
    if not file.is_file():
        ours = [other.stem for other in sorted(folder.glob("*.json")) if plans_are_ours(_read(other))]
        if ours:
            raise InputError(f"{folder} has no plans {name}; name {' or '.join(ours)} after -p.")
    elif configuration is not None and plans_are_ours(_read(file)):
        planned = list(_read(file)["configurations"])
        if configuration not in planned:
            raise InputError(
                f"The plans {name} have no configuration '{configuration}'. They have: {', '.join(planned)}."
            )


def _read(file: Path) -> dict[str, Any]:
    """The content of plans; nothing of a list, as the splits beside them are."""
    content = read_json(file, expected="nnU-Net's plans, a dataset.json or a fingerprint")
    return content if isinstance(content, dict) else {}
