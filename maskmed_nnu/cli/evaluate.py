"""``maskmed evaluate``: compare predicted label maps with the true ones, for classes or objects."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from maskmed_nnu.cli.console import print_json, print_table, progress
from maskmed_nnu.cli.options import Json
from maskmed_nnu.errors import InputError

if TYPE_CHECKING:
    from maskmed_nnu.semantic.evaluation import SemanticEvaluation

DESCRIPTION = """\
Compare predicted label maps with the true ones (labelsTr or labelsTs of a data set), in two folders or two files. The
dataset.json in or above the folder of the truth, or in that of the prediction, says whether they hold classes or
objects.

Classes and regions: Dice, IoU, HD95, NSD and the difference of volumes. A class may be found, missed (in the truth
only), invented (in the prediction only) or not applicable; missed and invented count as the worst case; the means
over found classes are printed too. --compare tests two predictions against each other.

Objects: AP, AP50, AP75 are COCO's, with a cap of 1000 objects an image; F1, DSB AP (TP / (TP + FP + FN), mean over IoU
0.50 to 0.95), AJI, panoptic quality (PQ = SQ * RQ) and lesion-wise Dice (missed and invented objects count 0) are
summed over all images; FROC, with --scores, is the mean sensitivity at 1/8 to 8 false positives per image. Objects of
volumes are matched in 3D; --slices matches them slice by slice, as 2d models predict."""
EXAMPLE = """\
maskmed evaluate predicted labelsTs --csv scores.csv
maskmed evaluate predicted labelsTs --compare predicted_by_another_model
maskmed evaluate MODEL/fold_0/validation labelsTr --only-predicted
maskmed evaluate found Dataset010_Cells/labelsTs --scores found/predictions_coco.json"""
OBJECTS = "Objects"
CLASSES = "Classes"
MOST_DIFFERENCES = 5


def run(
    pred: Annotated[
        Path | None, Argument(metavar="PRED", help="first the predicted label maps: a folder, or a file")
    ] = None,
    gt: Annotated[Path | None, Argument(metavar="GT", help="then the true ones (ground truth)")] = None,
    truth: Annotated[Path | None, Option("--truth", metavar="DIR", help="the same as GT")] = None,
    prediction: Annotated[Path | None, Option("--prediction", metavar="DIR", help="the same as PRED")] = None,
    dataset: Annotated[
        Path | None,
        Option("--dataset-json", metavar="FILE", help="dataset.json (default: beside or above the label maps)"),
    ] = None,
    tolerance: Annotated[
        float, Option("--tolerance", metavar="MM", rich_help_panel=CLASSES, help="of the surfaces in NSD")
    ] = 1.0,
    compare: Annotated[
        Path | None,
        Option("--compare", metavar="DIR", rich_help_panel=CLASSES, help="other predictions, to be compared with PRED"),
    ] = None,
    only_predicted: Annotated[
        bool,
        Option("--only-predicted", help="leave out true cases without a prediction, as for MODEL/fold_0/validation"),
    ] = False,
    scores: Annotated[
        Path | None,
        Option(
            "--scores",
            metavar="JSON",
            rich_help_panel=OBJECTS,
            help="COCO results (predictions_coco.json), whose masks and scores make the AP (default: id maps, score 1)",
        ),
    ] = None,
    flat: Annotated[
        bool,
        Option(
            "--flat",
            rich_help_panel=OBJECTS,
            help="remove overlaps first: each pixel belongs to one object, the one with the highest score",
        ),
    ] = False,
    slices: Annotated[
        bool,
        Option(
            "--slices",
            rich_help_panel=OBJECTS,
            help="count volumes slice by slice, for 2d models, whose ids are not linked from slice to slice",
        ),
    ] = False,
    max_detections: Annotated[
        int,
        Option(
            "--max-detections",
            metavar="N",
            rich_help_panel=OBJECTS,
            help="objects of an image, or slice, that count for AP",
        ),
    ] = 1000,
    csv: Annotated[
        Path | None, Option("--csv", metavar="FILE", help="write the table of all cases to this file")
    ] = None,
    json_file: Annotated[
        Path | None, Option("--json-file", metavar="FILE", help="write all scores to this file")
    ] = None,
    json: Json = False,
) -> None:
    """Evaluate or compare, write the files, and print the table."""
    truth, prediction = _one(gt, truth, "GT", "--truth"), _one(pred, prediction, "PRED", "--prediction")
    # here, so that `maskmed evaluate --help` does not wait for the readers
    import maskmed_nnu as mm
    from maskmed_nnu.semantic.saving import check_output, save

    for path, kind in ((csv, ".csv"), (json_file, ".json")):
        if path is not None:
            check_output(path, kind)
    result: Any
    with progress() as report:
        if compare is not None:
            result = mm.compare(
                truth,
                prediction,
                compare,
                dataset=dataset,
                tolerance=tolerance,
                only_predicted=only_predicted,
                progress=report,
            )
        else:
            result = mm.evaluate(
                truth,
                prediction,
                dataset=dataset,
                tolerance=tolerance,
                scores=scores,
                max_detections=max_detections,
                flat=flat,
                only_predicted=only_predicted,
                per_slice=slices,
                progress=report,
            )
    for path, kind in ((csv, ".csv"), (json_file, ".json")):
        if path is not None:
            save(result, path, kind)
    if json:
        print_json(result.to_json())
        return
    print(result.title())
    for note in result.notes:
        print(f"Note: {note.removesuffix('.')}.")
    print()
    shown = result.shown_rows()
    print_table(list(shown[0]), [list(row.values()) for row in shown], names=2 if compare is not None else 1)
    if compare is not None:
        print(f"\n{result.conclusion()}\n\nCases that differ most in Dice:")
        most = result.differences("dice").head(MOST_DIFFERENCES)
        print_table(
            ["case", "class", "A", "B", "B − A"],
            [
                [str(c), str(n), f"{first:.3f}", f"{second:.3f}", f"{d:+.3f}"]
                for c, n, first, second, d in most.itertuples(index=False)
            ],
            names=2,
        )
    elif hasattr(result, "scores"):
        print(
            "\n"
            + "  ".join(f"{name} {result.scores[name]:.3f}".replace("nan", "–") for name in ("F1@0.5", "AP50", "PQ"))
        )
    else:
        _print_wrong_side(result)


def _print_wrong_side(result: SemanticEvaluation) -> None:
    if not result.partners:
        return
    table = result.wrong_side_table().groupby(["first", "second"], sort=False)[["wrong_side", "true_voxels"]].sum()
    print()
    print_table(
        ["partner", "of", "voxels on the wrong side", "true voxels"],
        [[*map(str, pair), f"{wrong:,}", f"{true:,}"] for pair, wrong, true in table.itertuples()],
        names=2,
    )


def _one(positional: Path | None, option: Path | None, name: str, long: str) -> Path:
    if (positional is None) == (option is None):
        both = "twice" if positional is not None else "not at all"
        raise InputError(f"{name} is given {both}; write maskmed evaluate PRED GT, or --prediction PRED --truth GT.")
    path = positional or option
    assert path is not None
    return path
