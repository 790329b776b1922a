"""Networks in pure ``torch.nn``; the adapters to nnU-Net's plans live in ``maskmed_nnu.nnunet``."""

from maskmed_nnu.networks.iaunet import IAUNet
from maskmed_nnu.networks.maskattn_unet import MaskAttnUNet
from maskmed_nnu.networks.maskmed import MaskMed
from maskmed_nnu.networks.output import EmbeddingOutput, QueryOutput
from maskmed_nnu.networks.simple_unet import SimpleESKNet, SimpleUNet

__all__ = ["EmbeddingOutput", "IAUNet", "MaskAttnUNet", "MaskMed", "QueryOutput", "SimpleESKNet", "SimpleUNet"]
