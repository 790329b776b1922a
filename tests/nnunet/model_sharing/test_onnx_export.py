"""ONNX files in onnxruntime: the network's logits, and nnU-Net's labels from nothing but the file."""

from __future__ import annotations

import json
import re
from itertools import chain, combinations, product
from math import ceil

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from scipy.ndimage import binary_fill_holes, gaussian_filter
from skimage.transform import resize
from torch.nn import functional as F

import maskmed_nnu as mm
from benchmarks.subjects import onnx_models
from maskmed_nnu.errors import InputError
from maskmed_nnu.networks import SimpleESKNet, SimpleUNet
from maskmed_nnu.networks.iaunet import IAUNet
from maskmed_nnu.nnunet.inference import case_prediction
from maskmed_nnu.nnunet.inference.model_source import open_model
from maskmed_nnu.nnunet.model_sharing import output_file, prediction_settings
from maskmed_nnu.nnunet.model_sharing.onnx_export import Outputs, TiledModel, export_onnx, load_tiled, trace
from tests.networks.small_iaunet import build as build_iaunet
from tests.nnunet.tiny_models import OBJECTS, tiny_model

ORDERS = {"data": 3, "probabilities": 1, "seg": 1}
REGIONS = {"labels": {"background": 0, "whole": [1, 2], "core": [2]}, "regions_class_order": [1, 2]}
LABELS = {"labels": {"background": 0, "a": 1, "b": 2, "ignore": 3}}


def architecture(dims: int, network: type = SimpleUNet, **settings) -> dict:
    norm = settings.pop("norm", "torch.nn.modules.instancenorm.InstanceNorm")
    kwargs = {
        "n_stages": 3,
        "strides": [[1] * dims, [1, *[2] * (dims - 1)], [2] * dims],
        "conv_op": f"torch.nn.modules.conv.Conv{dims}d",
        "norm_op": f"{norm}{dims}d",
        "norm_op_kwargs": {"affine": True},
        "width": 8,
        "selection_rate": 0.5,
    }
    if network is SimpleUNet:
        kwargs["kernel_sizes"] = [[1, *[3] * (dims - 1)], *[[3] * dims] * 2]
    return {
        "network_class_name": f"{network.__module__}.{network.__name__}",
        "arch_kwargs": kwargs | settings,
        "_kw_requires_import": ["conv_op", "norm_op"],
    }


def model_folder(folder, patch: list[int], built: dict, folds: list[dict], labels: dict = LABELS, **plan) -> None:
    """An nnU-Net model folder with a CT and an MR channel; ``folds`` are the weights."""
    resampling = {
        f"resampling_fn_{what}{suffix}": value
        for what, order in ORDERS.items()
        for suffix, value in (
            ("", "resample_data_or_seg_to_shape"),
            ("_kwargs", {"is_seg": what == "seg", "order": order, "order_z": 0, "force_separate_z": None}),
        )
    }
    name = "2d" if len(patch) == 2 else "3d_fullres"
    configuration = {
        "patch_size": patch,
        "spacing": [1.0] * len(patch),
        "preprocessor_name": "DefaultPreprocessor",
        "normalization_schemes": ["CTNormalization", "ZScoreNormalization"],
        "use_mask_for_norm": [False, True],
        "architecture": built,
        "simple_unet": {"deep_supervision": False, "learning_rate": 5e-3},
        **resampling,
    }
    intensities = {"mean": 40.0, "std": 90.0, "percentile_00_5": -120.0, "percentile_99_5": 200.0}
    plans = {
        "dataset_name": "Dataset001_Made",
        "plans_name": "SimpleUNetPlans",
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "foreground_intensity_properties_per_channel": {"0": intensities, "1": intensities},
        "label_manager": "LabelManager",
        "configurations": {name: configuration},
        **plan,
    }
    dataset = {"channel_names": {"0": "CT", "1": "MR"}, "file_ending": ".nii.gz", **labels}
    folder.mkdir()
    (folder / "plans.json").write_text(json.dumps(plans))
    (folder / "dataset.json").write_text(json.dumps(dataset))
    for number, weights in enumerate(folds):
        (folder / f"fold_{number}").mkdir()
        checkpoint = {
            "network_weights": weights,
            "trainer_name": "nnUNetTrainerSimpleUNet",
            "init_args": {"configuration": name},
            "inference_allowed_mirroring_axes": tuple(range(len(patch))),
        }
        torch.save(checkpoint, folder / f"fold_{number}" / "checkpoint_final.pth")


def build(built: dict, *, heads: int = 3) -> SimpleUNet | SimpleESKNet:
    """The network itself, without nnU-Net, after a step that moves the norms' statistics."""
    torch.manual_seed(0)
    kwargs = dict(built["arch_kwargs"])
    for name in ("conv_op", "norm_op"):
        kwargs[name] = getattr(torch.nn, kwargs[name].split(".")[-1])
    network = {"SimpleUNet": SimpleUNet, "SimpleESKNet": SimpleESKNet}[built["network_class_name"].split(".")[-1]]
    network = network(input_channels=2, num_classes=heads, **kwargs)
    with torch.no_grad():
        network.train()(torch.randn(2, 2, *[16] * (len(kwargs["strides"][0]))))
    return network.eval()


def session(file) -> tuple[onnxruntime.InferenceSession, dict]:
    opened = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    return opened, {name: json.loads(text) for name, text in opened.get_modelmeta().custom_metadata_map.items()}


SETTINGS = {
    "gate, depthwise, dilation, batch norm, head norm": {
        "fusion": "gate",
        "operators": "depthwise",
        "dilation": 2,
        "norm": "torch.nn.modules.batchnorm.BatchNorm",
        "head_norm": True,
        "n_stages": 2,
    },
    "add, grouped, early reduction": {"fusion": "add", "operators": "grouped", "early_reduction": True},
    "esk": {"network": SimpleESKNet, "n_stages": 2},
}


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_onnxruntime_answers_as_torch(tmp_path, settings, dims):
    """For the default settings the tests of whole images say so."""
    strides = {"strides": [[1] * dims, [2] * dims]} if settings.get("n_stages") == 2 else {}
    built = architecture(dims, **settings, **strides)
    network = build(built)
    patch = [13, 10, 15][-dims:]  # pooling rounds down
    model_folder(tmp_path / "model", patch, built, [network.state_dict()])
    export_onnx(tmp_path / "model", tmp_path / "x.onnx", folds=[0])
    runtime, _ = session(tmp_path / "x.onnx")
    for batch in (1, 3):
        image = torch.randn(batch, 2, *patch)
        with torch.no_grad():
            expected = network(image).numpy()
        (logits,) = runtime.run(None, {"image": image.numpy()})
        assert expected.std() > 1e-3
        np.testing.assert_allclose(logits, expected, rtol=0, atol=min(1e-4, 0.01 * expected.std()))
        clear = np.diff(np.sort(expected, 1)[:, -2:], axis=1)[:, 0] > 1e-4
        np.testing.assert_array_equal(logits.argmax(1)[clear], expected.argmax(1)[clear])


def resample(image: np.ndarray, shape: list[int], settings: dict) -> np.ndarray:
    assert settings["function"] == "resample_data_or_seg_to_shape"
    return np.stack([resize(c, shape, settings["order"], mode="edge", anti_aliasing=False) for c in image])


def normalize(image: np.ndarray, mask: np.ndarray, channels: list[dict]) -> np.ndarray:
    image = image.copy()
    for voxels, channel in zip(image, channels, strict=True):
        inside = mask if channel["use_mask_for_norm"] else np.ones_like(mask)
        if channel["normalization"] == "CTNormalization":
            voxels[:] = voxels.clip(channel["percentile_00_5"], channel["percentile_99_5"])
            voxels[:] = (voxels - channel["mean"]) / channel["std"]
        else:
            assert channel["normalization"] == "ZScoreNormalization"
            voxels[inside] = (voxels[inside] - voxels[inside].mean()) / voxels[inside].std()
    return image


def slide(run, image: np.ndarray, settings: dict) -> np.ndarray:
    """Logits of an image ``[C, *spatial]``."""
    patch = settings["patch_size"]
    missing = [max(tile - edge, 0) for edge, tile in zip(image.shape[1:], patch, strict=True)]
    unpadded = tuple(slice(m // 2, m // 2 + edge) for m, edge in zip(missing, image.shape[1:], strict=True))
    image = np.pad(image, [(0, 0), *((m // 2, m - m // 2) for m in missing)])
    starts = []
    for edge, tile in zip(image.shape[1:], patch, strict=True):
        steps = ceil((edge - tile) / (tile * settings["tile_step_size"]))
        starts.append([round((edge - tile) / steps * i) for i in range(steps + 1)] if steps else [0])
    gaussian = settings["gaussian"]
    squares = [
        ((np.arange(edge) - center) / sigma) ** 2
        for edge, center, sigma in zip(patch, gaussian["center"], gaussian["sigma"], strict=True)
    ]
    weight = (gaussian["maximum"] * np.exp(-0.5 * sum(np.ix_(*squares)))).clip(gaussian["minimum"])
    axes = [axis + 1 for axis in settings["mirror_axes"]]
    flips = list(chain.from_iterable(combinations(axes, n) for n in range(len(axes) + 1)))
    total = summed = 0.0
    for start in product(*starts):
        window = (slice(None), *(slice(first, first + edge) for first, edge in zip(start, patch, strict=True)))
        views = run(np.stack([np.flip(image[window], axes) for axes in flips]))
        tile = np.mean([np.flip(view, axes) for view, axes in zip(views, flips, strict=True)], 0)
        if start == tuple(axis[0] for axis in starts):
            total, summed = np.zeros((len(tile), *image.shape[1:])), np.zeros(image.shape[1:])
        total[window] += weight * tile
        summed[window[1:]] += weight
    return (total / summed)[(slice(None), *unpadded)]


def predict(file, image: np.ndarray, spacing: list[float]) -> tuple[np.ndarray, np.ndarray]:
    """Labels of a raw image ``[C, z, y, x]``, and how clear each is, from the file alone."""
    runtime, settings = session(file)
    steps, labels = settings["preprocessing"], settings["labels"]
    image = image.transpose(0, *[axis + 1 for axis in steps["transpose_forward"]]).astype(np.float32)
    spacing = [spacing[axis] for axis in steps["transpose_forward"]]
    target = [*spacing[: 3 - len(steps["spacing"])], *steps["spacing"]]
    assert steps["crop"] == "nonzero"
    mask = binary_fill_holes((image != 0).any(0))
    box = tuple(slice(where.min(), where.max() + 1) for where in np.nonzero(mask))
    inside = normalize(image[(slice(None), *box)], mask[box], settings["channels"])
    cropped = inside.shape[1:]
    shape = [round(edge * old / new) for edge, old, new in zip(cropped, spacing, target, strict=True)]
    inside = resample(inside, shape, steps["resampling"]["data"])

    def run(patches: np.ndarray) -> np.ndarray:
        return runtime.run(None, {"image": np.ascontiguousarray(patches, np.float32)})[0]

    if len(steps["spacing"]) == 2:
        logits = np.stack([slide(run, inside[:, z], settings["sliding_window"]) for z in range(shape[0])], 1)
    else:
        logits = slide(run, inside, settings["sliding_window"])
    logits = resample(logits, cropped, steps["resampling"]["probabilities"])
    found, clear = np.zeros(mask.shape, int), np.full(mask.shape, np.inf)
    if labels["rule"] == "argmax":
        found[box] = np.array(labels["values"])[logits.argmax(0)]
        clear[box] = np.diff(np.sort(logits, 0)[-2:], axis=0)[0]
    else:
        assert labels["rule"] == "sigmoid > 0.5"
        for value, logit in zip(labels["values"], logits, strict=True):
            found[box][logit > 0] = value
        clear[box] = np.abs(logits).min(0)
    back = steps["transpose_backward"]
    return found.transpose(back), clear.transpose(back)


def made_image(shape: tuple[int, ...], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A CT and an MR channel ``[2, *shape]`` that are 0 around the object, and labels that the channels tell."""
    rng = np.random.default_rng(seed)
    smooth = gaussian_filter(rng.normal(size=(2, *shape)), (0, 2, 2, 2))
    smooth /= smooth.std()
    truth = (smooth[0] > 0.3).astype(np.int8) + ((smooth[0] > 0.3) & (smooth[1] > -0.3))
    image = np.stack([80 * smooth[0] + 50, 7 * smooth[1] + 100])
    outside = np.ones(shape, bool)
    outside[2:, 1:, :-2] = False
    outside[:6, :6, :6] = True  # in the box, outside the mask
    image[:, outside], truth[outside] = 0, 0
    return image.astype(np.float32), truth[None]


def trained(plans_folder, patch: list[int], *, steps: int, seed: int) -> dict:
    """Weights after some steps on patches of one image that nnU-Net has preprocessed."""
    plans, dataset = (json.loads((plans_folder / f"{name}.json").read_text()) for name in ("plans", "dataset"))
    manager = PlansManager(plans)
    (name,) = plans["configurations"]
    configuration = manager.get_configuration(name)
    data, seg, _ = DefaultPreprocessor(verbose=False).run_case_npy(
        *made_image((24, 40, 60), seed), {"spacing": [1.0, 1.0, 1.0]}, manager, configuration, dataset
    )
    data, seg = torch.from_numpy(data), torch.from_numpy(seg[0]).long().clamp(0)
    labels = manager.get_label_manager(dataset)
    network = build(plans["configurations"][name]["architecture"], heads=labels.num_segmentation_heads).train()
    optimizer = torch.optim.AdamW(network.parameters(), 1e-2)
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        edges = [1, *patch][-3:]
        windows = [
            tuple(
                slice(first, first + edge)
                for first, edge in ((rng.integers(0, n - e + 1), e) for n, e in zip(seg.shape, edges, strict=True))
            )
            for _ in range(4)
        ]
        image = torch.stack([data[(slice(None), *window)] for window in windows]).view(4, 2, *patch)
        truth = torch.stack([seg[window] for window in windows]).view(4, *patch)
        logits = network(image)
        if labels.has_regions:
            regions = torch.stack([truth >= 1, truth == 2], 1).float()
            loss = F.binary_cross_entropy_with_logits(logits, regions)
        else:
            loss = F.cross_entropy(logits, truth)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network.state_dict()


@pytest.mark.parametrize(
    ("patch", "folds", "labels", "spacing", "plan"),
    [
        ([20, 45], 2, REGIONS, [2.0, 1.0, 1.0], {}),
        (
            [12, 16, 20],
            1,
            LABELS,
            [1.1, 0.8, 1.0],
            {"transpose_forward": [1, 0, 2], "transpose_backward": [1, 0, 2]},
        ),
    ],
    ids=["2d, regions, two folds, padded", "3d, labels, transposed, resampled"],
)
def test_the_file_alone_gives_nnunets_labels(tmp_path, nnunet_env, patch, folds, labels, spacing, plan):
    built = architecture(len(patch))
    model_folder(tmp_path / "plans", patch, built, [], labels, **plan)
    weights = [trained(tmp_path / "plans", patch, steps=80, seed=fold) for fold in range(folds)]
    model_folder(tmp_path / "model", patch, built, weights, labels, **plan)
    export_onnx(tmp_path / "model", tmp_path / "x.onnx", folds=range(folds))
    assert [path.name for path in tmp_path.glob("*x.onnx")] == ["x.onnx"]

    image, truth = made_image((18, 34, 42), seed=7)
    predictor = nnUNetPredictor(device=torch.device("cpu"), allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(str(tmp_path / "model"), tuple(range(folds)))
    expected = predictor.predict_single_npy_array(image, {"spacing": spacing})
    found, clear = predict(tmp_path / "x.onnx", image, spacing)
    # nnU-Net adds up tiles in float16, which leaves a few voxels between two labels undecided
    different = found != expected
    assert different.mean() < 1e-3
    assert (clear[different] < np.percentile(clear[np.isfinite(clear)], 2)).all()
    assert (expected == truth[0]).mean() > 0.85 and len(np.unique(expected)) == 3


def entries(settings: dict | list) -> set[str]:
    """All keys, at any depth."""
    if isinstance(settings, list):
        return set().union(*map(entries, settings))
    if not isinstance(settings, dict):
        return set()
    inside = [entries(value) for key, value in settings.items() if key != "names"]
    return set(settings).union(*inside)


def test_the_metadata(tmp_path, checkout):
    built = architecture(2)
    plan = {"image_reader_writer": "NaturalImage2DIO"}
    model_folder(tmp_path / "model", [16, 16], built, [], REGIONS, **plan)
    plans, dataset = (json.loads((tmp_path / "model" / f"{name}.json").read_text()) for name in ("plans", "dataset"))

    def described(labels: dict, axes: tuple[int, ...] | None = None) -> dict:
        names = {"configuration": "2d", "trainer": "T", "mirroring_axes": axes, "folds": ["all"]}
        return prediction_settings.prediction_settings(plans, dataset | labels, **names)

    settings = described({})
    assert settings["model"]["folds"] == ["all"] and settings["preprocessing"]["reader"] == "NaturalImage2DIO"
    assert settings["sliding_window"]["mirror_axes"] == []
    plans["configurations"]["2d"]["mirroring"] = {"axes": [0, 1], "swap": {"1": [[1, 2]]}}
    torn, paired = (described(labels, (0, 1))["sliding_window"] for labels in ({}, LABELS))
    assert (torn["mirror_axes"], torn["mirror_swap"]) == ([0], {}), "core would become a region that is none"
    assert (paired["mirror_axes"], paired["mirror_swap"]) == ([0, 1], {"1": [0, 2, 1]})
    explained = words_of_the_page(checkout)
    assert entries(settings) | set(prediction_settings.INTENSITY_STATISTICS) - {"NoNormalization"} <= explained
    names = {"background": 0, "whole": [1, 2], "core": [2]}
    assert settings["labels"] == {"names": names, "rule": "sigmoid > 0.5", "values": [1, 2]}
    assert described(LABELS)["labels"]["values"] == [0, 1, 2]
    plans["configurations"]["2d"]["normalization_schemes"][1] = "MineNormalization"
    with pytest.raises(InputError, match=r"Channel 1 \(MR\) is normalised by MineNormalization, .* it knows ZScore"):
        described({})


def words_of_the_page(checkout) -> set[str]:
    """What docs/reference/onnx.md names where it explains the metadata."""
    page = (checkout / "docs/reference/onnx.md").read_text(encoding="utf-8").split("\n## Predicting with it\n")[1]
    return set(re.findall(r"`(\w+)`", page))


@pytest.mark.parametrize("network", OBJECTS)
def test_the_metadata_of_objects(tmp_path, checkout, network):
    model = load_tiled(open_model(tiny_model(tmp_path / "model", network)), None)
    settings = model.settings
    assert entries(settings) <= words_of_the_page(checkout)
    assert settings["objects"]["thing_classes"] == [1] and settings["objects"]["score_threshold"] == 0.02
    assert settings["sliding_window"]["overlap"] == [16, 16] and settings["preprocessing"]["crop"] == "none"
    if network == "IAUNet":
        assert settings["objects"]["tile_score_threshold"] == model.network.folds[0].score_threshold
    else:
        clustering = model.network.folds[0].clustering
        assert settings["objects"]["affinity_threshold"] == clustering["threshold"]
        assert settings["objects"]["min_pixels"] == clustering["min_pixels"]
        assert settings["objects"]["thing_channels"] == [1] and settings["objects"]["stuff_classes"] == [2]


def test_what_is_missing_is_told(tmp_path, monkeypatch):
    built = architecture(2)
    model_folder(tmp_path / "model", [16, 16], built, [build(built).state_dict()])
    file = tmp_path / "x.onnx"
    for path, options, fault in (
        (file, {"folds": [0, 3]}, "Fold 3 in .* has no checkpoint_final.pth; the folds that have one are 0"),
        (file, {"folds": []}, "No fold of .* is named"),
        (file, {"folds": "all"}, "Fold all in .* has no checkpoint_final.pth"),
        (tmp_path / "nowhere" / "x.onnx", {}, "nowhere is not a folder; make it"),
        (tmp_path / "x.zip", {}, r"does not end with \.onnx; name the ONNX file of maskmed export x\.onnx"),
        (tmp_path / "model" / "x.onnx", {}, "is in the folder of the model"),
    ):
        with pytest.raises(InputError, match=fault):
            export_onnx(tmp_path / "model", path, **options)
    file.write_text("mine")
    with pytest.raises(
        InputError, match=r"x\.onnx exists and is not an ONNX file of maskmed export, so it is not replaced"
    ):
        export_onnx(tmp_path / "model", file)
    assert file.read_text() == "mine"
    file.unlink()
    plans = json.loads((tmp_path / "model" / "plans.json").read_text())
    plans["configurations"]["2d"]["architecture"]["network_class_name"] = "other.Network"
    (tmp_path / "model" / "plans.json").write_text(json.dumps(plans))
    with pytest.raises(InputError, match="for the network other.Network, not for"):
        export_onnx(tmp_path / "model", file)
    monkeypatch.setattr(output_file, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"needs onnx, onnxscript, .* pip install 'maskmed-nnu\[export\]'"):
        export_onnx(tmp_path / "model", file, folds=[0])
    assert not list(tmp_path.glob("*.onnx"))


def test_each_fold_finds_objects_of_its_own(tmp_path):
    folder = tiny_model(tmp_path / "model", "IAUNet", folds=(0, 1))
    with pytest.raises(InputError, match="with 2 folds, which predict different objects .*; name one fold, such as 0"):
        export_onnx(folder, tmp_path / "x.onnx")


def test_settings_of_objects_in_volumes_have_three_axes(tmp_path):
    tiled = load_tiled(open_model(tiny_model(tmp_path / "model", "IAUNet", dim=3)), None)
    assert tiled.settings["sliding_window"]["patch_size"] == [8, 16, 16]
    assert len(tiled.settings["sliding_window"]["overlap"]) == 3


FAST = [("MaskMed", 3)]
SLOW = [("MaskMed", 2), ("IAUNet", 2), ("MaskAttnUNet", 2), ("MaskAttnUNetPanoptic", 2)]
GRAPHS = [*FAST, *(pytest.param(*graph, marks=pytest.mark.slow) for graph in SLOW)]


@pytest.mark.parametrize(("network", "dim"), GRAPHS, ids=[f"{name}-{dim}d" for name, dim in FAST + SLOW])
def test_label_maps_by_the_graph_of_every_network(tmp_path, network, dim, monkeypatch):
    """Standard operators only; outputs as PyTorch's for any batch; nnU-Net with the graph for its network writes the
    same label maps. Of SimpleUNet the other tests say so."""
    trained = network == "IAUNet"  # an untrained one finds nothing
    source = "nuclei" if trained else tiny_model(tmp_path / "model", network, dim=dim)
    file, opened = tmp_path / "x.onnx", open_model(source)
    export_onnx(source, file)
    assert {entry.domain for entry in onnx.load(file).opset_import} <= {"", "ai.onnx"}
    runtime, tiled = session(file)[0], load_tiled(opened, None)
    names = [output.name for output in runtime.get_outputs()]
    for batch in (1, 3):
        image = torch.randn(batch, 1, *tiled.settings["sliding_window"]["patch_size"])
        with torch.no_grad():
            expected = tiled.network.tensors(image)
        found = dict(zip(names, map(torch.from_numpy, runtime.run(None, {"image": image.numpy()})), strict=True))
        assert list(found) == list(expected) and onnx_models.max_difference(expected, found) < 1e-3
    model = mm.load(source, device="cpu")
    monkeypatch.setattr(case_prediction, "PREDICTED_PIXELS", 0)  # the graph has tiles of the planned size
    noise = np.random.default_rng(0).normal(size=(6, 20, 17) if dim == 3 else (40, 45)).astype(np.float32)
    picture = mm.example("nuclei") if trained else noise
    spacing = (1.0,) * dim if network == "MaskMed" else None
    by_torch = model.predict(picture, spacing=spacing).labels
    predictor = model._load()
    predictor.network = onnx_models.RuntimeNetwork(runtime, predictor.network)
    by_runtime = model.predict(picture, spacing=spacing).labels
    assert (by_torch == by_runtime).mean() >= 0.999 and len(np.unique(by_torch)) > 1


@pytest.mark.slow
@pytest.mark.parametrize("queries", ["image", "learned"])
def test_a_graph_of_objects_in_volumes_answers_as_torch(queries):
    torch.manual_seed(0)
    network = build_iaunet(3, queries=queries).eval()
    settings = {"channels": [0, 1], "sliding_window": {"patch_size": [8, 16, 24]}}
    model = TiledModel(Outputs([network], of_objects=True).eval(), settings, None)
    runtime = onnxruntime.InferenceSession(trace(model).model_proto.SerializeToString())
    image = torch.randn(3, 2, 8, 16, 24)
    with torch.no_grad():
        expected = network.tile_tensors(image)
    found = runtime.run(None, {"image": image.numpy()})
    for output, numbers in zip(runtime.get_outputs(), found, strict=True):
        torch.testing.assert_close(torch.from_numpy(numbers), expected[output.name], atol=1e-5, rtol=1e-4)


def test_learned_queries_have_masks_of_the_whole_patch(tmp_path):
    """The tensors are those from which `predict_instances` takes the objects."""
    network = IAUNet(
        input_channels=1, num_classes=2, num_things=1, width=16, levels=2, pyramid=(8,), queries="learned",
        num_queries=6, heads=2, ffn=16, mask_channels=4, n_stages=3, features_per_stage=[4, 8, 8],
        conv_op=torch.nn.Conv2d, kernel_sizes=[[3, 3]] * 3, strides=[[1, 1], [2, 2], [2, 2]], n_conv_per_stage=[1] * 3,
        conv_bias=True, nonlin=torch.nn.LeakyReLU, score_threshold=0.0,
    ).eval()  # fmt: skip
    image = torch.randn(2, 1, 32, 32)
    with torch.no_grad():
        tensors = network.tile_tensors(image)
    assert not {"peaks", "corners"} & set(tensors) and tensors["masks"].shape == (2, 6, 32, 32)
    for tile, scores, masks in zip(network.predict_instances(image), tensors["scores"], tensors["masks"], strict=True):
        kept = (masks * 255).round().ge(128).flatten(1).any(1)
        torch.testing.assert_close(tile.scores, scores[kept], atol=1e-5, rtol=1e-4)
        for box, mask, whole in zip(tile.boxes.tolist(), tile.masks, masks[kept], strict=True):
            part = (whole[box[0] : box[2], box[1] : box[3]] * 255).round().byte()
            assert torch.equal(part, mask)
