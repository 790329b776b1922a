"""The file of a model package: a .zip of JSON and safetensors, nothing of which is unpacked or executed.

::

    package.json             `Manifest`: what the model is, and size and SHA-256 of every other file
    plans.json               nnU-Net's plans
    dataset.json             nnU-Net's description of the data set
    fold_<N>.safetensors     weights; a parameter that has several names is stored once, the others in the metadata
    README.md                the model card
    example.png              a picture to try it with; there may be none

Everything is stored as it is, not compressed, so that no content is larger than the file.
``docs/reference/model-package.md`` describes
the format for other programs.
"""

from __future__ import annotations

import hashlib
import json
import re
import zipfile
import zlib
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from maskmed_nnu.errors import InputError
from maskmed_nnu.instances.text import format_list
from maskmed_nnu.json_file import shown

FORMAT_VERSION = 1
KNOWN_NNUNET = ("2.8",)
"""Releases of nnU-Net whose plans and networks this release of ours understands."""
MANIFEST, PLANS, DATASET, CARD = "package.json", "plans.json", "dataset.json", "README.md"
EXAMPLES = (".nii.gz", ".nii", ".nrrd", ".mha", ".gipl", ".png", ".bmp", ".jpg", ".jpeg", ".tif", ".tiff")
"""Endings of pictures, none of which anything is executed from."""
NAMES = re.compile(
    r"plans\.json|dataset\.json|README\.md|fold_([0-9]+|all)\.safetensors|"
    rf"example({'|'.join(map(re.escape, EXAMPLES))})"
)
RELEASE = r"^[A-Za-z0-9.+-]{1,64}$"
LONGEST_TEXT = 64 * 2**20  # bytes
NNUNET_MODEL = re.compile(r"\w+__\w+__\w+/")
DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, RuntimeError, NotImplementedError)
"""What the standard library raises for zip files that are damaged, encrypted or made for other programs."""


class StoredFile(BaseModel):
    """Size in bytes and SHA-256 of a file in the package."""

    model_config = ConfigDict(extra="forbid", strict=True)
    size: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class Manifest(BaseModel):
    """The content of ``package.json``."""

    model_config = ConfigDict(extra="forbid", strict=True)
    format_version: int
    name: str = Field(min_length=1, max_length=255)
    trainer: str = Field(pattern=r"^\w+$")
    configuration: str
    folds: list[Annotated[str, Field(pattern=r"^([0-9]+|all)$")]] = Field(min_length=1)
    mirroring_axes: list[int] | None
    precision: Literal["float16", "float32"]
    maskmed_nnu: str = Field(pattern=RELEASE)
    nnunetv2: str = Field(pattern=RELEASE)
    files: dict[str, StoredFile]


class PackageFile:
    """A package that was checked: whole, of a format and release that we know.

    Raises:
        InputError: says what is wrong.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with zipfile.ZipFile(path) as archive:
                self.manifest = self._read_manifest(archive)
                self._check_list(archive)
                for name in self.manifest.files:
                    self._read(archive, name)
        except DAMAGE as error:
            if isinstance(error, InputError):
                raise
            raise self._damaged(error) from None

    def read(self, name: str) -> bytes:
        """The content of a file of the package.

        Raises:
            InputError: where it is not what it was when the package was opened.
        """
        try:
            with zipfile.ZipFile(self.path) as archive:
                return self._read(archive, name)
        except DAMAGE as error:
            if isinstance(error, InputError):
                raise
            raise self._damaged(error) from None

    def read_json(self, name: str) -> dict[str, Any]:
        """The JSON object in a file of the package."""
        return self._parse(name, self.read(name))

    def _read_manifest(self, archive: zipfile.ZipFile) -> Manifest:
        names = archive.namelist()
        if MANIFEST not in names:
            if any(NNUNET_MODEL.search(name) for name in names):
                raise InputError(
                    f"{self.path} is a zip file of nnUNetv2_export_model_to_zip, not a model package; install it with "
                    f"nnUNetv2_install_pretrained_model_from_zip {self.path} and name the model's folder."
                )
            raise InputError(
                f"{self.path} is a zip file without {MANIFEST}, so it is not a model package; name a file that "
                "`maskmed export` wrote."
            )
        self._check_stored(archive)
        content = self._parse(MANIFEST, archive.read(MANIFEST))
        version = content.get("format_version")
        if isinstance(version, int) and version > FORMAT_VERSION:
            raise InputError(
                f"{self.path} is a package of format {version}, but this version of maskmed_nnu reads formats up to "
                f"{FORMAT_VERSION}; install a newer one."
            )
        try:
            manifest = Manifest.model_validate(content)
        except ValidationError as error:
            fault = error.errors(include_url=False, include_context=False, include_input=False)[0]
            place = shown(".".join(map(str, fault["loc"])))
            raise InputError(
                f"{MANIFEST} in {self.path} is not as `maskmed export` writes it ({place}: {fault['msg']}); get "
                "the package again."
            ) from None
        if manifest.format_version != FORMAT_VERSION:
            raise InputError(
                f"{self.path} is a package of format {manifest.format_version}, which does not exist; get the "
                "package again."
            )
        release = ".".join(manifest.nnunetv2.split(".")[:2])
        if release not in KNOWN_NNUNET:
            raise InputError(
                f"{self.path} holds a model of nnU-Net {manifest.nnunetv2}, but this maskmed_nnu reads those of "
                f"nnU-Net {format_list(KNOWN_NNUNET)}; install the maskmed_nnu that made it, {manifest.maskmed_nnu}."
            )
        return manifest

    def _check_stored(self, archive: zipfile.ZipFile) -> None:
        """Nothing compressed or encrypted, and not more in the files than there is on the disk."""
        infos = archive.infolist()
        changed = [info.filename for info in infos if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1]
        if changed:
            raise InputError(
                f"{self.path} was repacked by another program ({format_list(map(repr, changed), 3)} is compressed "
                "or encrypted); take the original file of `maskmed export`."
            )
        if sum(info.file_size for info in infos) > self.path.stat().st_size:
            raise InputError(f"{self.path} claims to hold more than its own size; it is damaged or forged.")
        long = [info.filename for info in infos if info.filename.endswith((".json", ".md"))]
        if any(archive.getinfo(name).file_size > LONGEST_TEXT for name in long):
            raise InputError(f"{self.path} holds JSON of more than {LONGEST_TEXT >> 20} MB; it is damaged or forged.")

    def _check_list(self, archive: zipfile.ZipFile) -> None:
        """Exactly the files that ``package.json`` lists, under names of the format."""
        names, listed = archive.namelist(), self.manifest.files
        weights = {weights_file(fold) for fold in self.manifest.folds}
        needed = {PLANS, DATASET, CARD, *weights}
        missing = sorted((needed | set(listed)) - set(names))
        if missing:
            raise InputError(f"{self.path} lacks {format_list(map(repr, missing), 3)}; get the package again.")
        extra = sorted(
            {name for name in names if name != MANIFEST and (name not in listed or not NAMES.fullmatch(name))}
            | {name for name in listed if name.startswith("fold_") and name not in weights}
            | {name for name, number in Counter(names).items() if number > 1}
            | (needed - set(listed))
        )
        if extra:
            raise InputError(
                f"{self.path} holds files that do not belong in it, or are in it twice "
                f"({format_list(map(repr, extra), 3)}); get the package again."
            )

    def _read(self, archive: zipfile.ZipFile, name: str) -> bytes:
        expected = self.manifest.files[name]
        if archive.getinfo(name).file_size != expected.size:
            raise self._damaged(ValueError(f"{name} does not have the size given in {MANIFEST}"))
        content = archive.read(name)
        if hashlib.sha256(content).hexdigest() != expected.sha256:
            raise self._damaged(ValueError(f"{name} does not have the checksum given in {MANIFEST}"))
        return content

    def _parse(self, name: str, content: bytes) -> dict[str, Any]:
        try:
            parsed = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{name} in {self.path} is not valid JSON ({error}); get the package again.") from None
        if not isinstance(parsed, dict):
            raise InputError(f"{name} in {self.path} is not a JSON object; get the package again.")
        return parsed

    def _damaged(self, error: Exception) -> InputError:
        return InputError(
            f"{self.path} is damaged, truncated or not a model package ({str(error).rstrip('.')}); copy or download it "
            "again."
        )


def weights_file(fold: str) -> str:
    """The name of a fold's weights in the package."""
    return f"fold_{fold}.safetensors"
