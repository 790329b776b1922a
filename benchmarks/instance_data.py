"""Images of objects as a data set of objects and one of their foreground, and objects from a predicted foreground."""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

from methods import files_digest, made_before, stop

OBJECTS, FOREGROUND = (1, "Dataset001_Objects"), (2, "Dataset002_Foreground")
SPECK = 8


def prepare_raw(args: argparse.Namespace) -> None:
    """Convert the images for both kinds of methods; once."""
    from maskmed_nnu.errors import InputError
    from maskmed_nnu.instances.conversion.convert import convert
    from maskmed_nnu.instances.conversion.sources import LabelMapSource
    from maskmed_nnu.instances.files import read_ids, write_ids

    stamp, raw = args.work / "data.json", args.work / "nnUNet_raw"
    settings = {"images": str(args.images), "masks": str(args.masks), "test": args.test}
    settings["files"] = files_digest(args.images, args.masks)
    if made_before(stamp, settings):
        return
    shutil.rmtree(raw, ignore_errors=True)
    raw.mkdir(parents=True)
    objects, foreground = raw / OBJECTS[1], raw / FOREGROUND[1]
    try:
        print("\n".join(convert(LabelMapSource(args.images, args.masks, "object"), objects, test=args.test).lines))
    except InputError as error:
        stop(str(error))
    for part in ("Tr", "Ts"):
        shutil.copytree(objects / f"images{part}", foreground / f"images{part}")
        (foreground / f"labels{part}").mkdir()
        for path in (objects / f"labels{part}").iterdir():
            inside = read_ids(path, overlap_layers=False) > 0
            write_ids(foreground / f"labels{part}" / path.name, inside.astype("uint8"))
    description = json.loads((objects / "dataset.json").read_text())
    del description["overwrite_image_reader_writer"]
    description["labels"] = {"background": 0, "foreground": 1}
    (foreground / "dataset.json").write_text(json.dumps(description, indent=2))
    stamp.write_text(json.dumps(settings))


def components(source: Path, target: Path, ending: str) -> None:
    """Connected components of every predicted foreground in ``source`` as id maps in ``target``."""
    import numpy as np
    from scipy import ndimage

    from maskmed_nnu.instances.files import read_ids, write_ids

    target.mkdir(parents=True, exist_ok=True)
    for path in sorted(source.glob(f"*{ending}")):
        labels, count = ndimage.label(read_ids(path, overlap_layers=False)[0] > 0)
        speck = np.bincount(labels.ravel(), minlength=count + 1) < SPECK
        labels[speck[labels]] = 0
        write_ids(target / path.name, labels.astype(np.uint32)[None])
