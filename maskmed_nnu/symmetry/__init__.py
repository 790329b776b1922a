"""What a mirror does to the classes of a data set: which of them take each other's places.

``places`` measures the classes of one case, ``find`` decides for each world axis from the measurements of all cases.
"""
