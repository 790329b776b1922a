"""Networks in pure ``torch.nn``; the adapters to nnU-Net's plans live in ``maskmed_nnu.nnunet``."""

from maskmed_nnu.networks.iaunet import IAUNet
from maskmed_nnu.networks.maskmed import MaskMed
from maskmed_nnu.networks.output import QueryOutput
from maskmed_nnu.networks.simple_unet import SimpleESKNet, SimpleUNet

__all__ = ["IAUNet", "MaskMed", "QueryOutput", "SimpleESKNet", "SimpleUNet"]
