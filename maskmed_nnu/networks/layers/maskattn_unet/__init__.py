"""Parts of MaskAttn-UNet alone."""
