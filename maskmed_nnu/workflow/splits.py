"""``python -m maskmed_nnu.workflow.splits STUDY``: nnU-Net's folds, written before trainings start side by side."""

from __future__ import annotations

import sys

from maskmed_nnu.errors import InputError
from maskmed_nnu.json_file import read_json
from maskmed_nnu.workflow.study import read_study


def main(folder: str) -> int:
    from maskmed_nnu.nnunet.preflight.splits import write_splits

    try:
        data = read_study(folder).preprocessed
        ending = str(read_json(data / "dataset.json", expected="a dataset.json")["file_ending"])
        cases = [file.name.removesuffix(ending) for file in (data / "gt_segmentations").glob(f"*{ending}")]
        print(write_splits(data, cases))
    except InputError as error:
        print(f"maskmed: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
