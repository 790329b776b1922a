"""How far positions of a feature map depend on each other: estimators of scaling exponents, in numpy and scipy.

Sequences are arrays ``[..., N]``: samples of one process, whose curves are averaged before a power law is fitted.
"""
