"""Draw ``docs/images/napari.png``: the model `nuclei` on its example picture, in napari.

    xvfb-run -a -s "-screen 0 1400x900x24" python benchmarks/napari_picture.py docs/images/napari.png

It needs ``pip install 'maskmed-nnu[napari]'``.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import napari
from PIL import Image
from qtpy.QtCore import QEventLoop, Qt
from qtpy.QtWidgets import QApplication


def main(path: Path, size: tuple[int, int] = (1100, 660)) -> None:
    viewer = napari.Viewer(show=False)
    viewer.open_sample("maskmed-nnu", "nuclei")
    dock, widget = viewer.window.add_plugin_dock_widget("maskmed-nnu", "Segment with a model")
    window = viewer.window._qt_window
    window.resize(*size)
    window.show()
    widget.start()
    while widget.worker is not None:
        QApplication.processEvents(QEventLoop.ProcessEventsFlag.WaitForMoreEvents)
    labels = viewer.layers["nuclei objects"]
    labels.contour, labels.opacity = 1, 1
    window.resizeDocks([dock], [300], Qt.Orientation.Horizontal)
    viewer.reset_view()
    for _ in range(20):  # the canvas is drawn by events
        QApplication.processEvents()
        time.sleep(0.1)
    viewer.window.screenshot(str(path), canvas_only=False, flash=False)
    Image.open(path).convert("RGB").quantize(128).save(path, optimize=True)
    viewer.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
