"""Worker pools: threads, processes, a Dask cluster."""
