"""Drawn images stay as long as their files do."""

from __future__ import annotations

from maskmed_nnu.demo.drawing import draw


def test_what_has_changed_is_drawn_again(tmp_path):
    def write(folder, *, report):
        folder.mkdir(exist_ok=True)
        (folder / "image").write_text("drawn")
        report("image")

    shown = []
    folder, derived = tmp_path / "drawn", tmp_path / "derived"
    for state in ("new", "unchanged", "changed"):
        derived.mkdir(exist_ok=True)
        if state == "changed":
            (folder / "image").write_text("something else")
        shown.clear()
        assert draw(folder, write, tell=shown.append, made_from_it=derived) == folder
        assert ("image" in shown) == (state != "unchanged") == (not derived.is_dir())
        assert any("have changed" in text for text in shown) == (state == "changed")
        assert (folder / "image").read_text() == "drawn"
