"""How rows of images are computed: in threads here or on Dask workers, by the same calls and so to the same bits."""
