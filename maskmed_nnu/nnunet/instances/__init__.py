"""Instance data sets inside nnU-Net: reading, preprocessing, sampling, targets, prediction."""
