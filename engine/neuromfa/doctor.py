"""Checks that this installation counts right, and says what it can use."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from neuromfa.architectures import load_registry
from neuromfa.devices import find_devices
from neuromfa.plug_ins import SCORE_READERS, PlugIn, plug_ins
from neuromfa.provenance import versions
from neuromfa_kernels import NeighbourCounts, count_neighbours, radius_table
from neuromfa_kernels.cpu_threads import usable_threads
from neuromfa_kernels.cuda_counts import add_neighbours
from neuromfa_kernels.cuda_driver import Driver

CUTOFF = 150.0
OPTIONAL = ("torch", "huggingface_hub", "jinja2", "vl-convert-python", "pandas", "cupy-cuda13x")


def examine() -> list[dict[str, Any]]:
    """Run every check.

    Returns
    -------
    list of dict
        ``check``, ``ok`` and ``detail``; the first two can fail, the others inform.
    """
    found = versions((*("neuromfa", "numpy", "numba"), *OPTIONAL))
    return [
        _check("neighbour counts of all 65,536 bfloat16 codes", _codes_agree),
        _check("writing results", _can_write),
        {"check": "threads", "ok": True, "detail": str(usable_threads(None))},
        {
            "check": "versions",
            "ok": True,
            "detail": ", ".join(f"{k} {v or 'not installed'}" for k, v in found.items()),
        },
        *_plug_ins(),
        *_gpus(),
    ]


def _plug_ins() -> list[dict[str, Any]]:
    """What other distributions add, and whether it works."""
    registry = load_registry()
    of: dict[str, list[str]] = {}
    for name in sorted(registry.installed):
        of.setdefault(registry.families[name].source, []).append(name)
    return [
        *(
            {"check": f"architectures of {d}", "ok": True, "detail": ", ".join(names)}
            for d, names in of.items()
        ),
        *(
            {"check": "architectures of others", "ok": False, "detail": p}
            for p in registry.problems
        ),
        *(
            _check(f"scores read by {p.distribution}", partial(_loads, p))
            for p in plug_ins(SCORE_READERS)
        ),
    ]


def _loads(plug_in: PlugIn) -> str:
    plug_in.load()
    return plug_in.name


def _gpus() -> list[dict[str, Any]]:
    """Each GPU, counting like the CPU; or why there is none."""
    found = find_devices("auto")
    if not found.gpus:
        return [{"check": "devices", "ok": True, "detail": f"cpu; {found.reason}"}]
    return [
        _check(f"neighbour counts on cuda:{gpu}", partial(_gpu_agrees, gpu)) for gpu in found.gpus
    ]


def _gpu_agrees(gpu: int) -> str:
    """Count normal weights and every bfloat16 code on a GPU."""
    driver = Driver(gpu)
    weights = np.arange(1 << 16, dtype=np.uint16).reshape(256, 256)
    table = radius_table(ml_dtypes.bfloat16, CUTOFF)
    expected = count_neighbours(weights.view(ml_dtypes.bfloat16), table, neuron_axis=1)
    counts = NeighbourCounts(
        driver.zeros((table.n_radii, 256), np.uint32),
        driver.zeros((2, 256), np.uint32),
        driver.zeros(4, np.int64),
    )
    add_neighbours(driver.from_host(weights), table, 1, out=counts, driver=driver)
    found = NeighbourCounts(*(driver.to_host(array) for array in counts))
    if not all(
        (
            np.array_equal(found.counts, expected.counts),
            np.array_equal(found.near, expected.near),
            np.array_equal(found.dropped, expected.dropped),
        )
    ):
        raise ArithmeticError(f"{driver.name} and the CPU differ; please report this device")
    return f"{driver.name}: equal to the CPU"


def _check(name: str, test: Callable[[], str]) -> dict[str, Any]:
    try:
        return {"check": name, "ok": True, "detail": test()}
    except Exception as error:  # whatever is wrong is the answer
        return {"check": name, "ok": False, "detail": f"{type(error).__name__}: {error}"}


def _codes_agree() -> str:
    """Count every code once, each as a neuron with one edge, against the float64 definition."""
    weights = np.arange(1 << 16, dtype=np.uint16).view(ml_dtypes.bfloat16).reshape(1, -1)
    counted = count_neighbours(weights, radius_table(weights.dtype, CUTOFF), neuron_axis=1)
    with np.errstate(all="ignore"):
        distance = 1.0 / np.abs(weights[0].astype(np.float64))
        in_range = (distance > 1) & (distance <= CUTOFF)
        radius = np.where(in_range, np.rint(distance), 0).astype(int)
    expected = radius[None, :] == np.arange(1, int(CUTOFF) + 1)[:, None]
    if not np.array_equal(counted.counts, expected):
        raise ArithmeticError("the kernel and the definition differ; please report this machine")
    return "equal to the float64 definition"


def _can_write() -> str:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "probe").write_bytes(os.urandom(16))
    return tempfile.gettempdir()
