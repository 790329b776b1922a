"""Parts of IAUNet alone."""
