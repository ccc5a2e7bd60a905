"""The three operations on an NVIDIA GPU, for arrays that the door has checked."""

from neuromfa_kernels.cuda_arrays import on_device
from neuromfa_kernels.cuda_counts import add_many, add_neighbours
from neuromfa_kernels.cuda_dimension import fractal_dimension
from neuromfa_kernels.cuda_partition import partition_function

__all__ = ["add_many", "add_neighbours", "fractal_dimension", "on_device", "partition_function"]
