"""A conversion is whole or not there at all, whatever its source: cases held back, broken files, stops."""

from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import pytest

from maskmed_nnu.errors import InputError
from maskmed_nnu.instances.conversion import convert as convert_module
from maskmed_nnu.instances.conversion.convert import case_names, convert
from maskmed_nnu.instances.conversion.source_case import SourceCase
from maskmed_nnu.instances.conversion.sources import LabelMapSource
from tests.instances.conversion.source_files import (
    SHAPE,
    cells,
    description,
    label_maps,
    labels,
    nothing_left,
    save,
    target,
    truncate,
)


def test_the_last_cases_by_name_are_held_back(tmp_path):
    images, masks = label_maps(tmp_path, 4)
    folder = target(tmp_path)
    convert(LabelMapSource(images, masks, "cell"), folder, test=1)
    assert description(folder)["numTraining"] == 3
    assert [p.name for p in (folder / "imagesTs").iterdir()] == ["c3_0000.png"]
    np.testing.assert_array_equal(labels(folder, "c3", "labelsTs"), cells(3))
    with pytest.raises(InputError, match="test is 4 of 4 cases"):
        convert(LabelMapSource(images, masks, "cell"), target(tmp_path, "Dataset011_Other"), test=4)


def test_an_image_without_objects_is_legal(tmp_path):
    images, masks = label_maps(tmp_path)
    save(masks / "c1.tif", np.zeros(SHAPE, np.uint16))
    folder = target(tmp_path)
    lines = convert(LabelMapSource(images, masks, "cell"), folder).lines
    assert any(line.endswith("none in 1 image") for line in lines)
    assert not labels(folder, "c1").any()


def test_all_broken_files_are_named_at_once_and_nothing_is_left(tmp_path):
    images, masks = label_maps(tmp_path, 6, image=".tif")
    truncate(images / "c0.tif")
    save(masks / "c1.tif", cells(shape=(30, 41)))
    save(masks / "c2.tif", cells().astype(np.float32) / 3)
    save(masks / "c3.tif", cells().astype(np.int16) - 1)
    save(images / "c4.tif", np.full(SHAPE, np.nan, np.float32))
    with pytest.raises(InputError) as error:
        convert(LabelMapSource(images, masks, "cell"), target(tmp_path))
    lines = str(error.value).splitlines()
    assert lines[0] == "5 of 6 cases are broken; repair or remove them:"
    for line, said in zip(
        lines[1:],
        ("cannot be read", "has the size 30 × 41, but its image c1.tif has 30 × 40", "whole", "negative", "NaN"),
        strict=True,
    ):
        assert said in line
    assert nothing_left(tmp_path)


def test_many_broken_files_of_one_kind_are_summed_up(tmp_path):
    images, masks = label_maps(tmp_path, 8)
    for i in range(7):
        save(masks / f"c{i}.tif", cells(shape=(30, 41 + i)))
    truncate(masks / "c7.tif")
    with pytest.raises(InputError) as error:
        convert(LabelMapSource(images, masks, "cell"), target(tmp_path))
    lines = str(error.value).splitlines()
    assert ["41" in lines[1], "43" in lines[3], lines[4], "cannot be read" in lines[5]] == [
        True,
        True,
        "  and 4 more like these",
        True,
    ]


def test_an_existing_target_is_refused_and_left_alone(tmp_path):
    images, masks = label_maps(tmp_path)
    (target(tmp_path, "Dataset010_Other")).mkdir()
    with pytest.raises(InputError, match="already holds Dataset010_Other"):
        convert(LabelMapSource(images, masks, "cell"), target(tmp_path))
    with pytest.raises(InputError, match="not a name of an nnU-Net data set"):
        convert(LabelMapSource(images, masks, "cell"), target(tmp_path, "Cells"))
    assert [p.name for p in (tmp_path / "raw").iterdir()] == ["Dataset010_Other"]


def test_a_stopped_conversion_goes_on_where_it_ended(tmp_path, monkeypatch):
    images, masks = label_maps(tmp_path, 4)
    folder, written = target(tmp_path), []
    stock = convert_module.write_ids

    def write_two(path, raw, **options):
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(path.name)
        stock(path, raw, **options)

    monkeypatch.setattr(convert_module, "write_ids", write_two)
    with pytest.raises(KeyboardInterrupt):
        convert(LabelMapSource(images, masks, "cell"), folder)
    assert not folder.exists()
    written.clear()
    convert(LabelMapSource(images, masks, "cell"), folder)
    assert written == ["c2.png", "c3.png"]
    for i in range(4):
        np.testing.assert_array_equal(labels(folder, f"c{i}"), cells(i))
    assert sorted(p.name for p in folder.iterdir()) == ["conversion.txt", "dataset.json", "imagesTr", "labelsTr"]
    assert len(list((folder / "imagesTr").iterdir())) == 4


def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch):
    images, masks = label_maps(tmp_path, 2)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(convert_module, "write_ids", full)
    with pytest.raises(OSError, match="No space left"):
        convert(LabelMapSource(images, masks, "cell"), target(tmp_path))
    assert not list(target(tmp_path).parent.iterdir())


def test_a_stopped_conversion_starts_again_where_its_input_has_changed(tmp_path, monkeypatch):
    images, masks = label_maps(tmp_path, 2)
    folder = target(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(convert_module, "summary_lines", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            convert(LabelMapSource(images, masks, "cell"), folder)
    save(masks / "c0.tif", cells(9))
    convert(LabelMapSource(images, masks, "cell"), folder)
    np.testing.assert_array_equal(labels(folder, "c0"), cells(9))


def test_case_names_are_legal_and_unique():
    def names(*given):
        return case_names([SourceCase(name, Path(name), ()) for name in given])

    assert names("a b.c", "well-1", "Zelle_ä") == ["a_b_c", "well-1", "Zelle_ä"]
    assert names("train/1", "val/1", "val/2") == ["train_1", "val_1", "2"]
    assert names("a b", "a_b", "x_seg", "A_b") == ["a_b_3", "a_b_2", "x-seg", "A_b"]


def test_renamed_cases_are_told(tmp_path):
    images, masks = label_maps(tmp_path)
    for folder, ending in ((images, ".png"), (masks, ".tif")):
        (folder / f"c1{ending}").rename(folder / f"c1_seg{ending}")
    lines = convert(LabelMapSource(images, masks, "cell"), target(tmp_path)).lines
    assert "renamed    1 case, so that nnU-Net and every file system accept them: c1_seg → c1-seg" in lines
    assert (target(tmp_path) / "labelsTr" / "c1-seg.png").is_file()
