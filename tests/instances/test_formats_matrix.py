"""`maskmed convert` reads every kind of file of the matrix, and what comes out equals what was put in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from maskmed_nnu.errors import InputError
from maskmed_nnu.instances.conversion import source_images
from maskmed_nnu.instances.conversion.convert import convert
from maskmed_nnu.instances.conversion.sources import LabelMapSource
from maskmed_nnu.instances.files import read_ids
from maskmed_nnu.nnunet.imageio.instance_io import InstanceIO
from tests.instances import formats_matrix
from tests.instances.formats_matrix import CLOSE, PIXELS, Entry, entries


@pytest.mark.parametrize("entry", entries(), ids=lambda e: f"{e.family}, {e.layout}, {e.pixels}")
def test_what_comes_out_equals_what_was_put_in(entry: Entry, tmp_path: Path) -> None:
    expected = entry.expected()
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    entry.write(tmp_path / "images")
    mask = np.zeros(expected.shape[1:], np.uint8)
    mask[..., 2:6, 3:9] = 1
    tifffile.imwrite(tmp_path / "masks" / "a.tif", mask, photometric="minisblack")
    folder = tmp_path / "Dataset001_X"
    source = LabelMapSource(tmp_path / "images", tmp_path / "masks", "cell")
    if entry.sentence:
        with pytest.raises(InputError, match=entry.sentence):
            convert(source, folder)
        return
    convert(source, folder)
    files = sorted(str(path) for path in (folder / "imagesTr").iterdir() if path.suffix != ".json")
    data, properties = InstanceIO().read_images(files)
    data = data if expected.ndim == 4 else data[:, 0]
    assert data.shape == expected.shape
    error = np.abs(data - expected.astype(np.float32)).max()
    assert error <= (12 if entry.outcome == CLOSE else 0)
    assert "pages_not_told" not in properties


LABEL_MAPS = [
    e for e in entries() if e.outcome != CLOSE and PIXELS[e.pixels].samples == 1 and "channels" not in e.layout
]


@pytest.mark.parametrize("entry", LABEL_MAPS, ids=lambda e: f"{e.family}, {e.layout}, {e.pixels}")
def test_label_maps_keep_the_numbers_that_are_stored(entry: Entry, tmp_path: Path) -> None:
    stored = PIXELS[entry.pixels].stored(entry.layout)
    ids = np.abs(np.rint(stored)).astype(stored.dtype)
    path = entry.write(tmp_path, ids)
    np.testing.assert_array_equal(source_images.read_mask(path)[0], ids)
    np.testing.assert_array_equal(read_ids_of(path), ids)


def read_ids_of(path: Path) -> np.ndarray:
    """What nnU-Net's data sets give, where they take files of that ending."""
    if path.suffix not in (".png", ".tif", ".tiff", ".nii", ".gz"):
        return source_images.read_mask(path)[0]
    return read_ids(path, overlap_layers=False)[0]


def test_the_page_shows_the_matrix_of_today() -> None:
    assert formats_matrix.PAGE.read_text(encoding="utf-8") == formats_matrix.page(), "run `make docs`"
