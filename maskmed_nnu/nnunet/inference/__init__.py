"""From a trained model and images to files: prediction, stitching, export, and what is refused."""
