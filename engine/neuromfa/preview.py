"""What an analysis would do, from headers alone: nothing of the weights is read."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from neuromfa.protocol import Protocol
from neuromfa.scheduler import Prepared, prepare
from neuromfa.units import layer_bytes
from neuromfa_kernels import count_neighbours, radius_table

if TYPE_CHECKING:
    from neuromfa.scheduler import Source

TRIAL_SHAPE = (1024, 2048)


def preview(source: Source, protocol: Protocol | None = None, **options: Any) -> dict[str, Any]:
    """Tell what `neuromfa.analyse` would read and need.

    Parameters
    ----------
    source : path, str, mapping, torch.nn.Module or Checkpoint
        As for `neuromfa.analyse`.
    protocol : Protocol, optional
        As for `neuromfa.analyse`.
    **options
        Those of `neuromfa.analyse` that say how a checkpoint is opened and what may be used.

    Returns
    -------
    dict
        JSON-ready. ``seconds`` is bytes over ``gigabytes_per_second``, the counting speed tried on
        this machine just now; slower storage takes longer. Both are None for GPUs, where storage
        decides.
    """
    protocol = protocol or Protocol()
    with prepare(source, protocol, **options) as job:
        sizes = {name: ref.itemsize for name, ref in job.checkpoint.tensors.items()}
        speed = None if job.plan.devices.gpus else _speed(job, protocol)
        return {
            "source": job.checkpoint.source,
            "architecture": job.network.architecture,
            "files": [{"name": f.name, "size": f.size} for f in job.checkpoint.files],
            "tensors": len(job.checkpoint.tensors),
            "coverage": job.network.coverage.to_dict(),
            "layers": [
                {
                    "name": layer.name,
                    "block": layer.block,
                    "role": layer.role,
                    "tensors": list(layer.tensors),
                    "neurons": layer.neurons,
                    "weights": layer.weights,
                    "bytes": layer_bytes(layer, sizes),
                }
                for layer in job.network.layers
            ],
            "neurons": sum(layer.neurons for layer in job.network.layers),
            "weights": sum(layer.weights for layer in job.network.layers),
            "weight_bytes": job.plan.weight_bytes,
            "units": len(job.plan.units),
            "devices": str(job.plan.devices),
            "threads": job.plan.threads,
            "memory_bytes": job.plan.memory_bytes,
            "device_memory_bytes": job.plan.device_bytes,
            "gigabytes_per_second": speed and round(speed / 1e9, 2),
            "seconds": speed and round(job.plan.weight_bytes / speed, 2),
            "warnings": [*job.checkpoint.warnings, *job.network.warnings],
        }


def _speed(job: Prepared, protocol: Protocol) -> float:
    """Bytes per second at which neighbours are counted here, in the commonest type."""
    dtypes = Counter[str]()
    for layer in job.network.layers:
        for part in layer.maps:
            dtypes[job.checkpoint.tensors[part.tensor].dtype] += part.weights
    table = radius_table(dtypes.most_common(1)[0][0], protocol.cutoff)
    weights = np.random.default_rng(0).normal(0, 0.02, TRIAL_SHAPE).astype(table.dtype)
    seconds = []
    for _ in range(3):  # the first compiles
        start = time.perf_counter()
        count_neighbours(weights, table, neuron_axis=1, threads=job.plan.threads)
        seconds.append(time.perf_counter() - start)
    return float(weights.nbytes / min(seconds))
