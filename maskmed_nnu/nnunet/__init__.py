"""The adapter between nnU-Net and this package: the only place that imports ``nnunetv2``."""
