"""``maskmed predict``: label maps as ``nnUNetv2_predict`` writes them, overlays, and COCO results of objects."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from typer import Option

from maskmed_nnu.cli.console import print_json, progress
from maskmed_nnu.cli.options import (
    Axes,
    Checkpoint,
    Configuration,
    Dataset,
    Device,
    Folds,
    Images,
    Json,
    ModelPath,
    Plans,
    Trainer,
    model_source,
)

DESCRIPTION = """\
Predict the classes or the objects in images of all supported formats.

In the output folder, for every image:
  NAME.tif             classes or ids as nnUNetv2_predict writes them
                       (or .nii.gz …)
  overlays/NAME.png    the image with classes tinted, or objects outlined;
                       objects of volumes in three planes
  objects/NAME.csv     table of the objects: class, score, size, position, box …
  coco/NAME.json       objects with scores, overlapping (RLE)
and for the objects of all images objects.csv and predictions_coco.json (image_id is NAME, for slices NAME_z; the slices
of one object of a volume share an instance_id). The latter also lists less likely objects, down to a score of 0.05, for
the average precision; maps, tables and overlays omit them.
--write adds files for other tools:
  geojson   geojson/NAME.geojson   QuPath
  rois      rois/NAME.zip          ImageJ, Fiji
  seg.nrrd  slicer/NAME.seg.nrrd   3D Slicer
  itksnap   itksnap/NAME.txt       ITK-SNAP: names and colours of the labels
  tif       tif/NAME.tif           any: label map with resolution and unit

An OME-Zarr, or a TIFF with an output NAME.ome.zarr, is predicted in windows and may be larger than memory. The output
is then an OME-Zarr of ids, with a table NAME.csv beside it, one row for each object.

An image that cannot be read is skipped with a message. If the command was stopped, run it again: it resumes. An image
that has changed is predicted again (predicted_from/NAME.json records from which file NAME was predicted)."""
EXAMPLE = "maskmed predict -i images -o found -d 10 -f 0"


def run(
    input: Images,
    output: Annotated[Path, Option("-o", "--output", metavar="DIR", help="folder for the predictions")],
    axes: Axes = None,
    model: ModelPath = None,
    dataset: Dataset = None,
    tr: Trainer = "nnUNetTrainerIAUNet",
    p: Plans = "IAUNetPlans",
    c: Configuration = "2d",
    checkpoint: Checkpoint = "checkpoint_final.pth",
    folds: Folds = None,
    device: Device = "auto",
    mirroring: Annotated[bool, Option("--mirroring/--no-mirroring", help="average mirrored views")] = True,
    coco: Annotated[bool, Option("--coco/--no-coco", help="write COCO results")] = True,
    overlays: Annotated[bool, Option("--overlays/--no-overlays", help="draw pictures")] = True,
    save_probabilities: Annotated[
        bool,
        Option(
            "--save-probabilities", "--save_probabilities", help="write the probabilities of the classes to NAME.npz"
        ),
    ] = False,
    write: Annotated[
        list[str] | None,
        Option(
            "--write",
            metavar="KIND",
            help="files for other tools: geojson, rois, seg.nrrd, itksnap, tif (several allowed)",
        ),
    ] = None,
    overwrite: Annotated[
        bool, Option("--overwrite", help="predict all images again, even if predictions exist")
    ] = False,
    parts: Annotated[
        int, Option("--parts", metavar="N", help="OME-Zarr: number of jobs that share the windows; omit to merge them")
    ] = 1,
    part: Annotated[int, Option("--part", metavar="K", help="OME-Zarr: which of these jobs this is, from 0 on")] = 0,
    json: Json = False,
) -> None:
    """Predict every image, then merge the COCO results.

    Raises:
        InputError: Before anything is predicted, if model, input or output are invalid; after everything is
            predicted, if some images failed.
    """
    from maskmed_nnu.api.model import Model
    from maskmed_nnu.instances.text import count, format_list
    from maskmed_nnu.nnunet.inference.failed_cases import failure_lines, refuse_failed

    source = model_source(model, dataset, checkpoint, trainer=tr, plans=p, configuration=c)
    loaded = Model(source, folds=folds, device=device, mirroring=mirroring)
    if ".zarr" in (input.suffix, output.suffix):
        with progress() as report:
            done = loaded.predict_big(input, output, part=part, parts=parts, overwrite=overwrite, progress=report)
        for note in [] if json else dict.fromkeys(done.notes):
            print(note)
        if json:
            print_json(asdict(done))
        elif done.missing:
            left = count(done.missing, "window")
            print(f"{done.predicted} of {count(done.windows, 'window')} predicted; {left} left for other parts")
        elif done.objects is None:
            print("all windows are predicted; run the same command without --parts to merge them")
        else:
            print(f"{count(done.objects, 'object')}: {done.table}\npredictions {done.output}")
        return
    with progress() as report:
        summary = loaded.predict_folder(
            input,
            output,
            axes=axes,
            coco=coco,
            overlays=overlays,
            probabilities=save_probabilities,
            write=write or [],
            overwrite=overwrite,
            progress=report,
        )
    total = len(summary.predicted) + len(summary.kept) + len(summary.failed)
    if json:
        print_json({**asdict(summary), "images": total})
    else:
        if summary.kept:
            print(f"{len(summary.kept)} of {total} images are predicted already (--overwrite predicts them again)")
        for note in summary.notes:
            print(note)
        for line in failure_lines(summary.failed):
            print(line)
        complete = total - len(summary.failed)
        if summary.table is not None:
            print(f"{count(summary.objects or 0, 'object')} in {count(complete, 'image')}: {summary.table}")
        if summary.results is not None:
            print(f"{count(summary.candidates or 0, 'result')}, low scores included: {summary.results}")
        if summary.others:
            tables = [path.name for path in (summary.results, summary.table) if path is not None]
            verb = "leaves" if len(tables) == 1 else "leave"
            left_out = f", which {' and '.join(tables)} {verb} out" if tables else ""
            others = count(len(summary.others), "image")
            print(
                f"{output} also holds predictions of {others} not in {input}{left_out}: {format_list(summary.others)}"
            )
        print(f"predictions {output}")
    refuse_failed(summary.failed, total)
    if not json:
        evaluate = ["maskmed", "evaluate", str(output), "TRUE_LABELS"]
        evaluate += ["--scores", str(summary.results)] if summary.results is not None else []
        what = "objects" if loaded.has_objects else "classes"
        print(f"Where the true {what} are known: {shlex.join(evaluate)}")
