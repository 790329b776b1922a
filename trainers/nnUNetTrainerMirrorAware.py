"""Trains nnU-Net's own networks on nnU-Net's own plans, and keeps left and right apart when it mirrors.

    nnUNetv2_train 4 3d_fullres 0 -tr nnUNetTrainerMirrorAware
    nnUNetv2_train 4 3d_fullres 0 -tr nnUNetTrainerMirrorAware_50epochs

At the start it finds from the training labels which classes change places in a mirror; nnUNetv2_predict then exchanges
them in mirrored views. ``_<N>epochs`` after the name trains for so long. Where the start-up hook is not installed,
``export nnUNet_extTrainer=<checkout>/trainers`` makes nnU-Net find this file.
"""

import sys
from importlib.util import find_spec
from pathlib import Path

if find_spec("maskmed_nnu") is None:  # a checkout without any installation
    sys.path.append(str(Path(__file__).resolve().parents[1]))

from maskmed_nnu.nnunet.discovery.training_length import __getattr__
from maskmed_nnu.nnunet.training.trainers.mirror_aware import nnUNetTrainerMirrorAware
