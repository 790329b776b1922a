"""Train the model `nuclei` that the package ships, on images of fluorescent nuclei and their label maps.

    python benchmarks/train_nuclei.py --images DATA/dsb2018/images --masks DATA/dsb2018/masks --work /tmp/nuclei-160 \\
        --test 40 --minutes 75 --threads 1
    python benchmarks/train_nuclei.py --images DATA/dsb2018/images --masks DATA/dsb2018/masks --work /tmp/nuclei-200 \\
        --minutes 75 --threads 1 --figures /tmp/nuclei-160/figures.json

Everything goes through the commands: convert, plan, train (fold ``all``), export, predict, evaluate. The last
``--test`` images by name are not trained on; the package is compared with them, and ``WORK/figures.json`` has the
scores. Without ``--test`` the model is trained on all images, and ``WORK/nuclei.zip`` is what ``maskmed_nnu/models``
ships; its card has the ``--figures`` of the other run. A training that was stopped goes on; what is finished is not
repeated.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

from compare_instances import Commands
from result_tables import SCORES

NUMBER, DATA_SET = 1, "Dataset001_Nuclei"
PLANS, TRAINER = "IAUNetPlans", "nnUNetTrainerIAUNet"
CARD = Path(__file__).resolve().parent / "nuclei_card.md"


def train(args: argparse.Namespace, commands: Commands) -> Path:
    """Convert, plan and train where that is not done yet; returns the model's folder."""
    if not (args.work / "nnUNet_raw" / DATA_SET).is_dir():
        source = ("--images", args.images, "--masks", args.masks, "--classes", "nucleus")
        commands.run(
            "convert", "maskmed", "convert", *source, "--id", NUMBER, "--name", "Nuclei", "--test", args.test
        )  # a folder that is whole or absent
    planned = args.work / "planned"
    if not planned.is_file():
        processes = ("-np", args.threads, "-npfp", args.threads)
        command = ("-d", NUMBER, "-pl", "IAUNetPlanner", "-c", "2d", "--verify_dataset_integrity", *processes)
        # a planner limits torch to this number of threads, and 0 is not a legal number of threads
        commands.run("plan", "nnUNetv2_plan_and_preprocess", *command, nnUNet_n_proc_DA="1")
        planned.touch()
    trainer = f"{TRAINER}_{args.minutes}minutes"
    model = args.work / "nnUNet_results" / DATA_SET / f"{trainer}__{PLANS}__2d"
    if not (model / "fold_all" / "checkpoint_final.pth").is_file():
        resume = ("--c",) if (model / "fold_all" / "checkpoint_latest.pth").is_file() else ()
        names = ("-p", PLANS, "-tr", trainer, "-device", args.device)
        commands.run("train", "nnUNetv2_train", NUMBER, "2d", "all", *names, *resume)
    return model


def export(args: argparse.Namespace, commands: Commands, model: Path, figures: Path | None) -> Path:
    """Write the package, in half precision."""
    package = args.work / "nuclei.zip"
    measured = ("--figures", figures) if figures else ()
    folds = ("--folds", "all", "--checkpoint", args.checkpoint)
    commands.run("export", "maskmed", "export", model, package, "--card", CARD, *measured, *folds)
    return package


def measure(args: argparse.Namespace, commands: Commands, package: Path) -> Path:
    """Predict the unseen images with the package and evaluate; returns the file of the scores."""
    raw, found = args.work / "nnUNet_raw" / DATA_SET, args.work / "found"
    shutil.rmtree(found, ignore_errors=True)
    where = ("-i", raw / "imagesTs", "-o", found, "--device", args.device)
    commands.run("predict", "maskmed", "predict", "--model", package, *where, "--no-overlays")
    scores = args.work / "scores.json"
    compared = ("--truth", raw / "labelsTs", "--prediction", found, "--scores", found / "predictions_coco.json")
    commands.run("evaluate", "maskmed", "evaluate", *compared, "--json-file", scores)
    content = json.loads(scores.read_text())
    figures = args.work / "figures.json"
    figures.write_text(json.dumps({name: content[name] for name in ("images", *SCORES)}, indent=2) + "\n")
    return figures


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--images", type=Path, required=True, help="folder of images")
    add("--masks", type=Path, required=True, help="folder of label maps of the same names")
    add("--work", type=Path, required=True, help="where data, plans, weights and logs are kept")
    add("--test", type=int, default=0, help="the last images by name, which are not trained on (%(default)s)")
    add("--figures", type=Path, help="scores of the run with --test, for the card of one without")
    add("--minutes", type=int, default=60, help="of training (%(default)s)")
    add("--threads", type=int, default=1, help="torch threads on the CPU (%(default)s)")
    add("--workers", type=int, default=0, help="augmentation processes beside them (%(default)s)")
    add("--device", default="cpu", choices=("cpu", "cuda"))
    add("--checkpoint", default="checkpoint_final.pth", help="weights to export (%(default)s)")
    args = parser.parse_args()
    if args.test and args.figures:
        parser.error("--figures are those of another run; a run with --test has its own")
    args.images, args.masks, args.work, args.steps = args.images.resolve(), args.masks.resolve(), args.work.resolve(), 0
    args.work.mkdir(parents=True, exist_ok=True)
    return args


def main() -> None:
    args = parse_arguments()
    commands = Commands(args)
    model = train(args, commands)
    package, figures = export(args, commands, model, args.figures), args.figures
    if args.test:
        figures = measure(args, commands, package)
        export(args, commands, model, figures)
    print(f"\nmodel {model}\npackage {package} ({package.stat().st_size / 1e6:.1f} MB)")
    if figures:
        scores = json.loads(figures.read_text())
        print(f"{scores['images']} unseen images: " + "  ".join(f"{name} {scores[name]:.3f}" for name in SCORES))


if __name__ == "__main__":
    main()
