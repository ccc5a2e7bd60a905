"""What made a result: versions, files, the identity of the weights, machine, time."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import xxhash

from neuromfa.checkpoint import Checkpoint
from neuromfa.units import Plan

PACKAGES = ("neuromfa", "numpy", "numba", "ml_dtypes", "safetensors", "pyarrow")


def versions(packages: tuple[str, ...] = PACKAGES) -> dict[str, str | None]:
    """Versions of Python and of installed packages; None for one that is absent."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def content_hash(checkpoint: Checkpoint, digests: Mapping[str, str]) -> str:
    """Identity of the weights: the same however they are cut into files.

    Parameters
    ----------
    checkpoint : Checkpoint
        Its tensors' names, types and shapes are part of the identity.
    digests : mapping of str to str
        By tensor, the hash of its bytes.

    Returns
    -------
    str
        ``"xxh3_128:"`` and 32 hexadecimal digits.
    """
    whole = xxhash.xxh3_128()
    for name, ref in sorted(checkpoint.tensors.items()):
        whole.update(f"{name}\n{ref.dtype}\n{list(ref.shape)}\n{digests[name]}\n".encode())
    return f"xxh3_128:{whole.hexdigest()}"


def provenance(
    checkpoint: Checkpoint, plan: Plan, digests: Mapping[str, str], seconds: float
) -> dict[str, Any]:
    """JSON-ready record of what made a result; no number of the result depends on it.

    Parameters
    ----------
    checkpoint : Checkpoint
        What was read.
    plan : Plan
        Threads, units and memory.
    digests : mapping of str to str
        By tensor, the hash of its bytes.
    seconds : float
        Wall time of the analysis, opening included.
    """
    return {
        "versions": versions(),
        "files": [{"name": record.name, "size": record.size} for record in checkpoint.files],
        "content_hash": content_hash(checkpoint, digests),
        "device": str(plan.devices),
        "machine": platform.machine(),
        "threads": plan.threads,
        "units": len(plan.units),
        "memory_bytes": plan.memory_bytes,
        "weight_bytes": plan.weight_bytes,
        "seconds": round(seconds, 6),
        "gigabytes_per_second": round(plan.weight_bytes / seconds / 1e9, 3),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }
