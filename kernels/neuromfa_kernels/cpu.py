"""The three operations on the CPU, for arrays that the door has checked."""

from neuromfa_kernels.cpu_counts import add_neighbours
from neuromfa_kernels.cpu_dimension import fractal_dimension
from neuromfa_kernels.cpu_partition import partition_function

__all__ = ["add_neighbours", "fractal_dimension", "partition_function"]
