"""Losses as nnU-Net calls them: output of the network against a batch of label maps."""
