"""The Cell Tracking Challenge's layout: sequences, whole frames of gold or silver truth, and what is left out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile

from maskmed_nnu.errors import InputError
from maskmed_nnu.instances.conversion.cell_tracking_source import CellTrackingSource
from maskmed_nnu.instances.conversion.convert import convert

SHAPE = {2: (20, 24), 3: (5, 20, 24)}


def write(path: Path, dim: int, *, mask: bool) -> None:
    values = np.zeros(SHAPE[dim], np.uint16)
    values[..., 2:8, 2:8], values[..., 10:15, 10:15] = 3, 9
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, values if mask else 40 + 90 * values, photometric="minisblack")


def sequence(folder: Path, name: str, dim: int, frames: range, truth: str, segmented: range) -> None:
    for frame in frames:
        write(folder / name / f"t{frame:03d}.tif", dim, mask=False)
    for frame in segmented:
        write(folder / f"{name}_{truth}" / "SEG" / f"man_seg{frame:03d}.tif", dim, mask=True)


@pytest.mark.parametrize("dim", [2, 3])
def test_frames_with_a_segmentation_become_cases(tmp_path, dim):
    sequence(tmp_path, "01", dim, range(4), "GT", range(2))
    sequence(tmp_path, "02", dim, range(2), "ST", range(2))
    write(tmp_path / "01_GT" / "TRA" / "man_track003.tif", dim, mask=True)
    write(tmp_path / "02_GT" / "SEG" / "man_seg_001_003.tif", 2, mask=True)
    source = CellTrackingSource(tmp_path, "cell", spacing=(2.0, 0.5, 0.5) if dim == 3 else None)
    done = convert(source, tmp_path / "Dataset010_T")
    assert done.cases == ["01_t000", "01_t001", "02_t000", "02_t001"] and done.volumes == (dim == 3)
    assert "note       2 frames of 01 without a segmentation, skipped" in done.lines
    assert any(line.startswith("note       1 single slice in") for line in done.lines)
    label = tifffile.imread(tmp_path / "Dataset010_T" / "labelsTr" / "02_t001.tif")
    np.testing.assert_array_equal(label, tifffile.imread(tmp_path / "02_ST" / "SEG" / "man_seg001.tif"))
    spacing = tmp_path / "Dataset010_T" / "imagesTr" / "02_t001.json"
    assert spacing.is_file() == (dim == 3) and (
        dim == 2 or json.loads(spacing.read_text()) == {"spacing": [2, 0.5, 0.5]}
    )


def test_what_holds_no_whole_frame(tmp_path):
    with pytest.raises(InputError, match="is not a folder; name the one that holds the sequences"):
        CellTrackingSource(tmp_path / "nowhere", "cell")
    with pytest.raises(InputError, match="holds no sequence 01, 02 and so on"):
        CellTrackingSource(tmp_path, "cell")
    sequence(tmp_path, "01", 3, range(2), "GT", range(0))
    write(tmp_path / "01_GT" / "SEG" / "man_seg_001_003.tif", 2, mask=True)
    with pytest.raises(InputError, match="holds no segmentation of a whole frame, .* take the silver truth"):
        CellTrackingSource(tmp_path, "cell")


def test_a_spacing_of_flat_frames_is_refused(tmp_path):
    sequence(tmp_path, "01", 2, range(1), "GT", range(1))
    with pytest.raises(
        InputError, match="t000.tif is not a TIFF stack, and spacing applies only to those; leave spacing out"
    ):
        convert(CellTrackingSource(tmp_path, "cell", spacing=(2.0, 0.5, 0.5)), tmp_path / "Dataset010_T")
