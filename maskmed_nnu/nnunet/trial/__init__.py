"""Tried out before anything is written into nnU-Net's folders: plans of each network, and a few training steps."""
