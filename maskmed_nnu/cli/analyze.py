"""``maskmed analyze``: how far positions depend on each other in the maps of a network's attention modules."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from maskmed_nnu.cli.options import add_model_arguments, model_source
from maskmed_nnu.errors import InputError
from maskmed_nnu.nnunet.inference.devices import DEVICES
from maskmed_nnu.nnunet.inference.trained_model import check_hook, preprocess
from maskmed_nnu.output_paths import refuse_image_folder, refuse_output_over_input

if TYPE_CHECKING:
    from maskmed_nnu.analysis.module_curves import ModuleCurves

DESCRIPTION = """\
Measure the output of every attention module of a trained network on the middle patch of each image: Hurst exponent,
detrended-fluctuation exponent (DFA), slope of the power spectral density (PSD) and autocorrelation, along the rows and
columns of all channels. In the output folder:

  analysis.csv   a row for each module; the same table is shown on the screen
  MODULE.png     its autocorrelation, spectrum, fluctuations and aggregated deviation, with the fitted laws

White noise has the exponents 0.5, 0.5 and 0, a random walk 1, 1.5 and -2. docs/analysis.md says what each means."""
TABLE = "analysis.csv"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``maskmed analyze``."""
    parser.add_argument("-i", "--input", type=Path, required=True, metavar="PATH", help="folder of images, or an image")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="folder for table and plots")
    model = add_model_arguments(parser, trainer="nnUNetTrainerMaskAttnUNet", plans="MaskAttnUNetPlans")
    model.add_argument("-f", "--fold", metavar="FOLD", help="fold to analyze (default: the first that is trained)")
    parser.add_argument("--device", choices=DEVICES, default="auto", help="(%(default)s)")


def run(options: argparse.Namespace) -> None:
    """Measure every image, then write the table and the plots.

    Raises:
        InputError: before anything is measured, where model or input are at fault; after everything is written, where
            some images could not be measured.
    """
    check_hook()
    refuse_image_folder(options.output)
    from tqdm import tqdm

    from maskmed_nnu.analysis.attention_maps import attention_modules, central_patch, module_outputs
    from maskmed_nnu.analysis.module_curves import ModuleCurves, markdown_table
    from maskmed_nnu.nnunet.inference.input_cases import find_cases
    from maskmed_nnu.nnunet.preprocessing.case_checks import channel_names

    model = model_source(options)
    fold = model.choose_folds(options.fold)[0]
    predictor = model.predictor([fold], device=options.device, mirroring=False)
    network = getattr(predictor.network, "_orig_mod", predictor.network).to(predictor.device).eval()
    modules = attention_modules(network)
    if not modules:
        raise InputError(
            f"The {type(network).__name__} in {model.name} has no attention modules; analyze takes a MaskAttnUNet "
            "whose placement is not none."
        )
    cases = find_cases(options.input, channels=len(channel_names(predictor.dataset_json)))
    images = [file for case in cases for file in case.files]
    written = [options.output, options.output / TABLE, *(options.output / f"{name}.png" for name in modules)]
    refuse_output_over_input(written, [options.input, *images, *{file.parent for file in images}])
    maps = {name: ModuleCurves() for name in modules}
    failed = padded = 0
    with tqdm(cases, unit="image") as bar:
        for case in bar:
            bar.set_postfix_str(case.name)
            try:
                data = preprocess(predictor, case)[1]
            except InputError as error:
                failed += 1
                tqdm.write(f"{case.name}: {error}")
                continue
            patch, smaller = central_patch(data, predictor.configuration_manager.patch_size)
            padded += smaller
            for name, output in module_outputs(network, modules, patch).items():
                maps[name].add(output)
    if padded:
        patch_size = "×".join(map(str, predictor.configuration_manager.patch_size))
        print(f"{padded} images are smaller than the patch of {patch_size}: the zeros around them are measured, too.")
    if failed < len(cases):
        _write(options.output, maps)
        print(f"\nfold {fold} of {model.name}\n\n{markdown_table(maps)}\n")
        print(f"table {options.output / TABLE}, plots beside it")
    if failed:
        raise InputError(f"{failed} of {len(cases)} images could not be measured; the reason for each stands above.")


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
