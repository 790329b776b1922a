"""Train the model `nuclei` that the package ships, on images of fluorescent nuclei and their label maps.

    python benchmarks/train_nuclei.py --images DATA/dsb2018/images --masks DATA/dsb2018/masks --work /tmp/nuclei-160 \\
        --test 40 --minutes 60

Everything goes through the commands: convert, plan, train (fold ``all``). The last ``--test`` images by name are not
trained on. A training that was stopped goes on; what is finished is not repeated.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from compare_instances import Commands

NUMBER, DATA_SET = 1, "Dataset001_Nuclei"
PLANS, TRAINER = "IAUNetPlans", "nnUNetTrainerIAUNet"


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


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--images", type=Path, required=True, help="folder of images")
    add("--masks", type=Path, required=True, help="folder of label maps of the same names")
    add("--work", type=Path, required=True, help="where data, plans, weights and logs are kept")
    add("--test", type=int, default=0, help="the last images by name, which are not trained on (%(default)s)")
    add("--minutes", type=int, default=60, help="of training (%(default)s)")
    add("--threads", type=int, default=1, help="torch threads on the CPU (%(default)s)")
    add("--workers", type=int, default=0, help="augmentation processes beside them (%(default)s)")
    add("--device", default="cpu", choices=("cpu", "cuda"))
    args = parser.parse_args()
    args.images, args.masks, args.work, args.steps = args.images.resolve(), args.masks.resolve(), args.work.resolve(), 0
    args.work.mkdir(parents=True, exist_ok=True)
    return args


def main() -> None:
    args = parse_arguments()
    print(f"model {train(args, Commands(args))}")


if __name__ == "__main__":
    main()
