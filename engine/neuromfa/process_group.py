"""The ranks that hold the shards of a model: they add integers, and stop together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from neuromfa.errors import (
    BadInputError,
    NeuromfaError,
    PartialError,
    ResourceError,
    UnsupportedError,
    UsageError,
)

if TYPE_CHECKING:
    import torch
    from torch.distributed.device_mesh import DeviceMesh

MESSAGE_BYTES = 2000
_KINDS = {
    kind.exit_code: kind
    for kind in (UsageError, PartialError, UnsupportedError, BadInputError, ResourceError)
}


class ProcessGroup:
    """The ranks of a device mesh. Every method is called by all of them, in the same order.

    Parameters
    ----------
    mesh : torch.distributed.device_mesh.DeviceMesh
        Of any number of dimensions; its own process groups are used, no other is made.
    device : torch.device
        Where the shards of this rank lie, and what is added travels from.

    Attributes
    ----------
    rank, size : int
        Place of this process in the mesh, and how many there are.
    """

    def __init__(self, mesh: DeviceMesh, device: torch.device) -> None:
        place = mesh.get_coordinate()
        if place is None:
            raise UsageError(
                "this process is not among the ranks that hold the module; call on those alone"
            )
        shape = tuple(mesh.shape)
        self.rank, self.size = int(np.ravel_multi_index(place, shape)), int(np.prod(shape))
        self._groups = [mesh.get_group(dimension) for dimension in range(mesh.ndim)]
        self._device, self._over = device, False

    def add(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Add the integers that each rank has; the sums are written to `array` on all of them.

        Parameters
        ----------
        array : uint8, int32, uint32 or int64 array
            Of the same type and shape on all ranks; no sum may leave the range of its type.
        """
        import torch  # noqa: PLC0415  (slow to import)
        import torch.distributed as dist  # noqa: PLC0415

        whole = np.ascontiguousarray(array)
        plain = whole.view(np.int32) if whole.dtype == np.uint32 else whole  # the same additions
        tensor = torch.from_numpy(plain).to(self._device)
        for group in self._groups:
            dist.all_reduce(tensor, group=group)
        array[...] = tensor.cpu().numpy().view(array.dtype)
        return array

    def from_first(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Give every rank what the first has."""
        if self.rank:
            array[...] = 0
        return self.add(array)

    def go_on(self, problem: BaseException | None = None) -> None:
        """Go on together, or stop together: called before each step that all ranks take.

        Parameters
        ----------
        problem : exception, optional
            Why this rank cannot go on.

        Raises
        ------
        NeuromfaError
            On every rank, the `problem` of the first rank that has one.
        """
        if self._over:
            if problem is not None:
                raise problem
            return
        codes = np.zeros(self.size, np.int32)
        if problem is not None:
            known = isinstance(problem, NeuromfaError) and problem.exit_code in _KINDS
            codes[self.rank] = problem.exit_code if known else PartialError.exit_code  # type: ignore[attr-defined]
        if not self.add(codes).any():
            return
        self._over = True
        first = int(np.flatnonzero(codes)[0])
        text = np.zeros(MESSAGE_BYTES, np.uint8)
        if first == self.rank:
            words = f"{problem}" if isinstance(problem, NeuromfaError) else f"{problem!r}"
            said = words.encode()[:MESSAGE_BYTES]
            text[: len(said)] = np.frombuffer(said, np.uint8)
        words = self.add(text).tobytes().rstrip(b"\0").decode(errors="ignore")
        if problem is not None:
            raise problem
        raise _KINDS[int(codes[first])](f"rank {first} of {self.size} stopped: {words}")

    def begin(self) -> None:
        """Take steps together again, for another analysis of what was opened once."""
        self._over = False

    def end(self) -> None:
        """Take no more steps together: no rank waits for another from now on."""
        self._over = True

    def leave(self, problem: BaseException) -> None:
        """Stop, and let the other ranks know, unless all have stopped or ended already."""
        try:
            self.go_on(problem)
        except BaseException as error:
            if error is not problem:
                raise
