"""Install a model package in nnU-Net's results."""

from __future__ import annotations

from pathlib import Path


def import_model(package: str | Path, *, dataset: str | None = None) -> Path:
    """Install a model package into ``nnUNet_results``, so that nnU-Net's own commands predict with it.

    ``nnUNetv2_predict`` writes the label maps that `load` of the package gives, bit for bit. The package is checked as
    `load` checks it, nothing of it is executed, and its checkpoints are written here, from its weights. The model's
    folder is complete or not there at all.

    Parameters
    ----------
    package
        A file of `export`, or the name of one of our models, as ``"nuclei"``.
    dataset
        The data set to install it under, ``Dataset123_Name``; by default the one that it was trained on.

    Returns
    -------
    Path
        The model's folder, ``nnUNet_results/DATASET/TRAINER__PLANS__CONFIGURATION``. Where that model is there already,
        nothing is changed.

    Raises
    ------
    InputError
        Where the package is damaged, or holds what no model needs; where another model of this name, or another data
        set of this number, is there.

    Examples
    --------
    >>> import maskmed_nnu as mm
    >>> mm.import_model("cells.zip")  # doctest: +SKIP
    PosixPath('/data/nnUNet_results/Dataset010_Cells/nnUNetTrainerIAUNet__IAUNetPlans__2d')
    """
    from maskmed_nnu.nnunet.model_sharing.installation import install_package

    return install_package(package, dataset=dataset)
