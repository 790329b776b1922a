"""What nnU-Net and our preprocessor get from the files of an object data set."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
import tifffile
from nnunetv2.imageio.natural_image_reader_writer import NaturalImage2DIO
from nnunetv2.imageio.reader_writer_registry import determine_reader_writer_from_dataset_json
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO
from nnunetv2.imageio.tif_reader_writer import Tiff3DIO
from PIL import Image

from maskmed_nnu.errors import InputError
from maskmed_nnu.instances.formats.volumes import read_forms
from maskmed_nnu.instances.instance_map import InstanceMap, LabelFormat
from maskmed_nnu.nnunet.imageio.instance_io import InstanceIO, find_label_format

CLASSES = {"background": 0, "cytoplasm": 1, "nucleus": 2}
LAYERED = LabelFormat({"cytoplasm": 1, "nucleus": 2}, 1000, True)
TURNED = (0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, -1.0)


def declare(folder: Path, **content: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dataset.json").write_text(json.dumps({"labels": CLASSES, "label_divisor": 1000} | content))


def write_nifti(path: Path, shape: tuple[int, ...]) -> None:
    image = sitk.GetImageFromArray(np.random.default_rng(0).normal(size=shape).astype(np.float32))
    n = len(shape)
    image.SetSpacing((0.5, 0.75, 2.0)[:n])
    image.SetOrigin((-3.0, 4.0, 5.0)[:n])
    if n == 3:
        image.SetDirection(TURNED)
    sitk.WriteImage(image, str(path))


def some_objects(spatial: tuple[int, int, int], layers: int) -> InstanceMap:
    """``layers`` objects that all share pixels, of alternating classes, over stuff of class 2."""
    ids = np.zeros((layers, *spatial), np.int32)
    for layer in range(layers):
        ids[layer, :, : layer + 2, 1:4] = layer + 1
    stuff = np.zeros(spatial, np.int32)
    stuff[..., -1] = 2
    return InstanceMap(ids, np.sort(np.arange(layers) % 2 + 1), stuff)


def same(a: InstanceMap, b: InstanceMap) -> bool:
    layers = len(a.ids)
    ids = np.array_equal(a.ids, b.ids[:layers]) and not b.ids[layers:].any()
    return ids and np.array_equal(a.classes, b.classes) and np.array_equal(a.stuff, b.stuff)


def test_nnunet_finds_it_by_name() -> None:
    dataset_json = {"overwrite_image_reader_writer": "InstanceIO", "file_ending": ".tif"}
    assert determine_reader_writer_from_dataset_json(dataset_json, verbose=False) is InstanceIO


def test_it_is_found_in_a_spawned_process(run_python: Callable) -> None:
    code = (
        "from multiprocessing import get_context\n"
        "from nnunetv2.imageio.reader_writer_registry import recursive_find_reader_writer_by_name as find\n"
        "if __name__ == '__main__':\n"
        "    with get_context('spawn').Pool(1) as pool:\n"
        "        print(pool.apply(find, ('InstanceIO',)))\n"
    )
    path = "spawned.py"
    done = run_python(
        f"import runpy; open({path!r}, 'w').write({code!r}); runpy.run_path({path!r}, run_name='__main__')"
    )
    assert "maskmed_nnu.nnunet.imageio.instance_io.InstanceIO" in done.stdout, done.stderr


@pytest.mark.parametrize("shape", [(8, 9), (8, 9, 3), (8, 9, 4)])
@pytest.mark.parametrize("name", ["x_0000.png", "x_0000.tif"])
def test_pictures_are_read_as_by_nnunet(tmp_path: Path, shape: tuple[int, ...], name: str) -> None:
    values = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    Image.fromarray(values).save(tmp_path / name)
    files = [str(tmp_path / name)] * 2
    ours, properties = InstanceIO().read_images(files)
    theirs, their_properties = NaturalImage2DIO().read_images(files)
    assert ours.dtype == np.float32
    assert np.array_equal(ours, theirs)
    assert properties == their_properties == {"spacing": (999, 1, 1)}


def test_16_bits_are_kept(tmp_path: Path) -> None:
    grey = np.array([[0, 70], [300, 65_535]], np.uint16)
    Image.fromarray(grey).save(tmp_path / "grey_0000.png")
    colour = sitk.GetImageFromArray(np.stack([grey] * 3, axis=-1), isVector=True)
    sitk.WriteImage(colour, str(tmp_path / "colour_0000.png"))
    assert np.array_equal(InstanceIO().read_images([str(tmp_path / "grey_0000.png")])[0], grey[None, None])
    assert np.array_equal(InstanceIO().read_images([str(tmp_path / "colour_0000.png")])[0], np.stack([grey[None]] * 3))


@pytest.mark.parametrize("spacing", [None, [3.0, 0.5, 0.25]])
def test_tiff_volumes_are_read_as_by_nnunet(tmp_path: Path, spacing: list | None) -> None:
    files = [str(tmp_path / f"x_000{c}.tif") for c in range(2)]
    for c, file in enumerate(files):
        tifffile.imwrite(file, np.full((4, 5, 6), c, np.uint16), photometric="minisblack")
    if spacing:
        (tmp_path / "x.json").write_text(json.dumps({"spacing": spacing}))
    ours, properties = InstanceIO().read_images(files)
    theirs, their_properties = Tiff3DIO().read_images(files)
    assert np.array_equal(ours, theirs)
    assert tuple(properties["spacing"]) == tuple(their_properties["spacing"])
    (tmp_path / "x_0000.tif").rename(tmp_path / "x.tif")  # as `maskmed predict` takes it
    assert InstanceIO().read_images([str(tmp_path / "x.tif")])[1] == properties


@pytest.mark.parametrize(
    ("axes", "shape", "expected"),
    [
        ("ZCYX", (5, 2, 8, 9), (2, 5, 8, 9)),
        ("CYX", (2, 8, 9), (2, 1, 8, 9)),
        ("ZYX", (2, 8, 9), (1, 2, 8, 9)),
        ("ZYXS", (2, 8, 9, 3), (3, 2, 8, 9)),
    ],
)
def test_hyperstacks_are_read_by_their_axes(tmp_path: Path, axes: str, shape: tuple, expected: tuple) -> None:
    values = np.random.default_rng(0).integers(0, 255, shape).astype(np.uint8)
    tifffile.imwrite(tmp_path / "x.tif", values, imagej=True, metadata={"axes": axes})
    data, properties = InstanceIO().read_images([str(tmp_path / "x.tif")])
    order = [axes.replace("S", "C").index(axis) for axis in "CZYX" if axis in axes.replace("S", "C")]
    assert np.array_equal(data, values.transpose(order).reshape(expected))
    assert "pages_not_told" not in properties


def test_frames_are_refused_unless_they_are_told_to_be_slices(tmp_path: Path) -> None:
    file = str(tmp_path / "x.tif")
    tifffile.imwrite(file, np.zeros((3, 8, 9), np.uint8), imagej=True, metadata={"axes": "TYX"})
    told = r"x\.tif has the axes TYX \(3 × 8 × 9\), and T is time: 3 frames; .*as in axes ZYX"
    with pytest.raises(InputError, match=told):
        InstanceIO().read_images([file])
    assert InstanceIO().read_images([file], axes="ZYX")[0].shape == (1, 3, 8, 9)
    declare(tmp_path)
    with pytest.raises(InputError, match=r"x\.tif has the axes TYX \(3 × 8 × 9\), but a label file holds rows"):
        InstanceIO().read_instances(file)


def test_the_spacing_of_stacks_is_the_files_own(tmp_path: Path) -> None:
    declare(tmp_path)
    image, label = tmp_path / "imagesTr" / "x_0000.tif", tmp_path / "labelsTr" / "x.tif"
    for path in (image, label):
        path.parent.mkdir()
    calibrated = {"imagej": True, "resolution": (4, 4), "metadata": {"axes": "ZYX", "unit": "um", "spacing": 2}}
    tifffile.imwrite(image, np.zeros((3, 8, 9), np.uint8), **calibrated)
    tifffile.imwrite(label, np.zeros((3, 8, 9), np.uint8), photometric="minisblack")  # tells none of its own
    _, properties = InstanceIO().read_images([str(image)])
    assert properties["spacing"] == InstanceIO().read_seg(str(label))[1]["spacing"] == [2, 0.25, 0.25]
    InstanceIO().write_seg(np.zeros((3, 8, 9), np.uint8), str(tmp_path / "p.tif"), properties)
    assert Tiff3DIO().read_seg(str(tmp_path / "p.tif"))[1]["spacing"] == [2, 0.25, 0.25]
    (tmp_path / "imagesTr" / "x.json").write_text('{"spacing": [5, 1, 1]}')  # what the user says comes first
    assert InstanceIO().read_images([str(image)])[1]["spacing"] == [5, 1, 1]
    assert InstanceIO().read_seg(str(label))[1]["spacing"] == [5, 1, 1]
    tifffile.imwrite(image, np.zeros((8, 9), np.uint8), **calibrated | {"metadata": {"axes": "YX", "unit": "um"}})
    properties = InstanceIO().read_images([str(image)])[1]
    assert properties == {"spacing": (999, 1, 1), "tiff_scale": properties["tiff_scale"]}


@pytest.mark.parametrize("shape", [(8, 9), (4, 8, 9), (1, 8, 9)])
def test_nifti_is_read_as_by_nnunet(tmp_path: Path, shape: tuple[int, ...]) -> None:
    file = tmp_path / "x_0000.nii.gz"
    write_nifti(file, shape)
    ours, properties = InstanceIO().read_images([str(file)] * 2)
    theirs, their_properties = SimpleITKIO().read_images([str(file)] * 2)
    assert np.array_equal(ours, theirs)
    n = len(shape)
    assert np.allclose(properties["sitk_stuff"]["spacing"][:n], their_properties["sitk_stuff"]["spacing"])
    assert np.allclose(properties["sitk_stuff"]["origin"][:n], their_properties["sitk_stuff"]["origin"])
    if n == 3:
        assert np.allclose(properties["sitk_stuff"]["direction"], their_properties["sitk_stuff"]["direction"])
    expected = [999 * 0.75, 0.75, 0.5] if shape[0] == 1 else their_properties["spacing"]
    assert np.allclose(properties["spacing"], expected)


def test_nifti_with_channels(tmp_path: Path) -> None:
    values = np.arange(2 * 3 * 4 * 5, dtype=np.int16).reshape(5, 4, 3, 2)
    nibabel.save(nibabel.Nifti1Image(values, np.diag([2.0, 3, 4, 1])), tmp_path / "x_0000.nii.gz")
    data, properties = InstanceIO().read_images([str(tmp_path / "x_0000.nii.gz")])
    assert np.array_equal(data, values.T)
    assert np.allclose(properties["spacing"], [4, 3, 2])


def test_channels_of_different_sizes_are_refused(tmp_path: Path) -> None:
    for c, width in enumerate((5, 6)):
        Image.fromarray(np.zeros((4, width), np.uint8)).save(tmp_path / f"x_000{c}.png")
    with pytest.raises(
        InputError, match="x_0001.png has 1 × 4 × 6 pixels, but .*x_0000.png of the same case has 1 × 4 × 5"
    ):
        InstanceIO().read_images([str(tmp_path / "x_0000.png"), str(tmp_path / "x_0001.png")])


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("ending", [".nii.gz", ".nii"])
@pytest.mark.parametrize("shape", [(8, 9), (4, 8, 9), (1, 8, 9)])
def test_objects_in_nifti_lie_on_the_grid_of_the_image(
    tmp_path: Path, shape: tuple[int, ...], ending: str, layers: int
) -> None:
    write_nifti(tmp_path / f"x_0000{ending}", shape)
    data, properties = InstanceIO().read_images([str(tmp_path / f"x_0000{ending}")])
    declare(tmp_path, overlap_layers=True)
    objects = some_objects(data.shape[1:], layers)
    file = str(tmp_path / f"x{ending}")
    InstanceIO().write_instances(objects, file, properties, LAYERED)
    back, seg_properties = InstanceIO().read_instances(file)
    assert same(objects, back)
    assert np.allclose(seg_properties["spacing"], properties["spacing"])
    for key in ("spacing", "origin", "direction"):  # nnU-Net's integrity check compares origin and direction
        if layers == 1 or data.shape[1] == 1 or key != "direction":
            assert np.allclose(seg_properties["sitk_stuff"][key], properties["sitk_stuff"][key])
    semantic, _ = InstanceIO().read_seg(file)
    assert semantic.dtype == np.float32
    assert np.array_equal(semantic[0], objects.semantic())


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("slices", [1, 4])
def test_objects_in_tiff(tmp_path: Path, slices: int, layers: int) -> None:
    declare(tmp_path, overlap_layers=True)
    objects = some_objects((slices, 8, 9), layers)
    (tmp_path / "x.json").write_text(json.dumps({"spacing": [3, 1, 1]}))
    tifffile.imwrite(tmp_path / "x_0000.tif", np.zeros((slices, 8, 9), np.uint8), photometric="minisblack")
    _, properties = InstanceIO().read_images([str(tmp_path / "x_0000.tif")])
    InstanceIO().write_instances(objects, str(tmp_path / "labels.tif"), properties, LAYERED)
    back, seg_properties = InstanceIO().read_instances(str(tmp_path / "labels.tif"))
    assert same(objects, back)
    assert list(seg_properties["spacing"]) == list(properties["spacing"]) == ([999, 1, 1] if slices == 1 else [3, 1, 1])


def test_objects_in_png(tmp_path: Path) -> None:
    label_format = LabelFormat(LAYERED.classes, 1000)
    declare(tmp_path)
    objects = some_objects((1, 8, 9), 1)
    InstanceIO().write_instances(objects, str(tmp_path / "x.png"), {"spacing": (999, 1, 1)}, label_format)
    back, properties = InstanceIO().read_instances(str(tmp_path / "x.png"))
    assert same(objects, back)
    assert properties == {"spacing": (999, 1, 1)}


@pytest.mark.parametrize("name", ["x.png", "x.tif", "x.nii.gz"])
def test_write_seg_writes_any_map_of_integers(tmp_path: Path, name: str) -> None:
    write_nifti(tmp_path / "x_0000.nii.gz", (8, 9))
    _, properties = InstanceIO().read_images([str(tmp_path / "x_0000.nii.gz")])
    seg = np.arange(72, dtype=np.uint32).reshape(1, 8, 9) * 900
    InstanceIO().write_seg(seg, str(tmp_path / name), properties)
    if name.endswith(".nii.gz"):
        image = sitk.ReadImage(str(tmp_path / name))
        assert np.array_equal(sitk.GetArrayFromImage(image), seg[0])
        assert np.allclose(image.GetSpacing(), (0.5, 0.75))
        assert np.allclose(image.GetOrigin(), (-3, 4))
    else:
        assert np.array_equal(np.asarray(Image.open(tmp_path / name)), seg[0])


def test_more_objects_than_a_png_holds_are_refused(tmp_path: Path) -> None:
    ids = np.arange(1, 66_001, dtype=np.int32).reshape(1, 1, 220, 300)
    objects = InstanceMap(ids, np.ones(66_000, np.int64), np.zeros((1, 220, 300), np.int32))
    for name, label_format, sentence in (
        ("x.png", LabelFormat({"a": 1}), "cannot hold the id 66000: a PNG ends at 65535"),
        ("x.tif", LabelFormat({"a": 1}, 1000), "x.tif cannot be written: An image holds 66000 objects of one class"),
    ):
        with pytest.raises(InputError, match=sentence):
            InstanceIO().write_instances(objects, str(tmp_path / name), {"spacing": (999, 1, 1)}, label_format)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("folder", ["", "labelsTr", "fold_0/validation"])
def test_dataset_json_is_found(tmp_path: Path, folder: str) -> None:
    declare(tmp_path)
    label = tmp_path / folder / "x.png"
    label.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.array([[0, 1001], [2000, 2005]], np.uint16)).save(label)
    assert InstanceIO().read_seg(str(label))[0].tolist() == [[[[0, 1], [2, 2]]]]


def test_the_nearest_dataset_json_counts(tmp_path: Path) -> None:
    declare(tmp_path)
    declare(tmp_path / "predictions", label_divisor=500)
    assert find_label_format(tmp_path / "predictions" / "x.png").label_divisor == 500


def test_missing_or_broken_dataset_json_is_told(tmp_path: Path) -> None:
    label = tmp_path / "a" / "b" / "c" / "x.png"
    label.parent.mkdir(parents=True)
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(label)
    declare(tmp_path)  # too far up
    with pytest.raises(InputError, match=r"No dataset.json is in the folder of .*x\.png"):
        InstanceIO().read_seg(str(label))
    declare(label.parent, labels={"background": 0, "a": 1, "b": 2}, label_divisor=None)
    with pytest.raises(InputError, match=r"c/dataset\.json declares 2 classes .*no label_divisor"):
        InstanceIO().read_seg(str(label))
    (label.parent / "dataset.json").write_text("{")
    with pytest.raises(InputError, match=r"c/dataset\.json is not valid JSON"):
        InstanceIO().read_seg(str(label))


def test_a_faulty_label_file_is_named(tmp_path: Path) -> None:
    declare(tmp_path)
    Image.fromarray(np.array([[0, 5001]], np.uint16)).save(tmp_path / "x.png")
    with pytest.raises(InputError, match=r"x\.png: Id 5001 is of class 5"):
        InstanceIO().read_seg(str(tmp_path / "x.png"))


@pytest.mark.parametrize("content", ["{", "[]", '{"spacing": [1, 2]}', '{"spacing": [0, 1, 1]}'])
def test_a_faulty_spacing_file_is_told(tmp_path: Path, content: str) -> None:
    tifffile.imwrite(tmp_path / "x_0000.tif", np.zeros((4, 5, 6), np.uint8), photometric="minisblack")
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(InputError, match=r"x\.json has no spacing of a volume"):
        InstanceIO().read_images([str(tmp_path / "x_0000.tif")])


def test_truncated_images_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "x_0000.nii.gz"
    write_nifti(file, (4, 8, 9))
    file.write_bytes(file.read_bytes()[:-300])
    with pytest.raises(InputError, match=r"x_0000\.nii\.gz cannot be read"):
        InstanceIO().read_images([str(file)])


def test_channels_that_lie_elsewhere_are_refused(tmp_path: Path) -> None:
    files = [str(tmp_path / f"x_{channel:04d}.nii.gz") for channel in range(2)]
    for file in files:
        write_nifti(Path(file), (4, 5, 6))
    image = sitk.ReadImage(files[1])
    image.SetOrigin((-2.0, 4.0, 5.0))
    sitk.WriteImage(image, files[1])
    with pytest.raises(
        InputError, match=r"x_0001.nii.gz is not on the grid of .*x_0000.nii.gz of the same case: it has"
    ):
        InstanceIO().read_images(files)


def test_predictions_say_of_their_place_what_the_image_says(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(np.zeros((6, 5, 4), np.float32), np.diag([0.5, 0.5, 2, 1]))
    image.set_sform(np.diag([0.5, 0.5, 2, 1]) + 9 * np.eye(4, k=3), 2)
    image.set_qform(np.diag([0.5, 0.5, 2, 1]), 1)
    image.header.set_xyzt_units("micron")
    nibabel.save(image, tmp_path / "x_0000.nii.gz")
    data, properties = InstanceIO().read_images([str(tmp_path / "x_0000.nii.gz")])
    InstanceIO().write_seg(np.zeros(data.shape[1:], np.int32), str(tmp_path / "x.nii.gz"), properties)
    assert read_forms(tmp_path / "x.nii.gz") == read_forms(tmp_path / "x_0000.nii.gz")
