"""Where and when something was measured, and the file that keeps it."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).with_name("results.jsonl")


def machine(gpu: str = "") -> dict[str, Any]:
    """GPU, if one is measured; processor, usable cores, and the versions that decide its speed."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        **({"gpu": gpu} if gpu else {}),
        "cpu": models[0] if models else platform.processor(),
        "cores": f"{len(os.sched_getaffinity(0))} cores",
        "python": f"Python {platform.python_version()}",
        "numba": f"numba {version('numba')}",
    }


def commit() -> str:
    """Commit of the sources that are measured; with a + if they were changed since."""
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty=+", "--abbrev=12"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def record(rows: Iterable[Mapping[str, Any]], path: Path = RESULTS, *, gpu: str = "") -> None:
    """Append one line for each measurement; lines are never changed."""
    where = {
        "commit": commit(),
        "machine": machine(gpu),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": " ".join(["python", "bench/" + Path(sys.argv[0]).name, *sys.argv[1:]]),
    }
    with path.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps({**row, **where}) + "\n" for row in rows)
