"""A trained 2D model in the format of the BioImage Model Zoo (https://bioimage.io), with ONNX weights.

ONNX rather than torchscript: it is written for every network anyway, and runs without PyTorch. The test output is
what onnxruntime makes of the test input, so that whoever tests the package tests what is in it.
"""

from __future__ import annotations

import json
import re
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from maskmed_nnu.atomic_write import write_atomically
from maskmed_nnu.errors import InputError
from maskmed_nnu.instances.text import format_list
from maskmed_nnu.nnunet.inference.model_package import PackageModel
from maskmed_nnu.nnunet.inference.model_source import ModelSource, open_model
from maskmed_nnu.nnunet.model_sharing.bioimageio_tensors import describe_tensors, preprocessing
from maskmed_nnu.nnunet.model_sharing.model_card import model_card
from maskmed_nnu.nnunet.model_sharing.onnx_export import TiledModel, load_tiled, trace
from maskmed_nnu.nnunet.model_sharing.output_file import check_output, need_packages
from maskmed_nnu.version import package_version

SHORTEST_NAME = 5
DESCRIPTIONS = ("bioimageio.yaml", "rdf.yaml")
USAGE = """\
A model in the format of bioimage.io, made with maskmed_nnu, the plug-in for nnU-Net. Its network takes one patch; the
metadata of the ONNX file in it say how whole images are predicted. What is described here as preprocessing is done to
the patch; nnU-Net does it to the whole image, and brings it to the model's spacing before."""
NNUNET = {
    "text": "Isensee, F. et al.: nnU-Net: a self-configuring method for deep learning-based biomedical image "
    "segmentation. Nature Methods 18 (2021)",
    "doi": "10.1038/s41592-020-01008-z",
}


def export_bioimageio(
    source: str | Path,
    file: str | Path,
    *,
    folds: Sequence[int | str] | int | str | None,
    checkpoint: str,
    card: str,
    figures: Mapping[str, Any] | None,
    example: Path | None,
    authors: Sequence[str],
    licence: str | None,
) -> Path:
    """See `maskmed_nnu.export`."""
    file = Path(file).expanduser()
    if not authors:
        raise InputError("bioimage.io requires the authors of the model, and none are given; name one or more.")
    if example is None:
        raise InputError("bioimage.io requires an image to test the model with, and none is given; name an example.")
    if not example.is_file():
        raise InputError(f"The example {example} is not a file; name an image that the model can segment.")
    need_packages("A package for bioimage.io", "onnx", "onnxscript", "onnxruntime", "bioimageio.spec")
    model = open_model(source, checkpoint=checkpoint)
    check_output(file, model, ending=".zip", kind="package for bioimage.io", is_ours=_is_package)
    licence = licence or _licence_of(model.dataset_json)
    check_licence(licence)
    tiled = load_tiled(model, folds)
    if len(tiled.settings["sliding_window"]["patch_size"]) != 2:
        raise InputError(
            f"{model.name} is a model of volumes, and only models of images are written for bioimage.io; take a "
            "configuration 2d, or an ONNX file."
        )
    steps = preprocessing(tiled.settings)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        description = _write_files(
            tiled, model, folder, name=file.stem, card=card, figures=figures, authors=authors, licence=licence
        )
        description.update(describe_tensors(tiled, folder, example, steps))
        described = _validated(description, folder)
        from bioimageio.spec import save_bioimageio_package

        write_atomically(file, lambda partial: save_bioimageio_package(described, output_path=partial))
    return file


def _write_files(
    tiled: TiledModel,
    model: ModelSource,
    folder: Path,
    *,
    name: str,
    card: str,
    figures: Mapping[str, Any] | None,
    authors: Sequence[str],
    licence: str,
) -> dict[str, Any]:
    """Weights and documentation into ``folder``, and what `ModelDescr` is told beside the tensors."""
    trace(tiled).save(folder / "weights.onnx")
    about = tiled.settings["model"]
    if isinstance(model, PackageModel) and not (card or figures):
        text = model.card.decode("utf-8", "replace")
    else:
        manifest = {
            "name": name,
            "trainer": about["trainer"],
            "configuration": about["configuration"],
            "folds": about["folds"],
            "precision": "float32",
            "maskmed_nnu": package_version(),
            "nnunetv2": version("nnunetv2"),
        }
        text = model_card(
            manifest,
            dict(model.plans),
            model.dataset_json,
            parameters=sum(parameter.numel() for parameter in tiled.network.folds[0].parameters()),
            epochs=None,
            figures=figures,
            text=card,
            authors=authors,
            licence=licence,
            usage=USAGE,
        )
    (folder / "README.md").write_text(text, encoding="utf-8")
    labels = [label for label in model.dataset_json["labels"] if label != "background"]
    network = type(tiled.network.folds[0]).__name__
    what, kind = ("objects", "instance") if "objects" in tiled.settings else ("classes", "semantic")
    name = re.sub(r"[^\w+\- ()]|[^\x00-\x7f]", " ", name).strip()
    return {
        "name": name if len(name) >= SHORTEST_NAME else f"{name} ({network})".strip(),
        "description": f"{network} for {what}: {format_list(labels)}"[:1024],
        "authors": [{"name": author} for author in authors],
        "license": licence,
        "cite": [NNUNET],
        "tags": ["segmentation", "nnU-Net", network, f"{kind}-segmentation"],
        "documentation": {"source": "README.md"},
        "weights": {"onnx": {"source": "weights.onnx", "opset_version": about["opset"]}},
        "config": {"maskmed_nnu": json.loads(json.dumps(tiled.settings))},
    }


def _validated(description: dict[str, Any], folder: Path) -> Any:
    """bioimage.io's own object.

    Raises:
        InputError: with the first fault that it finds.
    """
    from bioimageio.spec import ValidationContext
    from bioimageio.spec.model.v0_5 import ModelDescr

    content = {"type": "model", "format_version": ModelDescr.implemented_format_version, **description}
    try:
        with ValidationContext(root=folder, perform_io_checks=True):
            return ModelDescr.model_validate(content)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_context=False, include_input=False)[0]
        if "too small for reliable testing" in fault["msg"]:
            raise InputError(
                "The model finds nothing in the middle of the example, and bioimage.io requires a test output "
                "that is not zero; name another image."
            ) from None
        if "SerializationInfo" in fault["msg"]:  # pydantic 2.14 refuses what bioimageio.spec 0.5.12 asks of it
            raise InputError(
                f"bioimageio.spec {version('bioimageio.spec')} does not work with pydantic {version('pydantic')}; "
                "install both as pip install 'maskmed-nnu[export]' does."
            ) from None
        place = ".".join(map(str, fault["loc"][:2]))
        raise InputError(f"bioimage.io does not accept this model ({place}: {fault['msg']}).") from None


def check_licence(name: str) -> None:
    """Refuse what is not a licence for bioimage.io.

    Raises:
        InputError: with an example.
    """
    from bioimageio.spec.generic.v0_3 import LicenseId

    try:
        LicenseId(name)
    except ValueError:
        raise InputError(
            f"{name!r} is not a licence that SPDX lists (https://spdx.org/licenses); name one of those, as CC-BY-4.0."
        ) from None


def _licence_of(dataset_json: Mapping[str, Any]) -> str:
    found = dataset_json.get("licence") or dataset_json.get("license")
    if not isinstance(found, str) or not found.strip():
        raise InputError(
            "bioimage.io requires the licence of the model, and none is given; name one of SPDX's, such as CC-BY-4.0."
        )
    return found.strip()


def _is_package(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name in archive.namelist() for name in DESCRIPTIONS)
    except (zipfile.BadZipFile, OSError):
        return False
