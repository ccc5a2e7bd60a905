"""What workers do with a unit: measure it on their CPU or their own GPU, and hash its tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from queue import Empty, SimpleQueue

from neuromfa.checkpoint import Checkpoint
from neuromfa.gpu import Gpu
from neuromfa.lanes import open_lane
from neuromfa.layers import Layer
from neuromfa.measure import UnitSums, in_one, measure
from neuromfa.protocol import Protocol
from neuromfa.units import Unit

OWN_GPU = 0
"""Of those that a worker's CUDA_VISIBLE_DEVICES lets it see, the first."""
idle_lanes: SimpleQueue[tuple[int, Gpu]] = SimpleQueue()
"""Lanes of this worker's GPU that no thread is using: opening one takes longer than a unit."""


def measure_unit(  # noqa: PLR0917  (those of `measure`)
    checkpoint: Checkpoint,
    layer: Layer,
    unit: Unit,
    protocol: Protocol,
    factors: Mapping[str, float],
    *,
    hashed: Sequence[str],
    chunk_bytes: int,
) -> tuple[UnitSums, dict[str, str]]:
    """Measure a unit, and hash tensors that nobody else reads while their pages are near.

    Parameters
    ----------
    checkpoint : Checkpoint
        With the tensors of the layer.
    layer, unit, protocol, factors
        As for `neuromfa.measure.measure`.
    hashed : sequence of str
        Tensors to hash.
    chunk_bytes : int
        Of the ring to a GPU; 0 to measure on the CPU.

    Returns
    -------
    UnitSums
        With the tiles of a whole layer added up.
    dict of str to str
        Hash by tensor.
    """
    if chunk_bytes:
        sums = _on_gpu(checkpoint, layer, unit, protocol, factors, chunk_bytes)
    else:
        sums = measure(checkpoint, layer, unit, protocol, factors=factors)
    if unit.stop - unit.start == layer.neurons:
        sums = replace(sums, tiles=in_one(sums.tiles))
    return sums, digests(checkpoint, hashed)


def digests(checkpoint: Checkpoint, tensors: Sequence[str]) -> dict[str, str]:
    """Hash some tensors."""
    found = {}
    for tensor in tensors:
        found[tensor] = checkpoint.digest(tensor)
        checkpoint.release(tensor)
    return found


def _on_gpu(  # noqa: PLR0917  (those of `measure_unit`)
    checkpoint: Checkpoint,
    layer: Layer,
    unit: Unit,
    protocol: Protocol,
    factors: Mapping[str, float],
    chunk_bytes: int,
) -> UnitSums:
    lane = _lane(chunk_bytes)
    try:
        sums = lane.measure(checkpoint, layer, unit, protocol, factors=factors)
    except BaseException:
        lane.close()  # whatever is wrong with it, another try gets a new one
        raise
    idle_lanes.put((chunk_bytes, lane))
    return sums


def _lane(chunk_bytes: int) -> Gpu:
    while True:
        try:
            found, lane = idle_lanes.get_nowait()
        except Empty:
            return open_lane(OWN_GPU, chunk_bytes)
        if found == chunk_bytes:
            return lane
        lane.close()
