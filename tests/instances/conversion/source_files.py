"""Sources of every style in small, and a look at the data sets that are made of them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

from maskmed_nnu.nnunet.imageio.instance_io import InstanceIO

SHAPE = (30, 40)


def save(path: Path, array: np.ndarray, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix in (".tif", ".tiff"):
        tifffile.imwrite(path, array, **options)
    else:
        Image.fromarray(array).save(path)
    return path


def picture(seed: int = 0, shape=SHAPE, dtype=np.uint8, samples: int | None = None) -> np.ndarray:
    size = (*shape, samples) if samples else shape
    return np.random.default_rng(seed).integers(0, 250, size).astype(dtype)


def cells(seed: int = 0, shape=SHAPE, dtype=np.uint16) -> np.ndarray:
    """Squares with ids that are neither consecutive nor in order; a stack of them where `shape` has three axes."""
    if len(shape) == 3:
        return np.stack([cells(seed + z, shape[1:], dtype) for z in range(shape[0])])
    rng, mask = np.random.default_rng(seed), np.zeros(shape, dtype)
    for y in range(1, shape[0] - 5, 6):
        for x in range(1, shape[1] - 5, 6):
            if rng.random() < 0.7:
                mask[y : y + rng.integers(2, 6), x : x + rng.integers(2, 6)] = rng.integers(1, 200)
    return mask


def label_maps(folder: Path, count: int = 3, *, image=".png", mask=".tif", **options) -> tuple[Path, Path]:
    for i in range(count):
        save(folder / "images" / f"c{i}{image}", picture(i, **options))
        save(folder / "masks" / f"c{i}{mask}", cells(i))
    return folder / "images", folder / "masks"


def coco(folder: Path, annotations: list[dict], *, shape=SHAPE, categories=("cell",)) -> tuple[Path, Path]:
    save(folder / "images" / "a.png", picture(shape=shape))
    path = folder / "instances.json"
    content = {
        "images": [{"id": 1, "file_name": "a.png", "height": shape[0], "width": shape[1]}],
        "annotations": [{"id": i, "image_id": 1, **a} for i, a in enumerate(annotations, 1)],
        "categories": [{"id": i, "name": name} for i, name in enumerate(categories, 1)],
    }
    path.write_text(json.dumps(content))
    return path, folder / "images"


def square(y: int, x: int, size: int, category: int = 1, **more) -> dict:
    polygon = [x, y, x + size, y, x + size, y + size, x, y + size]
    return {"category_id": category, "segmentation": [polygon], "iscrowd": 0, **more}


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def target(tmp_path: Path, name: str = "Dataset010_Cells") -> Path:
    (tmp_path / "raw").mkdir(exist_ok=True)
    return tmp_path / "raw" / name


def description(folder: Path) -> dict:
    return json.loads((folder / "dataset.json").read_text())


def labels(folder: Path, name: str, part: str = "labelsTr") -> np.ndarray:
    path = folder / part / f"{name}{description(folder)['file_ending']}"
    return tifffile.imread(path) if path.suffix == ".tif" else np.asarray(Image.open(path))


def objects_of(folder: Path) -> dict[str, int]:
    """Objects per case, through the reader that nnU-Net will use."""
    found = {}
    for path in sorted((folder / "labelsTr").iterdir()):
        objects, _ = InstanceIO().read_instances(str(path))
        found[path.stem] = len(objects.classes)
    return found


def nothing_left(tmp_path: Path) -> bool:
    return not list((tmp_path / "raw").iterdir())
