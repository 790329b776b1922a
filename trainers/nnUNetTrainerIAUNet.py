"""Trains IAUNet on plans of IAUNetPlanner: instance segmentation of images, and of volumes slice by slice.

    nnUNetv2_train 10 2d 0 -p IAUNetPlans -tr nnUNetTrainerIAUNet
    nnUNetv2_train 10 2d 0 -p IAUNetPlans -tr nnUNetTrainerIAUNet_50epochs

``_<N>epochs`` or ``_<N>minutes`` after the name trains for so long. Where the start-up hook is not installed,
``export nnUNet_extTrainer=<checkout>/trainers`` makes nnU-Net find this file.
"""

import sys
from importlib.util import find_spec
from pathlib import Path

if find_spec("maskmed_nnu") is None:  # a checkout without any installation
    sys.path.append(str(Path(__file__).resolve().parents[1]))

from maskmed_nnu.nnunet.discovery.training_length import __getattr__
from maskmed_nnu.nnunet.training.trainers.iaunet import nnUNetTrainerIAUNet
