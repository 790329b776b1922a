"""Which images a study has predicted, and why the others could not be."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from maskmed_nnu.json_file import read_json
from maskmed_nnu.workflow.study import Study

UNKNOWN = "The logs contain no reason."


def predicted_images(study: Study) -> tuple[int, dict[str, str]]:
    """The number of images that were predicted, and of the others names and reasons, from the logs of the parts.

    Raises:
        InputError: where ``dataset.json`` cannot be read.
    """
    images, config = study.images, study.config
    if images is None or config.predict is None or not study.chosen():
        return 0, {}
    description: Any = read_json(study.preprocessed / "dataset.json", expected="a dataset.json")
    ending = str(description["file_ending"])
    channel = re.compile(rf"(.+)_\d{{4}}{re.escape(ending)}")
    names = {match[1] for file in images.iterdir() if (match := channel.fullmatch(file.name))}
    folders = [study.prediction_folder(model.name) for model in study.chosen()]
    found = [{file.name.removesuffix(ending) for file in folder.glob(f"*{ending}")} for folder in folders]
    missing = names - names.intersection(*found)
    return len(names) - len(missing), _reasons(study, missing)


def _reasons(study: Study, missing: Collection[str]) -> dict[str, str]:
    reasons = dict.fromkeys(sorted(missing), UNKNOWN)
    if not missing:
        return reasons
    for log in sorted((study.folder / "logs" / "predict").glob("*/part_*.log")):
        for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
            name, colon, reason = line.partition(": ")
            if colon and name in reasons:
                reasons[name] = reason.strip()
    return reasons
