"""Files that are complete under their name or not there at all."""

from __future__ import annotations

from maskmed_nnu.atomic_write import write_atomically


def test_writers_of_one_file_do_not_meet(tmp_path):
    """Process numbers are no names: other machines and containers have the same ones."""
    path = tmp_path / "a.txt"

    def write(partial):
        partial.write_text("mine")
        write_atomically(path, lambda other: other.write_text("other"))
        assert path.read_text() == "other"

    write_atomically(path, write)
    assert path.read_text() == "mine" and list(tmp_path.iterdir()) == [path]
