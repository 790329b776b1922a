"""Put this folder on PYTHONPATH and every Python process knows the tests' own trainers."""

from maskmed_nnu.nnunet.names import NAMES

for name in ("nnUNetTrainerMaskMedTiny", "nnUNetTrainerIAUNetTiny", "nnUNetTrainerSimpleUNetTiny"):
    NAMES["trainer"][name] = f"tiny_trainer:{name}"
