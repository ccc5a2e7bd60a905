"""Reads layers that lie on another machine in large blocks, a little before they are counted."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

from neuromfa.checkpoint import Checkpoint
from neuromfa.mounts import is_remote
from neuromfa.network import Network
from neuromfa.units import Plan

DEPTH = 2
"""Layers that are read before they are wanted: what the system must have room for."""


class ReadAhead:
    """Brings the tensors of coming layers into the system's cache, if they are remote.

    On this machine's own storage, and for GPUs (which read large blocks themselves), it does
    nothing.

    Parameters
    ----------
    checkpoint : Checkpoint
        What is read.
    network : Network
        Its layers, in the order in which they are wanted.
    plan : Plan
        Where they are counted.
    """

    def __init__(self, checkpoint: Checkpoint, network: Network, plan: Plan) -> None:
        self._checkpoint, self._layers = checkpoint, network.layers
        self._read: dict[int, Future[None]] = {}
        self._reader: ThreadPoolExecutor | None = None
        files = {ref.file for ref in checkpoint.tensors.values()} - {""}
        if not plan.devices.gpus and any(map(is_remote, files)):
            self._reader = ThreadPoolExecutor(1, thread_name_prefix="neuromfa-read")

    def __enter__(self) -> ReadAhead:
        for layer in range(DEPTH):
            self._submit(layer)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._reader:
            self._reader.shutdown(cancel_futures=True)

    def wait(self, layer: int) -> None:
        """Wait until a layer that is being read has been read; one that is not is mapped."""
        if reading := self._read.get(layer):
            reading.result()

    def finished(self, layer: int) -> None:
        """Go on reading: a layer is done."""
        self._submit(layer + DEPTH)

    def _submit(self, layer: int) -> None:
        if self._reader and layer < len(self._layers):
            self._read[layer] = self._reader.submit(self._fetch, layer)

    def _fetch(self, layer: int) -> None:
        for tensor in self._layers[layer].tensors:
            self._checkpoint.prefetch(tensor)
