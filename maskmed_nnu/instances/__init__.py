"""Label maps with many objects.

Here: encoding, reading and writing, COCO, statistics. ``conversion`` makes data sets of other formats, ``stitching``
merges the detections of tiles and views, ``metrics`` compares predictions with the truth.
"""
