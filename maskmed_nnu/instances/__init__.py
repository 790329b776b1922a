"""Label maps with many objects.

Here: encoding, reading and writing, COCO, statistics. ``conversion`` makes data sets of other formats, ``stitching``
joins what tiles and views answered, ``metrics`` compares predictions with the truth.
"""
