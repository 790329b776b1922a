"""The plugin in a real viewer without a screen: the widget, its thread, and where napari shows the labels."""

from __future__ import annotations

import os
import sys
import threading
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import maskmed_nnu
from tests.nnunet.tiny_models import tiny_model

MISSING = [name for name in ("napari", "qtpy", "npe2") if find_spec(name) is None]
pytestmark = [
    pytest.mark.napari,
    pytest.mark.skipif(bool(MISSING), reason=f"without {', '.join(MISSING)}; make test-napari installs them"),
]
MANIFEST = Path(maskmed_nnu.__file__).parent / "napari_plugin" / "napari.yaml"


SCREEN = sys.platform != "linux" or bool({"DISPLAY", "WAYLAND_DISPLAY"} & set(os.environ))


@pytest.fixture
def viewer():
    """With its window where there is a screen, of Xvfb too; Qt's offscreen platform has no OpenGL for the canvas."""
    if not SCREEN:
        os.environ["QT_QPA_PLATFORM"] = "offscreen"
    from napari import Viewer
    from napari.components import ViewerModel
    from qtpy.QtWidgets import QApplication

    application = QApplication.instance() or QApplication([])
    viewer = Viewer(show=False) if SCREEN else ViewerModel()
    yield viewer
    if SCREEN:
        viewer.close()
    application.processEvents()


@pytest.fixture
def cells(tmp_path):
    return tiny_model(tmp_path / "model", "IAUNet")


def widget_in(viewer, model):
    from maskmed_nnu.napari_plugin.widget import SegmentWidget

    widget = SegmentWidget(viewer)
    if SCREEN:
        viewer.window.add_dock_widget(widget)
    widget._set_model(str(model))
    return widget


def wait(widget):
    """The events of the window, until the thread has ended."""
    from qtpy.QtCore import QDeadlineTimer, QEventLoop
    from qtpy.QtWidgets import QApplication

    limit = QDeadlineTimer(120_000)
    while widget.worker is not None:
        QApplication.processEvents(QEventLoop.ProcessEventsFlag.AllEvents, 50)
        assert not limit.hasExpired(), "the prediction has ended"


def noise(*shape):
    return np.random.default_rng(0).normal(100, 30, shape).astype(np.float32)


def test_the_manifest_is_valid_and_names_what_there_is():
    from npe2 import PluginManifest
    from npe2.manifest.utils import import_python_name

    manifest = PluginManifest.from_file(MANIFEST)
    manifest.validate_imports()
    assert manifest.name == "maskmed-nnu", "napari finds it by the name of the package"
    assert [widget.display_name for widget in manifest.contributions.widgets] == ["Segment with a model"]
    (command,) = [one for one in manifest.contributions.commands if one.id == "maskmed-nnu.nuclei"]
    ((picture, arguments, kind),) = import_python_name(command.python_name)()
    assert kind == "image" and picture.ndim == 2 and arguments["name"] == "nuclei"


def test_labels_appear_where_the_image_is(viewer, cells):
    """Turned, sheared and in micrometres, with the table in the features and its row under the mouse."""
    image = viewer.add_image(
        noise(40, 50), name="cells", scale=(0.5, 0.25), translate=(7, 9), rotate=20, shear=[0.2], units="um"
    )
    widget = widget_in(viewer, cells)
    widget.start()
    assert not widget.button.isEnabled() and widget.stop_button.isEnabled()
    wait(widget)
    labels = viewer.layers["cells objects"]
    assert widget.button.isEnabled() and "in the features of cells objects" in widget.message.text()
    for index in ((0, 0), (39, 49), (3, 20)):
        np.testing.assert_allclose(labels.data_to_world(index), image.data_to_world(index))
    assert labels.units == image.units and len(labels.features) > 1
    assert labels.features["index"].tolist() == sorted(set(np.unique(labels.data)) - {0})
    where = np.argwhere(labels.data)[0]
    told = labels.get_status(labels.data_to_world(where), world=True)["value"]
    score = labels.features.set_index("index").loc[labels.data[tuple(where)], "score"]
    assert "class: cell" in told and f"score: {score:.2g}"[:10] in told


def test_channels_of_a_volume(viewer, tmp_path):
    """In one layer, whose axis the labels do without, and in two layers."""
    model = tiny_model(tmp_path / "model", "SimpleUNet", dim=3, channels=("CT", "PET"))
    data = noise(2, 6, 20, 17)
    affine = np.eye(5)
    affine[1:4, 4] = 5, 6, 7
    both = viewer.add_image(data, name="both", scale=(1, 2.5, 0.8, 0.7), affine=affine, units=("pixel", *["mm"] * 3))
    widget = widget_in(viewer, model)
    assert len(widget.images) == 2
    widget.start()
    wait(widget)
    labels = viewer.layers["both classes"]
    assert labels.data.shape == (6, 20, 17)
    np.testing.assert_allclose(labels.data_to_world((1, 2, 3)), both.data_to_world((0, 1, 2, 3))[1:])
    for name, channel in zip(("ct", "pet"), data, strict=True):
        viewer.add_image(channel, name=name, scale=(2.5, 0.8, 0.7), units="mm")
    for choice, name in zip(widget.images, ("ct", "pet"), strict=True):
        choice.setCurrentText(name)
    widget.start()
    wait(widget)
    np.testing.assert_array_equal(viewer.layers["ct classes"].data, labels.data)


def test_the_spacing_is_that_of_the_layer(viewer, tmp_path):
    from maskmed_nnu.napari_plugin.layer_image import layer_image
    from tests.napari_plugin.fake_layers import fake_reader

    reader = fake_reader(volumes=True, planned=[3, 1, 1])
    for units, factor in (("um", 1e-3), ("cm", 10), ("inch", 25.4)):
        layer = viewer.add_image(noise(3, 4, 5), scale=(3, 0.5, 0.4), units=units, rotate=(10, 20, 30))
        assert layer_image([layer], reader).spacing == pytest.approx(np.multiply((3, 0.5, 0.4), factor))
    multiscale = viewer.add_image([noise(3, 16, 16), noise(3, 8, 8)], multiscale=True, units="mm")
    assert layer_image([multiscale], reader).array.shape == (1, 3, 16, 16)


def test_stop_ends_the_thread_and_adds_nothing(viewer, cells):
    viewer.add_image(noise(20, 200, 200), name="stack")
    threads = set(threading.enumerate())
    widget = widget_in(viewer, cells)
    shown = []
    widget.progressed.connect(lambda now: (shown.append(now), now.done > 4 and widget.stop()))
    widget.start()
    wait(widget)
    assert widget.message.text() == "Stopped." and [layer.name for layer in viewer.layers] == ["stack"]
    assert shown[-1].done < shown[-1].total and widget.button.isEnabled()
    from qtpy.QtCore import QThreadPool

    assert QThreadPool.globalInstance().waitForDone(10_000)
    assert {
        thread for thread in threading.enumerate() if thread.is_alive() and not thread.name.startswith("Dummy")
    } <= threads


def test_what_is_wrong_is_a_sentence_in_the_widget(viewer, cells, tmp_path):
    widget = widget_in(viewer, cells)
    widget.start()
    assert widget.message.text().startswith("There is no image layer; open an image")
    viewer.add_image(noise(4, 3, 20, 20), name="film")
    widget.start()
    wait(widget)
    assert "Layer film, 4 × 3 × 20 × 20, has 4 frames or channels along its axis 0" in widget.message.text()
    widget._set_model(str(tmp_path / "nowhere"))
    assert widget.message.text().startswith(f"There is no model {tmp_path / 'nowhere'}")
    assert [layer.name for layer in viewer.layers] == ["film"]
