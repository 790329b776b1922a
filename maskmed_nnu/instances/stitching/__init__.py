"""From the objects of overlapping tiles, mirrored views and several networks to the objects of the image."""
