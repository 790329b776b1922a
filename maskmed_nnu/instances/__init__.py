"""Label maps with many objects: encoding, reading and writing, statistics, stitching, metrics, COCO."""
