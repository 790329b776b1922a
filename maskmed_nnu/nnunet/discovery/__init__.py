"""How nnU-Net finds what we add: the wrapped class searches, and every name of ours."""
