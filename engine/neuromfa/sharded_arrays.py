"""Tensors of which each rank of a distributed program holds a part (DTensor, FSDP2)."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from neuromfa.errors import NeuromfaError, UnsupportedError
from neuromfa.mapped_files import BLOCK_BYTES
from neuromfa.memory import Arrays
from neuromfa.process_group import ProcessGroup
from neuromfa.shards import Shard, chunk
from neuromfa.tensors import TensorRef, array_dtype, natural_key, shown

_WHOLE = "give whole tensors: torch.distributed.checkpoint.state_dict, full_state_dict=True"


class ShardedArrays:
    """Tensors over the ranks of a mesh; those that are no DTensor count on its first rank.

    Attributes
    ----------
    refs : dict of str to TensorRef
        The whole tensors; `gpu` is that of this rank's part.
    local : Arrays
        What this rank holds of each.
    shards : dict of str to Shard
        Which part that is.
    ranks : ProcessGroup
        Those that hold the others.

    Raises
    ------
    UnsupportedError
        On every rank, if a tensor is placed in a way that is not read, on any.
    """

    def __init__(self, tensors: Mapping[str, Any], source: str) -> None:
        self._source = source
        first = next(value for value in tensors.values() if is_sharded(value))
        self.ranks = ProcessGroup(first.device_mesh, first.to_local().device)
        try:
            self.shards = {
                name: self._shard(name, value, first)
                for name, value in tensors.items()
                if hasattr(value, "shape")
            }
            self.local = Arrays(
                {k: v.to_local() if is_sharded(v) else v for k, v in tensors.items()}, source
            )
            problem = None
        except NeuromfaError as error:
            problem = error
        self.ranks.go_on(problem)
        self.refs = {
            name: replace(ref, shape=self.shards[name].shape)
            for name, ref in self.local.refs.items()
        }

    def _shard(self, name: str, tensor: Any, first: Any) -> Shard:
        """Which part of a tensor lies here, by its placements."""
        shape = tuple(map(int, tensor.shape))
        if not is_sharded(tensor):
            return Shard(name, shape, (0,) * len(shape), shape, self.ranks.rank == 0)
        where = f"{self._source}: tensor {shown(name)}"
        mesh = tensor.device_mesh
        if mesh.mesh.tolist() != first.device_mesh.mesh.tolist():
            raise UnsupportedError(
                f"{where}: lies on the ranks {mesh.mesh.tolist()}, others on "
                f"{first.device_mesh.mesh.tolist()}; {_WHOLE}"
            )
        starts, lengths, counts = [0] * len(shape), list(shape), True
        for placement, parts, place in zip(
            tensor.placements, mesh.shape, mesh.get_coordinate(), strict=True
        ):
            kind = type(placement).__name__
            if kind == "Replicate":
                counts = counts and place == 0
            elif kind == "Shard":
                axis = placement.dim
                start, lengths[axis] = chunk(lengths[axis], parts, place)
                starts[axis] += start
            else:
                raise UnsupportedError(f"{where}: is placed as {placement}; {_WHOLE}")
        held = tuple(map(int, tensor.to_local().shape))
        if held != tuple(lengths):
            raise UnsupportedError(
                f"{where}: rank {self.ranks.rank} holds {list(held)} of it, not the "
                f"{lengths} of equal chunks; {_WHOLE}"
            )
        return Shard(name, shape, tuple(starts), tuple(lengths), counts)

    def aliases(self) -> dict[str, str]:
        """Names of tied tensors as on the first rank, which holds a part of every tensor."""
        names = sorted(self.refs, key=natural_key)
        tied = self.local.aliases()
        number = {name: k for k, name in enumerate(names)}
        places = [number[tied[name]] if name in tied else -1 for name in names]
        shared = self.ranks.from_first(np.array(places, np.int64))
        return {name: names[k] for name, k in zip(names, shared, strict=True) if k >= 0}

    def blocks(self, ref: TensorRef) -> Iterator[npt.NDArray[np.uint8]]:
        """Bytes of a whole tensor in C order, a few at a time; all ranks ask for them together."""
        shard = self.shards[ref.name]
        cols = ref.shape[-1] if ref.shape else 1
        itemsize = np.dtype(array_dtype(ref.dtype)).itemsize
        rows = math.prod(ref.shape) // cols if ref.size else 0
        step = max(1, BLOCK_BYTES // (max(1, cols) * itemsize))
        for start in range(0, rows, step):
            block = np.zeros((min(step, rows - start), cols * itemsize), np.uint8)
            for part in shard.rows(cols, start, start + len(block)) if shard.counts else ():
                own = self.local.rows(
                    self.local.refs[ref.name], part.start, part.stop, shard.columns(cols)
                )
                into = block[part.row - start : part.row - start + len(own)]
                into[:, part.first * itemsize : part.last * itemsize] = np.ascontiguousarray(
                    own
                ).view(np.uint8)
            yield self.ranks.add(block).reshape(-1)

    def rows(self, ref: TensorRef, _start: int, _stop: int, _cols: int) -> NoReturn:
        """Refuse: no rank holds a whole row."""
        raise UnsupportedError(
            f"{self._source}: tensor {shown(ref.name)} is sharded over {self.ranks.size} ranks, "
            f"and this needs it whole; {_WHOLE}"
        )

    def copy_rows(self, ref: TensorRef, start: int, cols: int, _out: Any) -> NoReturn:
        """Refuse, as `rows` does."""
        self.rows(ref, start, start, cols)

    def on_gpu(self, ref: TensorRef) -> NoReturn:
        """Refuse, as `rows` does."""
        self.rows(ref, 0, 0, 0)

    def prefetch(self, ref: TensorRef) -> None:
        """Nothing: it is in memory."""

    def release(self, ref: TensorRef) -> None:
        """Nothing: its owner needs it."""

    def close(self) -> None:
        """Let go of the tensors."""
        self.local.close()


def is_sharded(tensor: Any) -> bool:
    """Whether a tensor is a DTensor."""
    module: Any = sys.modules.get("torch.distributed.tensor")
    return module is not None and isinstance(tensor, module.DTensor)


def hold(tensors: Mapping[str, Any], source: str) -> Arrays | ShardedArrays:
    """Take tensors in memory, whole or sharded.

    Raises
    ------
    UsageError, BadInputError, UnsupportedError, ResourceError
        As `Arrays` and `ShardedArrays` do.
    """
    if any(map(is_sharded, tensors.values())):
        return ShardedArrays(tensors, source)
    return Arrays(tensors, source)
