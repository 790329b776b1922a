"""Follow tutorials from empty folders, and put what they print and draw into their pages.

    python -m tests.docs.follow                    # all of them; backbone where timm can be imported
    python -m tests.docs.follow organs cells --work FOLDER

All bash and python blocks of a page run in their order, in one shell. A block of ``text`` that follows one of them gets
what it prints, without progress bars, warnings and times; a comment before it may narrow that to the lines between two
that match, both included::

    <!-- output: ^regular expression … regular expression -->

The first file of the tutorial's folder that matches a comment ``<!-- picture: GLOB -->`` becomes the image linked in
the line below it. At its end a page names the version of its blocks that was followed, so that a test sees where output
is older than its commands.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.docs.blocks import FENCE, ROOT, blocks

TUTORIALS = ROOT / "docs" / "tutorials"
EXECUTED = ("bash", "python")
END_OF_BLOCK = "\x1e"
MOST_LINES = 40
BETWEEN = re.compile(r"<!-- output: (?P<first>.*?) … (?P<last>.*?) -->\n\Z")
PICTURE = re.compile(r"<!-- picture: (?P<glob>.*?) -->\n!\[[^\]]*\]\((?P<link>[^)]*)\)")
FOLLOWED = re.compile(r"\n<!-- followed: (?P<digest>\w+) -->\n")
NNUNET = ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")
NOISE = (
    r"\x1b\[[0-9;]*m",  # colours
    r"(?m)^.*\r(?=.)",  # what was overwritten in its line
    r"(?m)^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[.\d]*: ",
    r"(?m)^.*\d+%\|.*\n",
    r"(?m)^#{20,}\n(?:.*\n)*?#{20,}\n",  # nnU-Net's request to cite it
)


def digest(page: str) -> str:
    """Of the blocks that are executed."""
    text = "\0".join(block.text for block in blocks(page) if block.language in EXECUTED)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def script(page: str) -> str:
    """All executed blocks as one bash script, which ends with the first command that fails."""
    lines = ["set -euo pipefail"]
    for block in blocks(page):
        if block.language == "bash":
            lines += [block.text]
        elif block.language == "python":
            lines += [f"python - <<'END_OF_PYTHON'\n{block.text}END_OF_PYTHON"]
        else:
            continue
        lines.append(f"printf '{END_OF_BLOCK}'")
    return "\n".join(lines) + "\n"


def follow(page: Path, folder: Path) -> None:
    """Run the blocks in the empty ``folder``, and write their output into the page."""
    text = page.read_text(encoding="utf-8")
    file = folder / "tutorial.sh"
    file.write_text(script(text), encoding="utf-8")
    (folder / "empty").mkdir()
    environment = {name: value for name, value in os.environ.items() if name not in NNUNET}
    environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), environment["PATH"]])
    environment |= {"PYTHONPATH": str(ROOT), "MPLBACKEND": "agg", "COLUMNS": "100"}
    with (
        (folder / "output").open("w+", encoding="utf-8", newline="") as output,
        (folder / "errors").open("w") as errors,
    ):
        done = subprocess.run(["bash", str(file)], cwd=folder / "empty", env=environment, stdout=output, stderr=errors)
        output.seek(0)
        printed = output.read()
    if done.returncode:
        raise SystemExit(
            f"{page.name}: block {printed.count(END_OF_BLOCK) + 1} ended with {done.returncode}.\n{printed[-2000:]}\n"
            f"{(folder / 'errors').read_text()[-3000:]}"
        )
    outputs = [cleaned(part, folder / "empty") for part in printed.split(END_OF_BLOCK)]
    followed = with_outputs(text, outputs)
    copy_pictures(text, folder / "empty", page.parent)
    page.write_text(followed, encoding="utf-8")


def cleaned(printed: str, folder: Path) -> str:
    """Without what differs from run to run or from machine to machine; ``folder`` is ``.``."""
    for noise in NOISE:
        printed = re.sub(noise, "", printed)
    printed = printed.replace(str(folder), ".")
    return "\n".join(line.rstrip() for line in re.sub(r"\n{2,}", "\n", printed).strip("\n").splitlines())


def with_outputs(text: str, outputs: list[str]) -> str:
    """The page with the outputs of its executed blocks."""
    executed, printed, pieces, end = 0, "", [], 0
    for fence in FENCE.finditer(text):
        pieces.append(text[end : fence.start()])
        end = fence.end()
        if fence["language"] in EXECUTED:
            printed, executed = outputs[executed], executed + 1
        if fence["language"] != "text":
            pieces.append(fence[0])
            continue
        between = BETWEEN.search(pieces[-1])
        shown = _between(printed, between["first"], between["last"]) if between else printed
        if not shown or shown.count("\n") >= MOST_LINES:
            raise SystemExit(
                f"line {text[: fence.start()].count(chr(10)) + 1}: not 1 to {MOST_LINES} lines:\n{printed}"
            )
        pieces.append(fence[0].splitlines()[0] + "\n" + shown + "\n```")
    page = FOLLOWED.sub("", "".join(pieces) + text[end:])
    return f"{page.rstrip()}\n\n<!-- followed: {digest(page)} -->\n"


def _between(printed: str, first: str, last: str) -> str:
    lines = printed.splitlines()
    start = next((i for i, line in enumerate(lines) if re.search(first, line)), len(lines))
    stop = next((i for i, line in enumerate(lines[start:], start) if re.search(last, line)), -1)
    return "\n".join(lines[start : stop + 1])


def copy_pictures(text: str, folder: Path, pages: Path) -> None:
    """What the page of ``text`` links, from the tutorial's ``folder`` into that of the ``pages``."""
    for picture in PICTURE.finditer(text):
        found = sorted(folder.glob(picture["glob"]))
        if not found:
            raise SystemExit(f"the tutorial has made no {picture['glob']}")
        target = pages / picture["link"]
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(found[0], target)


def timm_works() -> bool:
    try:
        import timm  # noqa: F401
    except (ImportError, RuntimeError):  # torchvision raises the latter beside a torch of another build
        return False
    return True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = sorted(page.stem for page in TUTORIALS.glob("*.md"))
    parser.add_argument("names", nargs="*", help=f"of {', '.join(names)} (default: all)")
    parser.add_argument("--work", type=Path, help="where their folders are made and kept (default: a temporary place)")
    given = parser.parse_args()
    if unknown := set(given.names) - set(names):
        parser.error(f"there is no tutorial {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    if given.work:
        given.work.mkdir(parents=True, exist_ok=True)
    for name in given.names or names:
        if name == "backbone" and not given.names and not timm_works():
            print(f"{name}: skipped, because timm cannot be imported", flush=True)
            continue
        print(f"{name} ...", flush=True)
        folder = Path(tempfile.mkdtemp(prefix=f"{name}_", dir=given.work))
        follow(TUTORIALS / f"{name}.md", folder)
        if not given.work:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
