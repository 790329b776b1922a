"""Parts of SimpleUNet alone."""
