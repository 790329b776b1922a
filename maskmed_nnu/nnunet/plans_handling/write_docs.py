"""Rewrites the tables of settings in the documentation.

``python -m maskmed_nnu.nnunet.plans_handling.write_docs [--check] [docs]``; ``--check`` writes nothing and
fails where a page does not have the tables of today.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from maskmed_nnu.errors import InputError
from maskmed_nnu.nnunet.plans_handling.settings.tables import with_tables


def outdated_pages(folder: Path) -> dict[Path, str]:
    """The pages in ``folder`` whose tables are not those of today, and what they should be.

    Raises
    ------
    InputError
        Where there is no page at all.
    """
    pages = {file: file.read_text(encoding="utf-8") for file in sorted(folder.rglob("*.md"))}
    if not pages:
        raise InputError(f"There is no page of documentation in {folder}; give the folder docs of the repository.")
    written = {file: with_tables(text) for file, text in pages.items()}
    return {file: text for file, text in written.items() if text != pages[file]}


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="Rewrite the tables of settings in the documentation.")
    parser.add_argument("folder", type=Path, nargs="?", default=Path("docs"), help="of the pages (%(default)s)")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if something would be written")
    options = parser.parse_args()
    outdated = outdated_pages(options.folder)
    if options.check and outdated:
        raise InputError(
            f"The tables of settings in {', '.join(map(str, outdated))} are not up to date; run this command without "
            "--check."
        )
    for file, text in outdated.items():
        file.write_text(text, encoding="utf-8")
        print(f"rewritten: {file}")


if __name__ == "__main__":
    main()
