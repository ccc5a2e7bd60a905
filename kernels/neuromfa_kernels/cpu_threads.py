"""Spreads calls of compiled kernels over threads; which thread does what never changes a bit.

The threads outlive a call: making them takes as long as counting a million weights. Whoever calls
takes part, so that nobody waits for a helper that has not begun, and calls from several threads,
or from within a call, cannot wait for each other.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache
from typing import TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")


@cache
def _helpers() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(os.cpu_count(), "counting")


os.register_at_fork(after_in_child=_helpers.cache_clear)  # a forked process has no threads


def usable_threads(threads: int | None) -> int:
    """Threads to use: the number asked for, or every core this process may run on."""
    return threads or len(os.sched_getaffinity(0))


def spread(work: Callable[[Item], Answer], items: Sequence[Item], threads: int) -> list[Answer]:
    """Apply `work` to every item; the answers are in the order of the items."""
    if threads == 1 or len(items) <= 1:
        return [work(item) for item in items]
    waiting = deque(enumerate(items))
    answers: dict[int, Answer] = {}

    def help_out() -> None:
        while waiting:
            try:
                k, item = waiting.popleft()
            except IndexError:  # another thread took the last one
                return
            answers[k] = work(item)

    helpers = [_helpers().submit(help_out) for _ in range(min(threads, len(items)) - 1)]
    try:
        help_out()
    finally:
        waiting.clear()
        begun = [helper for helper in helpers if not helper.cancel()]
        wait(begun)
    for helper in begun:
        helper.result()
    return [answers[k] for k in range(len(items))]
