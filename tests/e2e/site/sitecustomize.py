"""Put this folder on PYTHONPATH and every Python process knows the tests' own trainers."""

from maskmed_nnu.nnunet.discovery.names import NAMES

TINY = (
    "MaskMed",
    "IAUNet",
    "SimpleUNet",
    "MaskAttnUNet",
    "MaskAttnUNetInstance",
    "MaskAttnUNetPanoptic",
    "MirrorAware",
)
for name in (f"nnUNetTrainer{network}Tiny" for network in TINY):
    NAMES["trainer"][name] = f"tiny_trainer:{name}"
