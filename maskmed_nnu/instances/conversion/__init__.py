"""From COCO json, label maps or masks of somebody else's to an nnU-Net raw data set."""
