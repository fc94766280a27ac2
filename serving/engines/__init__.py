"""Where shards are scored: in this process, or on Dask workers. Both give the same parts, journal and receipt."""
