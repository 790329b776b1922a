"""Folders of images of which some are broken, each in its own way, through both commands that predict.

The images have two channels; the models have random weights::

    python -m tests.e2e.broken_images --images 500 --broken 25
"""

from __future__ import annotations

import argparse
import itertools
import re
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import tifffile

from tests.e2e.conftest import Workspace, open_workspace
from tests.nnunet.tiny_models import tiny_model

ENDINGS = {"IAUNet": ".tif", "SimpleUNet": ".nii.gz"}
"""Of images for a network of objects and one of classes."""


def write(path: Path, values: np.ndarray) -> None:
    """``values [(channels,) Y, X]``, in a NIfTI ``[X, Y, Z(, channels)]``."""
    if path.name.endswith(".tif"):
        tifffile.imwrite(path, values, photometric="minisblack")
    else:
        solid = np.stack([values] * 4, -1)  # slices
        volume = solid.transpose(2, 1, 3, 0) if values.ndim == 3 else solid.transpose(1, 0, 2)
        nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), path)


def _with_a(value: float) -> Callable[[Path, np.ndarray], None]:
    def write_with(path: Path, values: np.ndarray) -> None:
        changed = values.copy()
        changed[3, 4] = value
        write(path, changed)

    return write_with


def _cut(path: Path, values: np.ndarray) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _link_to_nothing(path: Path, values: np.ndarray) -> None:
    path.unlink()
    path.symlink_to(path.with_name("nothing"))


BROKEN: dict[str, Callable[[Path, np.ndarray], Any]] = {
    "empty": lambda path, values: path.write_bytes(b""),
    "not of this format": lambda path, values: path.write_bytes(b"<html>404</html>" * 9),
    "cut off in the middle": _cut,
    "a header and nothing else": lambda path, values: path.write_bytes(path.read_bytes()[:60]),
    "a link to nothing": _link_to_nothing,
    "not there": lambda path, values: path.unlink(),
    "of another shape than the first channel": lambda path, values: write(path, values[:-3]),
    "of two channels": lambda path, values: write(path, np.stack([values] * 2)),
    "with a NaN": _with_a(np.nan),
    "with an infinite value": _with_a(np.inf),
}
"""What becomes of a channel's file."""
BLOCKED = "its output is a folder"


@dataclass
class Images:
    """A folder of images; ``broken`` says how, by their names."""

    folder: Path
    ending: str
    names: list[str]
    broken: dict[str, str]

    @classmethod
    def make(cls, folder: Path, ending: str, *, number: int, broken: int, seed: int = 0) -> Images:
        """``number`` images, of which ``broken`` are broken in turn in all ways, both channels in theirs."""
        rng = np.random.default_rng(seed)
        folder.mkdir(parents=True)
        names = [f"case_{index:04d}" for index in range(number)]
        images = cls(folder, ending, names, {})
        chosen = rng.permutation(names[1:])[:broken]  # the first is predicted beforehand
        for name in names:
            images.write(name)
        for name, how in zip(sorted(chosen.tolist()), itertools.cycle([BLOCKED, *BROKEN])):
            images.broken[name] = how
            channel = len(images.broken) // len(BROKEN) % 2 if how != "not there" else 1
            if how != BLOCKED:
                path = images.file(name, channel)
                BROKEN[how](path, images.values(name))
        return images

    def file(self, name: str, channel: int) -> Path:
        return self.folder / f"{name}_{channel:04d}{self.ending}"

    def values(self, name: str) -> np.ndarray:
        return np.random.default_rng(int(name[-4:])).normal(size=(36, 30)).astype(np.float32)

    def write(self, name: str) -> None:
        for channel in range(2):
            self.file(name, channel).unlink(missing_ok=True)
            write(self.file(name, channel), self.values(name) + channel)


@dataclass
class Attack:
    """A command on these images; ``command`` takes a folder of images and one for predictions."""

    workspace: Workspace
    images: Images
    output: Path
    command: Callable[[Path, Path], list[object]]
    in_new_interpreter: bool

    def run(self, source: Path | None = None, *more: object) -> tuple[int, str]:
        """Exit status, and what was printed."""
        call = self.workspace.attempt_in_new_interpreter if self.in_new_interpreter else self.workspace.attempt
        status, printed = call(*self.command(source or self.images.folder, self.output), *more)
        assert "Traceback" not in printed, printed
        return status, printed

    def written(self) -> dict[str, int]:
        """When each map was written, by its name."""
        maps = [path for path in self.output.glob(f"*{self.images.ending}") if path.is_file()]
        return {path.name.removesuffix(self.images.ending): path.stat().st_mtime_ns for path in maps}

    def check(self, printed: str, status: int, names: set[str]) -> None:
        """Of images of these ``names`` those that are broken are named, once each, and the others written."""
        broken = names & set(self.images.broken)
        named = re.findall(r"^(case_\d{4}): (?!In \d+ of )", printed, re.MULTILINE)  # not a note about queries
        assert (sorted(named), status) == (sorted(broken), int(bool(broken))), printed
        if broken:
            told = f"{len(broken)} of {len(names)} images could not be predicted; the reason for each is printed above."
            assert told in printed.splitlines()[-1], printed
        assert names - broken <= set(self.written()) and not broken & set(self.written())
        assert not list(self.output.rglob("*partial*"))
        assert not list((self.output / "predicted_from").glob(".*")), "a note of what is about to be predicted"

    def all_at_once(self) -> str:
        """Everything in one go, then what is missing, then what has been repaired; what was found, in words."""
        names, broken = self.images.names, self.images.broken
        self.begin()
        status, printed = self.run()
        self.check(printed, status, set(names))
        before = self.written()
        found = f"{len(before)} written, {len(broken)} named, exit code {status}"
        status, printed = self.again()
        assert f"{len(before)} of {len(names)} {self.kept}" in printed and self.written() == before, printed
        self.check(printed, status, set(names))
        for name in list(broken)[: 1 + len(broken) // 2]:
            del broken[name]
            shutil.rmtree(self.output / f"{name}{self.images.ending}", ignore_errors=True)
            self.images.write(name)
        status, printed = self.again()
        self.check(printed, status, set(names))
        new = set(self.written()) - set(before)
        assert {name: self.written()[name] for name in before} == before, "what was there is left alone"
        return f"{found}; again: 0 written, the same named; repaired {len(new)}: {len(new)} written"

    def begin(self) -> None:
        """Predict one image, so that the output is known for a folder of predictions; block some outputs in it."""
        first = self.images.folder.with_name(f"{self.output.name} first")
        first.mkdir()
        for channel in range(2):
            shutil.copy(self.images.file(self.images.names[0], channel), first)
        assert self.run(first)[0] == 0
        for name, how in self.images.broken.items():
            if how == BLOCKED:
                (self.output / f"{name}{self.images.ending}" / "a folder").mkdir(parents=True)

    @property
    def kept(self) -> str:
        return "cases are predicted already" if self.stock else "images are predicted already"

    @property
    def stock(self) -> bool:
        return str(self.command(Path(), Path())[0]).startswith("nnUNetv2_")

    def again(self) -> tuple[int, str]:
        return self.run(None, *(("--continue_prediction",) if self.stock else ()))

    def in_parts(self, parts: int) -> str:
        """As jobs of an array would; what was found, in words."""
        self.begin()
        found = []
        for part in range(parts):
            status, printed = self.run(None, "-num_parts", parts, "-part_id", part)
            names = set(self.images.names[part::parts])
            self.check(printed, status, names)
            found.append(f"{len(names - set(self.images.broken))}+{len(names & set(self.images.broken))}")
        assert set(self.written()) == set(self.images.names) - set(self.images.broken)
        return f"in {parts} parts: written and named {', '.join(found)}"


def attacks(workspace: Workspace, network: str, *, number: int, broken: int, new: bool) -> list[str]:
    """Both commands on the same images; what was found, in words."""
    ending, trainer, plans = ENDINGS[network], f"nnUNetTrainer{network}", f"{network}Plans"
    model = workspace.results / "Dataset007_Tiny" / f"{trainer}__{plans}__2d"
    tiny_model(model, network, channels=("a", "b"), ending=ending)
    names = ("-d", "Dataset007_Tiny", "-c", "2d", "-f", 0, "-p", plans, "-tr", trainer)

    def stock(source: Path, output: Path) -> list[object]:
        options = ("-device", "cpu", "--disable_tta", "--disable_progress_bar", "-npp", 2, "-nps", 2)
        return ["nnUNetv2_predict", "-i", source, "-o", output, *names, *options]

    def ours(source: Path, output: Path) -> list[object]:
        options = ("--device", "cpu", "--no-mirroring", "--no-overlays")
        return ["maskmed", "predict", "-i", source, "-o", output, "-m", model, *options]

    found = []
    for kind, command in (("stock", stock), ("ours", ours), ("parts", stock)):
        folder = workspace.root / network / kind
        images = Images.make(folder / "images", ending, number=number, broken=broken)
        attack = Attack(workspace, images, folder / "out", command, new)
        what = attack.in_parts(3) if kind == "parts" else attack.all_at_once()
        found.append(f"{' '.join(map(str, command(Path(), Path())[: 1 if attack.stock else 2]))}, {network}: {what}")
        print(found[-1], flush=True)
    return found


def main() -> None:
    """Run all of it in a temporary folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--broken", type=int, default=25)
    parser.add_argument("--networks", nargs="+", default=list(ENDINGS), choices=list(ENDINGS))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as root, open_workspace(Path(root) / "nnunet") as workspace:
        for network in options.networks:
            attacks(workspace, network, number=options.images, broken=options.broken, new=True)


if __name__ == "__main__":
    main()
