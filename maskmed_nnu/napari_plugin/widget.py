"""The dock widget: a model, an image layer, a button."""

from __future__ import annotations

from typing import Any

from napari.layers import Image
from napari.qt.threading import create_worker
from napari.utils.notifications import notification_manager
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QApplication,
    QComboBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QProgressBar,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from maskmed_nnu.api.model import load
from maskmed_nnu.errors import InputError
from maskmed_nnu.instances.text import count
from maskmed_nnu.napari_plugin.label_layers import LayerData
from maskmed_nnu.napari_plugin.segmentation import segment
from maskmed_nnu.progress import Progress

COLOURS = ["R", "G", "B"]
SAME = "in the same layer"


class _StoppedError(Exception):
    """The button was pressed."""


class SegmentWidget(QWidget):
    """Segments an image layer with a trained model, in a thread of its own."""

    progressed = Signal(object)

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__()
        self.viewer = napari_viewer
        self.worker: Any = None
        self.model = _wide_choice()
        self.model.setEditable(True)
        self.model.addItem("nuclei")
        self.model.setToolTip("the folder of a training, a package of maskmed export, or nuclei")
        self.model.activated.connect(self._model_chosen)
        self.model.lineEdit().editingFinished.connect(self._model_chosen)
        folder, package = QPushButton("Folder…"), QPushButton("Package…")
        folder.clicked.connect(self._choose_folder)
        package.clicked.connect(self._choose_package)
        self.images = [_wide_choice()]
        self.axes = QLineEdit()
        self.axes.setPlaceholderText("from the layer")
        self.axes.setToolTip("a letter for each axis: T (frames), C (channels), Z (slices), Y (rows), X (columns)")
        self.button, self.stop_button = QPushButton("Segment"), QPushButton("Stop")
        self.button.clicked.connect(self.start)
        self.stop_button.clicked.connect(self.stop)
        self.bar, self.message = QProgressBar(), QLabel()
        self.message.setWordWrap(True)
        self.message.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.message.setTextFormat(Qt.TextFormat.PlainText)

        self.form = QFormLayout()
        self.form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.ExpandingFieldsGrow)
        self.form.addRow("model", self.model)
        self.form.addRow("", _row(folder, package))
        self.form.addRow("image", self.images[0])
        self.form.addRow("axes", self.axes)
        layout = QVBoxLayout(self)
        layout.addLayout(self.form)
        for part in (_row(self.button, self.stop_button), self.bar, self.message):
            layout.addWidget(part)
        layout.addStretch()

        self.progressed.connect(self._show_progress)
        events = self.viewer.layers.events
        for event in (events.inserted, events.removed, getattr(events, "renamed", None)):
            if event is not None:
                event.connect(self._list_layers)
        QApplication.instance().aboutToQuit.connect(self.stop)
        self._list_layers()
        self._running(False)

    def start(self) -> None:
        """Segment what is chosen; the fields stay as they are."""
        if self.worker is not None:
            return
        layers = [choice.currentData() for choice in self.images]
        if layers[0] is None:
            self.message.setText("There is no image layer; open an image, or File > Open Sample > MaskMed > Nuclei.")
            return
        chosen = [layer for layer in layers if layer is not None]
        if len(chosen) not in (1, len(layers)):
            self.message.setText(f"The model needs {len(layers)} channels; choose a layer for each, or one with all.")
            return
        given = (chosen, self.model.currentText(), self.axes.text() or None)
        self.worker = create_worker(self._segment, *given, _start_thread=False, _ignore_errors=True)
        self.worker.returned.connect(self._show)
        self.worker.errored.connect(self._failed)
        self.worker.finished.connect(self._finished)
        self.message.setText("")
        self._running(True)
        self.worker.start()

    def stop(self) -> None:
        """Ask the prediction to end, which it does before the next tile."""
        if self.worker is not None:
            self.worker.quit()
            self.bar.setFormat("stopping")

    def _segment(self, layers: list[Any], model: str, axes: str | None) -> list[LayerData]:
        """In the worker's thread."""
        worker = self.worker

        def report(now: Progress) -> None:
            if worker.abort_requested:
                raise _StoppedError
            self.progressed.emit(now)

        return segment(layers, model, axes=axes, progress=report)

    def _show_progress(self, now: Progress) -> None:
        if self.worker is None or self.worker.abort_requested:
            return
        known = now.total > 1
        self.bar.setRange(0, now.total if known else 0)  # without an end it runs to and fro
        self.bar.setValue(now.done)
        self.bar.setFormat(f"{now.stage} %p%" if known else now.stage)

    def _show(self, layers: list[LayerData]) -> None:
        notes: list[str] = []
        rows = 0
        for data, arguments, _ in layers:
            layer = self.viewer.add_labels(data, **arguments)
            rows += len(layer.features)
            notes = arguments["metadata"]["maskmed"]["notes"]
        self.message.setText("\n".join([f"{count(rows, 'row')} in the features of {layers[0][1]['name']}", *notes]))

    def _failed(self, error: Exception) -> None:
        if isinstance(error, _StoppedError):
            self.message.setText("Stopped.")
        elif isinstance(error, InputError):
            self.message.setText(str(error))
        else:
            self.message.setText(f"{type(error).__name__}: {error}")
            notification_manager.receive_error(type(error), error, error.__traceback__)

    def _finished(self) -> None:
        self.worker = None
        self._running(False)

    def _running(self, running: bool) -> None:
        self.button.setEnabled(not running)
        self.stop_button.setEnabled(running)
        self.bar.setVisible(running)
        self.bar.setRange(0, 0)

    def _model_chosen(self) -> None:
        """As many choices of a layer as the model has channels that are no colours."""
        try:
            names = load(self.model.currentText()).channels
        except InputError as error:
            self.message.setText(str(error))
            return
        self.message.setText("")
        names = names if len(names) > 1 and names != COLOURS else ["image"]
        for choice in self.images[1:]:
            self.form.removeRow(choice)
        self.images = self.images[:1]
        row = 2
        self.form.labelForField(self.images[0]).setText(names[0])
        for name in names[1:]:
            row += 1
            self.images.append(_wide_choice())
            self.form.insertRow(row, name, self.images[-1])
        self._list_layers()

    def _choose_folder(self) -> None:
        self._set_model(QFileDialog.getExistingDirectory(self, "The folder of a training"))

    def _choose_package(self) -> None:
        self._set_model(QFileDialog.getOpenFileName(self, "A model package", filter="Model packages (*.zip)")[0])

    def _set_model(self, path: str) -> None:
        if path:
            self.model.setCurrentText(path)
            self._model_chosen()

    def _list_layers(self, event: Any = None) -> None:
        for number, choice in enumerate(self.images):
            chosen = choice.currentData()
            choice.clear()
            if number:
                choice.addItem(SAME, None)
            for layer in self.viewer.layers:
                if isinstance(layer, Image):
                    choice.addItem(layer.name, layer)
            same = [index for index in range(choice.count()) if choice.itemData(index) is chosen]
            choice.setCurrentIndex(same[0] if same else 0)


def _wide_choice() -> QComboBox:
    """As wide as the panel, whatever is in it: paths are long."""
    choice = QComboBox()
    choice.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    choice.setMinimumContentsLength(10)
    choice.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
    return choice


def _row(*parts: QWidget) -> QWidget:
    row = QWidget()
    layout = QHBoxLayout(row)
    layout.setContentsMargins(0, 0, 0, 0)
    for part in parts:
        layout.addWidget(part)
    return row
