"""Which checkpoint is which: by its files without reading them, and by its content."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import xxhash

from neuromfa.checkpoint import Checkpoint
from neuromfa.provenance import content_hash, versions
from neuromfa.suites.suite import Suite

Stamps = list[list[Any]]
"""Of every file: name, size, time of change in nanoseconds, inode, device."""


def stamps(checkpoint: Checkpoint) -> Stamps | None:
    """What the system says of the files of a checkpoint; None if it was loaded into memory.

    Equal stamps mean equal bytes: of links to one file, and of one file that nobody has written to.
    """
    paths = {ref.file for ref in checkpoint.tensors.values()}
    if None in paths:
        return None
    found = []
    for path in sorted(str(path) for path in paths):
        stat = Path(path).stat()
        found.append([Path(path).name, stat.st_size, stat.st_mtime_ns, stat.st_ino, stat.st_dev])
    return found


def read_content_hash(checkpoint: Checkpoint, threads: int | None) -> str:
    """Content hash of a checkpoint, from all of its bytes."""
    with ThreadPoolExecutor(threads or os.cpu_count(), thread_name_prefix="neuromfa") as pool:
        digests = dict(
            zip(checkpoint.tensors, pool.map(checkpoint.digest, checkpoint.tensors), strict=True)
        )
    return content_hash(checkpoint, digests)


def settings_of(suite: Suite) -> str:
    """Digest of everything but the checkpoint that an analysis depends on, the version included."""
    registry = suite.opening.get("architectures")
    return digest(
        {
            "neuromfa": versions(("neuromfa",))["neuromfa"],
            "protocol": suite.protocol.to_dict(),
            "structure": suite.structure,
            "architectures": Path(registry).read_text(encoding="utf-8") if registry else None,
        }
    )


def key_of(content: str, config: Mapping[str, Any], settings: str) -> str:
    """Name under which the analysis of a checkpoint is stored."""
    return digest({"content": content, "config": config, "settings": settings})


def controls_key_of(key: str, baseline_content: str, controls: Mapping[str, Any]) -> str:
    """Name under which the controls of a checkpoint against a baseline are stored."""
    return digest({"key": key, "baseline": baseline_content, "controls": dict(controls)})


def digest(record: Mapping[str, Any]) -> str:
    """Hash of a JSON record (xxh3_128, 32 hexadecimal digits)."""
    text = json.dumps(record, sort_keys=True)
    return xxhash.xxh3_128_hexdigest(text.encode())
