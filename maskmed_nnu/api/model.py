"""A trained model, ready to predict."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maskmed_nnu.api.objects import Objects
from maskmed_nnu.api.prediction import Prediction, class_names
from maskmed_nnu.errors import InputError
from maskmed_nnu.nnunet.inference.devices import DEVICES
from maskmed_nnu.nnunet.inference.model_source import FINAL_CHECKPOINT, ModelSource, open_model
from maskmed_nnu.progress import Progress

if TYPE_CHECKING:
    from maskmed_nnu.api.big_prediction import BigSummary
    from maskmed_nnu.api.explanation import Explanation
    from maskmed_nnu.api.folder_prediction import FolderSummary
    from maskmed_nnu.api.images import ImageReader, InputImage
    from maskmed_nnu.progress import Report

LOW_SCORE = 0.05
"""The smallest score in COCO results; average precision needs less likely objects too."""


def load(
    source: str | PathLike[str],
    *,
    folds: Sequence[str | int] | str | int | None = None,
    checkpoint: str = FINAL_CHECKPOINT,
    device: str = "auto",
    mirroring: bool = True,
) -> Model:
    """Open a trained model.

    Only its plans are read here; weights, torch and nnU-Net are loaded when the first image is predicted.

    Parameters
    ----------
    source
        The folder of a training, which holds ``fold_0`` and so on, ``plans.json`` and ``dataset.json``; a package that
        `export` wrote; or the name of a model that comes with maskmed_nnu, as ``"nuclei"``.
    folds
        Folds whose predictions are averaged, as ``0``, ``[0, 1]`` or ``"all"``; by default all trained folds.
    checkpoint
        The file of the weights in each fold.
    device
        ``"auto"`` (CUDA if available, else the CPU), ``"cpu"``, ``"cuda"`` or ``"mps"``.
    mirroring
        Whether predictions of mirrored images are averaged, as nnU-Net does.

    Raises
    ------
    InputError
        If there is no model, it is from another nnU-Net release, or a fold is not trained or damaged.

    Examples
    --------
    >>> import maskmed_nnu as mm
    >>> model = mm.load("results/Dataset004_Hip/nnUNetTrainerMaskMed__MaskMedPlans__3d_fullres")  # doctest: +SKIP
    >>> model.predict("case_0000.nii.gz").save("case.nii.gz")  # doctest: +SKIP
    """
    if device not in DEVICES:
        raise InputError(f"{device!r} is not a device; legal are {', '.join(DEVICES)}.")
    opened = open_model(source if isinstance(source, str) else Path(source), checkpoint=checkpoint)
    return Model(opened, folds=folds, device=device, mirroring=mirroring)


class Model:
    """A trained model; made by `load`. It may be used from several threads: they predict one after the other."""

    def __init__(
        self,
        source: ModelSource,
        *,
        folds: Sequence[str | int] | str | int | None = None,
        device: str = "auto",
        mirroring: bool = True,
    ) -> None:
        self.source = source
        self.folds = source.choose_folds(folds)
        self.device, self.mirroring = device, mirroring
        self._predictor: Any = None
        self._lock = threading.RLock()

    def __repr__(self) -> str:
        what = "objects" if self.has_objects else "classes"
        kinds = ", ".join(name for name in self.names.values() if name != "background")
        return f"<Model {self.source.name}: {what} {kinds}; folds {', '.join(self.folds)}>"

    @property
    def names(self) -> dict[int, str]:
        """The name of each class, by its number in label maps."""
        return class_names(self.source.dataset_json)

    @property
    def channels(self) -> list[str]:
        """The names of the channels that an image needs, in their order."""
        described = self.source.dataset_json
        return [str(name) for name in (described.get("channel_names") or described.get("modality") or {}).values()]

    @property
    def has_objects(self) -> bool:
        """Whether single objects are found, rather than the class of each pixel."""
        return bool(self.source.plans.get("label_manager") == "InstanceLabelManager")

    def predict(
        self,
        image: Any,
        *,
        spacing: Sequence[float] | None = None,
        axes: str | None = None,
        progress: Report | None = None,
    ) -> Prediction:
        """Predict one image.

        The labels are those that ``nnUNetv2_predict`` writes, for every type of input.

        Parameters
        ----------
        image
            An **array** (a NumPy array, whatever NumPy converts to one, or a torch tensor) with the axes (channels,) z,
            y, x. For a model with one channel, two axes are y, x and three are z, y, x. For a model with several
            channels, the first axis is the channels and the others are y, x or z, y, x. A 3D model takes z, y, x only.
            A 2D model predicts a volume slice by slice. Values are used unchanged.

            A **path** in any supported format, or a **list of paths**, one for each channel of the image
            (nnU-Net's ``_0000``, ``_0001`` …).

            A **nibabel image**: its axes are x, y, z, also those of the prediction. A **SimpleITK image**: the
            prediction has the axes of ``GetArrayFromImage``, (z,) y, x; vector pixels are channels.
        spacing
            Spacing of an array in mm, in the order of its spatial axes: (z,) y, x. Images and files have their own;
            give it also for files without one (PNG).
        axes
            Axes of an array or TIFF in another order, as "YXC" for an image of skimage: C channels, Z slices, Y rows, X
            columns. The prediction then has the spatial axes in this order.
        progress
            Called with a `Progress` when the image is read, preprocessed and resampled, and before each forward pass of
            the network on a tile. If it raises an exception, the prediction stops and the exception is passed on, so a
            button can cancel it; nothing keeps running, and the model can predict again.

        Raises
        ------
        InputError
            If the image cannot be read, or does not fit the model.
        """
        with self._threads():
            if progress is not None:
                progress(Progress("reading", 0, 1))
            read = self._reader().read(image, spacing=spacing, axes=axes)
            return self._predict(read, progress)

    def predict_folder(
        self,
        input: str | PathLike[str],
        output: str | PathLike[str],
        *,
        axes: str | None = None,
        coco: bool = True,
        overlays: bool = True,
        probabilities: bool = False,
        write: Sequence[str] = (),
        overwrite: bool = False,
        progress: Report | None = None,
    ) -> FolderSummary:
        """Predict all images in a folder, or one image; existing predictions of the same images are kept.

        Parameters
        ----------
        input
            A folder of images, or an image. ``X_0000``, ``X_0001`` … are the channels of X if the model has several.
        output
            The folder to write into: ``NAME`` with the data set's ending, as ``nnUNetv2_predict`` writes it, and
            ``overlays/NAME.png``; for objects also ``coco/NAME.json`` and the table ``objects/NAME.csv``, and for all
            images together ``predictions_coco.json`` and ``objects.csv``.
        axes
            Axes of TIFFs, as for `predict`.
        coco
            Whether COCO results are written, for models of objects.
        overlays
            Whether overlays are written.
        probabilities
            Whether probabilities are written to ``NAME.npz``, as with ``--save_probabilities`` of nnU-Net; classes
            only.
        write
            Files for other tools, of these: ``"geojson"`` (QuPath), ``"rois"`` (ImageJ), ``"seg.nrrd"`` (3D Slicer),
            ``"itksnap"`` (label descriptions) and ``"tif"`` (label maps with resolution and unit). They go to
            ``geojson/NAME.geojson``, ``rois/NAME.zip``, ``slicer/NAME.seg.nrrd``, ``itksnap/NAME.txt`` and
            ``tif/NAME.tif``.
        overwrite
            Whether to predict images again that have a prediction.
        progress
            Called with a `Progress` before each image, and at the end.

        Returns
        -------
        FolderSummary
            The images that were predicted, kept, or failed with the reason. An image that cannot be predicted is
            skipped.

        Raises
        ------
        InputError
            Before anything is written, if input or output are invalid.
        """
        from maskmed_nnu.api.folder_prediction import predict_folder

        with self._threads():
            return predict_folder(
                self,
                Path(input),
                Path(output),
                axes=axes,
                coco=coco and self.has_objects,
                overlays=overlays,
                probabilities=probabilities,
                write=write,
                overwrite=overwrite,
                progress=progress,
            )

    def predict_big(
        self,
        input: str | PathLike[str],
        output: str | PathLike[str],
        *,
        window: Sequence[int] | None = None,
        part: int = 0,
        parts: int = 1,
        overwrite: bool = False,
        progress: Report | None = None,
    ) -> BigSummary:
        """Predict the objects of one image that may be larger than memory, a window at a time.

        Parameters
        ----------
        input
            The folder of an OME-Zarr image (0.4 or 0.5), or a TIFF, best a tiled one.
        output
            A new OME-Zarr, as ``labels.ome.zarr``, with the ids of the objects; beside it ``labels.csv`` has a row for
            each. Both appear when they are complete. Until then the windows are in ``labels.ome.zarr.windows``, with
            which the same call goes on after a stop.
        window
            Its edges (z,) y, x in pixels; by default it has about 16 million pixels.
        part, parts
            Of ``parts`` calls, in processes or jobs of their own, that share the windows this is number ``part``, from
            0 on. They only predict; the same call without parts joins what they have left.
        overwrite
            Whether an output that exists is replaced.
        progress
            Is called with a `Progress` as the image is measured, before each window, and as the labels are written.

        Raises
        ------
        InputError
            Where model, input or output are at fault, or the image cannot be read.
        """
        from maskmed_nnu.api.big_prediction import predict_big

        with self._threads():
            return predict_big(
                self,
                Path(input),
                Path(output),
                window=window,
                part=part,
                parts=parts,
                overwrite=overwrite,
                report=progress,
            )

    def explain(
        self,
        image: Any,
        *,
        at: Sequence[int] | None = None,
        spacing: Sequence[float] | None = None,
        axes: str | None = None,
        progress: Report | None = None,
    ) -> Explanation:
        """Show what queries and attention do in one patch of an image; see `maskmed_nnu.explain`."""
        from maskmed_nnu.api.explanation import explain

        return explain(self, image, at=at, spacing=spacing, axes=axes, progress=progress)

    def _threads(self) -> Any:
        from maskmed_nnu.nnunet.inference.thread_count import thread_count_kept

        return thread_count_kept()

    def _load(self) -> Any:
        """nnU-Net's predictor, with the weights in it."""
        with self._lock:
            if self._predictor is None:
                predictor = self.source.predictor(self.folds, device=self.device, mirroring=self.mirroring)
                previous = predictor.configuration_manager.previous_stage_name
                if previous is not None:
                    raise InputError(
                        f"{self.source.name} is the second stage of a cascade, which starts from predictions of "
                        f"{previous}; predict with nnUNetv2_predict -prev_stage_predictions, or load another model."
                    )
                self._predictor = predictor
            return self._predictor

    def _reader(self) -> ImageReader:
        from maskmed_nnu.api.images import ImageReader

        predictor = self._load()
        plans = predictor.plans_manager
        patch_axes = len(predictor.configuration_manager.patch_size)
        return ImageReader(
            plans.image_reader_writer_class(), plans.plans, predictor.dataset_json, patch_axes=patch_axes
        )

    def _predict(self, image: InputImage, progress: Report | None = None, *, keep_logits: bool = False) -> Prediction:
        """Use the network for one image at a time; ``keep_logits`` if probabilities of classes are needed."""
        from maskmed_nnu.nnunet.inference.array_prediction import predict_objects, predict_semantic
        from maskmed_nnu.nnunet.inference.trained_model import preprocess_array

        predictor = self._load()
        notes = list(image.notes)
        properties = dict(image.properties)
        if progress is not None:
            progress(Progress("preprocessing", 0, 1))
        data, properties = preprocess_array(predictor, image.data, properties)
        if self.has_objects:
            with self._lock:
                found = predict_objects(
                    predictor, data, properties, low_score=LOW_SCORE, tell=notes.append, report=progress
                )
            return Prediction(image, found.raw, self.names, notes=notes, model=predictor, objects=Objects(*found[1:]))
        with self._lock:
            labels, make_probabilities = predict_semantic(
                predictor, data, properties, keep_logits=keep_logits, report=progress
            )

        def probabilities() -> Any:
            with self._lock:  # they may be the network's turn again
                return make_probabilities()

        return Prediction(
            image,
            labels[None],
            self.names,
            notes=notes,
            model=predictor,
            probabilities=probabilities,
            properties=properties,
        )
