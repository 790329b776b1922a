"""The adapter between nnU-Net and this package: the only place that imports ``nnunetv2``."""

from maskmed_nnu.nnunet.moved_modules import redirect_moved_modules

redirect_moved_modules()
