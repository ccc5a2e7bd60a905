"""Spreads calls of compiled kernels over threads; which thread does what never changes a bit."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")


def usable_threads(threads: int | None) -> int:
    """Threads to use: the number asked for, or every core this process may run on."""
    return threads or len(os.sched_getaffinity(0))


def spread(work: Callable[[Item], Answer], items: Sequence[Item], threads: int) -> list[Answer]:
    """Apply `work` to every item; the answers are in the order of the items."""
    if threads == 1 or len(items) <= 1:
        return [work(item) for item in items]
    with ThreadPoolExecutor(min(threads, len(items))) as pool:
        return list(pool.map(work, items))
