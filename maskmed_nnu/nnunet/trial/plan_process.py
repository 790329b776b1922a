"""The process that plans a data set with several planners: ``python -m … FOLDER``, which holds a ``job.json``.

nnU-Net's planners read and write below the folders that environment variables name, so they run in a process whose
variables name a temporary folder. It writes ``result.json``, and a line to stdout for each step that begins.
"""

from __future__ import annotations

import io
import os
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

from maskmed_nnu.errors import InputError
from maskmed_nnu.json_file import read_json, write_json


def main(folder: Path) -> None:
    """``job.json``: ``data_set``, ``planners`` (a planner's name → the name of its plans), ``processes``."""
    job = read_json(folder / "job.json", expected="what to plan")
    steps = sys.stdout
    results: dict[str, Any] = {}
    for planner, plans in job["planners"].items():
        try:
            results[planner] = _plan(job["data_set"], planner, plans, job["processes"], steps)
        except InputError as error:
            results[planner] = {"error": str(error)}
    write_json(folder / "result.json", results)


def _plan(data_set: str, planner: str, plans: str, processes: int, steps: Any) -> dict[str, Any]:
    from nnunetv2.experiment_planning.dataset_fingerprint.fingerprint_extractor import DatasetFingerprintExtractor
    from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner

    from maskmed_nnu.nnunet.discovery.class_search import find

    printed = io.StringIO()
    with redirect_stdout(printed), redirect_stderr(io.StringIO()):
        planner_class = find("planner", planner) or ExperimentPlanner
        check = getattr(planner_class, "check_data_set", None)
        if check is not None:
            check(data_set)
        printed.truncate(0)
        fingerprint = Path(os.environ["nnUNet_preprocessed"]) / data_set / "dataset_fingerprint.json"
        if not fingerprint.is_file():
            print("fingerprint", file=steps, flush=True)
            DatasetFingerprintExtractor(data_set, processes).run()
        print(planner, file=steps, flush=True)
        made = planner_class(data_set, plans_name=plans)
        printed = io.StringIO()
        with redirect_stdout(printed):
            made.plan_experiment()
    return {
        "plans": read_json(fingerprint.parent / f"{plans}.json", expected="nnU-Net's plans"),
        "printed": "" if planner_class is ExperimentPlanner else printed.getvalue().strip(),
        "costs": _costs(made, fingerprint.parent / f"{plans}.json"),
    }


def _costs(planner: Any, plans_file: Path) -> dict[str, dict[str, float]]:
    """Parameters, and memory in GB by the measure with which nnU-Net fills the memory that it plans for."""
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    from maskmed_nnu.nnunet.plans_handling.meta_network import feature_map_size, meta_network

    manager = PlansManager(read_json(plans_file, expected="nnU-Net's plans"))
    costs = {}
    for name in manager.available_configurations:
        configuration = manager.get_configuration(name)
        if configuration.previous_stage_name is not None:
            continue
        network = meta_network(
            configuration.network_arch_class_name,
            configuration.network_arch_init_kwargs,
            configuration.network_arch_init_kwargs_req_import,
            len(planner.dataset_json.get("channel_names") or planner.dataset_json["modality"]),
            manager.get_label_manager(planner.dataset_json).num_segmentation_heads,
        )
        flat = len(configuration.patch_size) == 2
        reference = planner.UNet_reference_val_2d if flat else planner.UNet_reference_val_3d
        samples = planner.UNet_reference_val_corresp_bs_2d if flat else planner.UNet_reference_val_corresp_bs_3d
        share = feature_map_size(network, configuration.patch_size) / reference * configuration.batch_size / samples
        costs[name] = {
            "parameters": sum(parameter.numel() for parameter in network.parameters()),
            "memory_gb": share * planner.UNet_reference_val_corresp_GB,
        }
    return costs


if __name__ == "__main__":
    main(Path(sys.argv[1]))
