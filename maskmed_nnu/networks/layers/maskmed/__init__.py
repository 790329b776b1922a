"""Parts of MaskMed alone."""
