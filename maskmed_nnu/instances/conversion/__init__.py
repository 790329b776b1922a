"""From COCO json, label maps or masks to an nnU-Net raw data set."""
