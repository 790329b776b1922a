"""``maskmed analyze``: how far positions depend on each other in the maps of a network's attention modules."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Option

from maskmed_nnu.cli.console import print_json, warn
from maskmed_nnu.cli.options import (
    Checkpoint,
    Configuration,
    Dataset,
    Device,
    Fold,
    Images,
    Json,
    ModelPath,
    Plans,
    Trainer,
    model_source,
)
from maskmed_nnu.errors import InputError
from maskmed_nnu.nnunet.inference.trained_model import check_hook, preprocess
from maskmed_nnu.output_paths import refuse_image_folder, refuse_output_over_input

if TYPE_CHECKING:
    from maskmed_nnu.analysis.module_curves import ModuleCurves

DESCRIPTION = """\
Measure how far positions depend on each other in the maps of a network's attention modules.

The output of every module, on the middle patch of each image, has a Hurst exponent, a detrended-fluctuation exponent
(DFA), a slope of the power spectral density (PSD) and an autocorrelation, along the rows and columns of all channels.
White noise has the exponents 0.5, 0.5 and 0, a random walk 1, 1.5 and -2.
docs/explanation/attention-reach.md says what each means.

In the output folder:
  analysis.csv   a row for each module, also printed
  MODULE.png     its autocorrelation, spectrum, fluctuations and
                 aggregated deviation, with the fitted laws"""
EXAMPLE = "maskmed analyze -i pictures -o measured -d 10"
TABLE = "analysis.csv"


def run(
    input: Images,
    output: Annotated[Path, Option("-o", "--output", metavar="DIR", help="folder for table and plots")],
    model: ModelPath = None,
    dataset: Dataset = None,
    trainer: Trainer = "nnUNetTrainerMaskAttnUNet",
    plans: Plans = "MaskAttnUNetPlans",
    configuration: Configuration = "2d",
    checkpoint: Checkpoint = "checkpoint_final.pth",
    fold: Fold = None,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Measure every image, then write the table and the plots.

    Raises:
        InputError: Before anything is measured, if model or input are invalid; after everything is written, if some
            images could not be measured.
    """
    check_hook()
    refuse_image_folder(output)
    from tqdm import tqdm

    from maskmed_nnu.analysis.attention_maps import attention_modules, central_patch, module_outputs
    from maskmed_nnu.analysis.module_curves import ModuleCurves, markdown_table
    from maskmed_nnu.nnunet.inference.input_cases import find_cases
    from maskmed_nnu.nnunet.preprocessing.case_checks import channel_names

    source = model_source(model, dataset, checkpoint, trainer=trainer, plans=plans, configuration=configuration)
    fold = source.choose_folds(fold)[0]
    predictor = source.predictor([fold], device=device, mirroring=False)
    network = getattr(predictor.network, "_orig_mod", predictor.network).to(predictor.device).eval()
    modules = attention_modules(network)
    if not modules:
        raise InputError(
            f"The {type(network).__name__} in {source.name} has no attention modules; analyze takes a MaskAttnUNet "
            "whose placement is not none."
        )
    cases = find_cases(input, channels=len(channel_names(predictor.dataset_json)))
    images = [file for case in cases for file in case.files]
    written = [output, output / TABLE, *(output / f"{name}.png" for name in modules)]
    refuse_output_over_input(written, [input, *images, *{file.parent for file in images}])
    maps = {name: ModuleCurves() for name in modules}
    failed = padded = 0
    with tqdm(cases, unit="image") as bar:
        for case in bar:
            bar.set_postfix_str(case.name)
            try:
                data = preprocess(predictor, case)[1]
            except InputError as error:
                failed += 1
                tqdm.write(f"{case.name}: {error}", file=sys.stderr if json else sys.stdout)
                continue
            patch, smaller = central_patch(data, predictor.configuration_manager.patch_size)
            padded += smaller
            for name, values in module_outputs(network, modules, patch).items():
                maps[name].add(values)
    if padded:
        patch_size = "×".join(map(str, predictor.configuration_manager.patch_size))
        warn(
            f"{padded} images are smaller than the patch of {patch_size}: they are padded with zeros, and the "
            "zeros are measured too."
        )
    if failed < len(cases):
        _write(output, maps)
    if failed < len(cases) and json:
        rows = [{"module": name, **measured.row()} for name, measured in maps.items()]
        print_json({"model": source.name, "fold": fold, "modules": rows, "table": output / TABLE, "failed": failed})
    elif failed < len(cases):
        print(f"\nfold {fold} of {source.name}\n\n{markdown_table(maps)}\n")
        print(f"table {output / TABLE}, plots beside it")
    if failed:
        raise InputError(
            f"{failed} of {len(cases)} images could not be measured; the reason for each is printed above."
        )


def _write(folder: Path, maps: dict[str, ModuleCurves]) -> None:
    from tqdm import tqdm

    from maskmed_nnu.analysis.module_curves import write_csv
    from maskmed_nnu.atomic_write import write_atomically
    from maskmed_nnu.visualization.attention_curves import attention_curves

    folder.mkdir(parents=True, exist_ok=True)
    write_csv(folder / TABLE, maps)
    for name, measured in tqdm(maps.items(), unit="plot"):
        figure = attention_curves(name, measured)
        write_atomically(folder / f"{name}.png", partial(figure.savefig, dpi=110))
