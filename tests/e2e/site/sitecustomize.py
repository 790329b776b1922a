"""Put this folder on PYTHONPATH and every Python process knows the tests' own trainer."""

from maskmed_nnu.nnunet.names import NAMES

NAMES["trainer"]["nnUNetTrainerMaskMedTiny"] = "tiny_trainer:nnUNetTrainerMaskMedTiny"
