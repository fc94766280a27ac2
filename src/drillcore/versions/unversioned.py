"""A data.dvc before there is a version of the data."""

# What `dvc import-url remote://landing data` writes before it has looked.
NO_VERSION = "frozen: true\ndeps:\n- path: remote://landing\nouts:\n- path: data\n"
