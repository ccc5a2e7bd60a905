"""The units of an analysis on workers elsewhere, through any ``concurrent.futures.Executor``.

What travels to a worker is a `Portion`: names, types, shapes and places in files, never weights.
What comes back are sums. No protocol of our own: Dask, MPI or any other executor carries both.
"""
