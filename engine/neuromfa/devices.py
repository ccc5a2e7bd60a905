"""Which devices count: asked for by name, found or refused, never replaced by slower ones."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from neuromfa.errors import ResourceError, UsageError
from neuromfa_kernels.cuda_driver import Driver, device_count

CHOICES = "cpu, cuda, cuda:0,1 or auto"
SHARE = 0.9
"""Of the free memory of a GPU; the rest is for CUDA itself."""


WORKER_DEVICE_MEMORY = 4 << 30
"""Of the GPU of a worker elsewhere, which cannot be asked before the work is cut: rings and counts
of any layer fit."""


@dataclass(frozen=True, slots=True)
class Devices:
    """Devices that an analysis runs on.

    Attributes
    ----------
    gpus : tuple of int
        Numbers of GPUs; none for the processors of this machine.
    reason : str
        Why these, if the choice was left open.
    """

    gpus: tuple[int, ...] = ()
    reason: str = ""

    def __str__(self) -> str:
        return f"cuda:{','.join(map(str, self.gpus))}" if self.gpus else "cpu"


CPU = Devices()


def find_devices(asked: str = "cpu") -> Devices:
    """Find the devices that were asked for.

    Parameters
    ----------
    asked : str
        ``"cpu"``; ``"cuda"``, all GPUs; ``"cuda:0,1"``, some of them; or ``"auto"``, all GPUs if
        there are any, else the CPU.

    Raises
    ------
    UsageError
        If it is none of these.
    ResourceError
        If a GPU was asked for that is not there.
    """
    if asked == "cpu":
        return CPU
    match = re.fullmatch(r"auto|cuda(?::(\d+(?:,\d+)*))?", asked)
    if not match:
        raise UsageError(f"device {asked}: must be {CHOICES}")
    try:
        count = device_count()
    except RuntimeError as error:
        if asked == "auto":
            return Devices((), f"there is no GPU to use: {error}")
        raise ResourceError(
            f"device {asked}: {error}; on a machine with an NVIDIA GPU install its driver and "
            "pip install 'neuromfa[gpu]', or use device cpu"
        ) from None
    numbers = tuple(dict.fromkeys(map(int, (match[1] or "").split(",") if match[1] else ())))
    if missing := [n for n in numbers if n >= count]:
        raise ResourceError(
            f"device {asked}: there is no GPU {missing[0]}; this machine has {count}, numbered "
            "from 0"
        )
    if not count:
        if asked == "auto":
            return Devices((), "there is no GPU to use: CUDA finds none")
        raise ResourceError(f"device {asked}: CUDA finds no GPU; use device cpu")
    return Devices(numbers or tuple(range(count)), f"{count} GPUs are there" * (asked == "auto"))


def open_lanes(devices: Devices) -> list[Driver]:
    """Open a stream of its own on each of some GPUs.

    Raises
    ------
    ResourceError
        If a GPU cannot be used.
    """
    lanes = []
    for gpu in devices.gpus:
        try:
            lanes.append(Driver(gpu).lane())
        except (MemoryError, RuntimeError) as error:
            raise ResourceError(f"device cuda:{gpu}: {error}") from error
    return lanes


def worker_devices(asked: str) -> Devices:
    """Find what each worker of a cluster counts on; whether it is there, the worker will say.

    Parameters
    ----------
    asked : str
        ``"cpu"``, or ``"cuda"`` for the first GPU that a worker sees.

    Raises
    ------
    UsageError
        If it is neither: workers that differ could give other last digits.
    """
    if asked not in ("cpu", "cuda"):
        raise UsageError(
            f"device {asked}: on a cluster it must be cpu or cuda, the first GPU that each worker "
            "sees; give each its own by CUDA_VISIBLE_DEVICES"
        )
    return CPU if asked == "cpu" else Devices((0,))


def where_weights_lie(
    found: Devices, asked: str | None, gpus: Collection[int], *, source: str
) -> Devices:
    """Choose the devices for weights of which some are on GPUs: the array decides.

    Parameters
    ----------
    found : Devices
        What was asked for.
    asked : str or None
        How; None if nothing was.
    gpus : collection of int
        GPUs that weights lie on.
    source : str
        What messages call the weights.

    Raises
    ------
    UsageError
        If other devices were asked for.
    """
    if not gpus:
        return found
    there = Devices(tuple(sorted(gpus)), "the weights lie there")
    if asked is None:
        return there
    if not set(gpus) <= set(found.gpus):
        raise UsageError(
            f"{source}: has weights on {there}, and device {asked} is {found}; "
            "leave the device out, or copy the weights"
        )
    return found


def smallest_free_memory(devices: Devices) -> int:
    """Bytes that may be used on each of some GPUs: a share of what is free on the fullest."""
    return int(SHARE * min(Driver(gpu).free_memory() for gpu in devices.gpus))
