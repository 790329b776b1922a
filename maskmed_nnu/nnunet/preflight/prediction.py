"""Before nnU-Net's prediction."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from maskmed_nnu.errors import InputError
from maskmed_nnu.instances.text import count
from maskmed_nnu.nnunet.inference.trained_model import is_whole
from maskmed_nnu.nnunet.plans_handling.configuration import resolve_configuration
from maskmed_nnu.nnunet.plans_handling.label_manager import is_ours
from maskmed_nnu.nnunet.plans_handling.settings.mirroring import SECTION
from maskmed_nnu.nnunet.preflight.devices import device_faults
from maskmed_nnu.nnunet.preflight.disk import bytes_in, room_faults
from maskmed_nnu.nnunet.preflight.faults import Fault, named, read_file
from maskmed_nnu.nnunet.preflight.folders import writable_faults
from maskmed_nnu.nnunet.preflight.image_files import (
    broken_faults,
    cases_of,
    channel_faults,
    faulty_cases,
    headers_of,
    image_faults,
    list_folder,
    sound_cases,
)
from maskmed_nnu.nnunet.preflight.raw_data import ending_and_channels
from maskmed_nnu.nnunet.preprocessing.orientation_checks import files_by_code, in_words, read_codes

MAP_BYTES = 0.1
"""Of a voxel of a label map, compressed; that of few large objects takes a tenth of it."""
PROBABILITY_BYTES = 2
"""Of a voxel and class, float32 compressed to half."""
LEAST_SHARE = 0.1


class Prediction(NamedTuple):
    """What ``nnUNetv2_predict`` and ``nnUNetv2_predict_from_modelfolder`` were asked for."""

    model: Path | None
    images: str
    output: str
    folds: Sequence[int | str]
    checkpoint: str
    device: str = "cuda"
    previous_stage: str | None = None
    probabilities: bool = False
    given: bool = False
    """Whether the model's folder was named, rather than data set, trainer, plans and configuration."""


def prediction_faults(prediction: Prediction) -> list[Fault]:
    faults = [*device_faults(prediction.device), *writable_faults(Path(prediction.output), "-o")]
    source = Path(prediction.images)
    if not source.is_dir():
        what = "is a file" if source.exists() else "does not exist"
        faults.append(Fault("-i", f"{source} {what}", "name a folder of images"))
    model = prediction.model
    if model is None:
        return faults
    if not model.is_dir():
        return [*faults, _unknown_model(model, given=prediction.given)]
    faults += _fold_faults(model, prediction)
    left = {"expected": "what nnU-Net's training left", "advice": ", so copy the model's whole folder"}
    description, more = read_file(model / "dataset.json", **left)
    plans, again = read_file(model / "plans.json", **left)
    faults += [*more, *again]
    if isinstance(description, dict) and source.is_dir():
        configuration = _configuration(plans, model.name.rpartition("__")[2])
        faults += _image_faults(prediction, description, plans, configuration)
        faults += _orientation_faults(source, description, plans, configuration)
    return faults


def part_faults(part: int, parts: int, *, processes: int) -> Iterator[Fault]:
    """Of ``-part_id`` and ``-num_parts``, which nnU-Net leaves out where it starts no ``processes``."""
    if not 0 <= part < parts:
        legal = f"give a number from 0 to {parts - 1}" if parts > 1 else "omit it, or add -num_parts"
        yield Fault("-part_id", f"there is no part {part} of {count(parts, 'part')}", legal)
    elif parts > 1 and not processes:
        yield Fault("-num_parts", "with -npp 0 -nps 0 every part would predict all images", "take -npp 1 -nps 0")


def _unknown_model(model: Path, *, given: bool) -> Fault:
    if given:
        return Fault("-m", f"{model} does not exist", "name a folder that holds fold_0 or fold_all")
    parent = model.parent
    trained = sorted(path.name for path in parent.iterdir() if path.name.count("__") == 2) if parent.is_dir() else []
    what = f"there is no trained model {model.name} in {parent}"
    if not trained:
        return Fault("-tr, -p, -c", what, "train it first, or correct nnUNet_results")
    models = " or ".join("-tr {} -p {} -c {}".format(*name.split("__")) for name in trained[:3])
    more = f", or another of {len(trained)}" if len(trained) > 3 else ""
    return Fault("-tr, -p, -c", what, f"trained are {models}{more}")


def _fold_faults(model: Path, prediction: Prediction) -> Iterator[Fault]:
    """Folds that are requested, or taken by default, and have no such checkpoint."""
    checkpoint = prediction.checkpoint
    trained = sorted(path.parent.name.removeprefix("fold_") for path in model.glob(f"fold_*/{checkpoint}"))
    missing = [str(fold) for fold in prediction.folds if str(fold) not in trained]
    for name in (f"fold_{fold}/{checkpoint}" for fold in prediction.folds if str(fold) in trained):
        if not is_whole(model / name):
            yield Fault(name, "it is damaged or truncated", "copy it again, or take another one with -chk", model)
    if not missing:
        return
    if trained:
        what = f"fold{'s' * (len(missing) > 1)} {', '.join(missing)} of {model.name} {_have(missing)} no {checkpoint}"
        folds = [fold for fold in trained if fold != "all"] or trained
        single = " or -f all" if "all" in trained and folds != ["all"] else ""
        yield Fault("-f", what, f"add -f {' '.join(folds)}{single}")
        return
    others = sorted({path.name for path in model.glob("fold_*/*.pth")})
    cure = f"add -chk {others[0]}" if others else "train the model first"
    if len(others) > 1:
        cure = f"add -chk with one of {', '.join(others)}"
    yield Fault("-chk", f"no fold of {model.name} has a {checkpoint}", cure)


def _image_faults(
    prediction: Prediction, description: dict[str, Any], plans: Any, configuration: dict[str, Any]
) -> Iterator[Fault]:
    """What is wrong with single images is a note where others are left, which networks of ours go on with."""
    ending, channels = ending_and_channels(description)
    if ending is None:
        return
    source = Path(prediction.images).absolute()
    folder = list_folder(source, ending)
    where, root = source.name, source.parent
    headers = headers_of(folder)
    faulty = faulty_cases(folder, headers, channels or 1)
    left = sound_cases(folder, faulty)
    of_cases = list(channel_faults(folder, faulty, channels, where, root)) if channels else []
    previous, of_stage = configuration.get("previous_stage"), prediction.previous_stage
    if previous is not None and of_stage is None:
        what = f"the model starts from predictions of {previous}"
        yield Fault("-prev_stage_predictions", what, f"predict with {previous}, name its -o")
    elif previous is not None and of_stage is not None:
        missing = [case for case in sorted(cases_of(folder)) if not (Path(of_stage) / f"{case}{ending}").is_file()]
        left -= set(missing)
        of_cases += _previous_stage_faults(previous, of_stage, [f"{case}{ending}" for case in missing])
    goes_on = bool(left) and _goes_on(plans, configuration)
    if goes_on:
        of_cases += broken_faults(folder, where, root)
        folder = folder._replace(broken=[])
    legal, nested = ", the model's ending", "name the folder that holds the images"
    yield from image_faults(folder, where, root, legal=legal, nested=nested)
    yield from (_left_out(fault) if goes_on else fault for fault in of_cases)
    voxels = sum(header.values or 0 for header in headers.values()) / (channels or 1)
    needed, what = voxels * MAP_BYTES, "the predicted maps (a tenth of a byte for each voxel)"
    if prediction.probabilities:
        needed += voxels * PROBABILITY_BYTES * len(description.get("labels", ()))
        what = "maps and probabilities (2 bytes for each voxel and class)"
    needed -= bytes_in(Path(prediction.output))  # of a run before, which are kept or overwritten
    yield from room_faults(Path(prediction.output), int(needed), "-o", what, least=LEAST_SHARE)


def _goes_on(plans: Any, configuration: dict[str, Any]) -> bool:
    """Whether the network is ours, beside which nnU-Net's own stops at the first image that it cannot read."""
    if not isinstance(plans, dict):
        return False
    return any(is_ours(plans, one) for one in ([configuration] if configuration else _configurations(plans)))


def _left_out(fault: Fault) -> Fault:
    return fault._replace(cure=f"{fault.cure}; the others are predicted", note=True)


def _configuration(plans: Any, name: str) -> dict[str, Any]:
    """Empty for a folder of another name, whose configuration is in the checkpoint."""
    try:
        return dict(resolve_configuration(plans, name))
    except (InputError, AttributeError, TypeError, ValueError):
        return {}


def _configurations(plans: Any) -> list[dict[str, Any]]:
    configurations = plans.get("configurations") if isinstance(plans, dict) else None
    every = configurations.values() if isinstance(configurations, dict) else ()
    return [one for one in every if isinstance(one, dict)]


def _mirroring(plans: Any, configuration: dict[str, Any]) -> Any:
    """That of the configuration; where it is not known, of one that exchanges classes before others."""
    if configuration:
        return configuration.get(SECTION)
    found = [one[SECTION] for one in _configurations(plans) if isinstance(one.get(SECTION), dict)]
    return max(found, key=lambda mirroring: bool(mirroring.get("swap")), default=None)


def _orientation_faults(
    source: Path, description: dict[str, Any], plans: Any, configuration: dict[str, Any]
) -> Iterator[Fault]:
    """Images that are stored another way round than all those that the model was trained on; old plans do not say."""
    mirroring, ending = _mirroring(plans, configuration), ending_and_channels(description)[0]
    if not isinstance(mirroring, dict) or ending is None:
        return
    orientations = mirroring.get("orientations")
    counts = orientations if isinstance(orientations, dict) else {}
    trained = {code: number for code, number in counts.items() if set(code) <= set("LRPAIS")}  # others are not known
    if not trained:
        return
    reader = str(plans.get("image_reader_writer"))
    first_channel = f"_0000{ending}"
    images = [name for name in list_folder(source.absolute(), ending).files if name.endswith(first_channel)]
    codes = read_codes([source / name for name in images], reader=reader)
    other = files_by_code({file: code for file, code in codes.items() if code not in trained})
    if other:
        swaps = bool(mirroring.get("swap"))
        what = f"of {count(len(codes), 'image')} {in_words(other)}; in the training all were {' or '.join(trained)}"
        what += ", and the model tells left from right" * swaps
        usual = max(trained, key=lambda code: trained[code]).ljust(3, "S")  # of slices it has two letters
        cure = f"reorient the images first:\nmaskmed convert --reorient {usual} --images {source} --output NEW_FOLDER"
        yield Fault("-i", what, cure, note=not swaps)


def _previous_stage_faults(previous: str, folder: str, missing: Sequence[str]) -> Iterator[Fault]:
    if missing:
        what = f"{folder} lacks {count(len(missing), 'prediction')}: {named(missing)}"
        yield Fault("-prev_stage_predictions", what, f"predict all images with {previous} first")


def _have(folds: Sequence[str]) -> str:
    return "has" if len(folds) == 1 else "have"
