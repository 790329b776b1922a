"""The plugin of napari: a layer in, layers of labels out, by the Python API; `napari.yaml` tells napari of it."""
