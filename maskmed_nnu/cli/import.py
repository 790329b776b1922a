"""``maskmed import``: install a model package for nnU-Net's own commands."""

from __future__ import annotations

from typing import Annotated

from typer import Argument, Option

from maskmed_nnu.cli.console import print_json
from maskmed_nnu.cli.options import Json

DESCRIPTION = """\
Install a model package from `maskmed export` in nnUNet_results, so that nnUNetv2_predict finds it.

Checksums and names in it are checked first, and nothing in it is executed. `maskmed predict --model FILE` reads a
package directly; no installation is needed."""
EXAMPLE = """\
maskmed import cells.zip"""


def run(
    package: Annotated[str, Argument(metavar="PACKAGE", help="a model package (.zip), or nuclei, which comes with us")],
    dataset: Annotated[
        str | None,
        Option("-d", "--dataset", metavar="NAME", help="data set to install it under, as Dataset123_Cells"),
    ] = None,
    json: Json = False,
) -> None:
    """Install the package and print the command with which nnU-Net predicts."""
    from maskmed_nnu.api.installation import import_model
    from maskmed_nnu.nnunet.inference.model_source import open_model
    from maskmed_nnu.nnunet.model_sharing.installation import predict_command

    folder = import_model(package, dataset=dataset)
    command = predict_command(folder, open_model(package).choose_folds(None))
    if json:
        print_json({"model": str(folder), "command": command})
        return
    print(f"Installed {folder}\nPredict with: {command}")
