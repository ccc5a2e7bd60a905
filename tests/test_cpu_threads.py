"""Threads that outlive a call: order, errors, calls within calls, and forked processes."""

import os
import threading

import pytest

from neuromfa_kernels.cpu_threads import spread

meeting = threading.Barrier(2)


def test_answers_are_in_the_order_of_the_items():
    for threads in (1, 2, 7):
        assert spread(lambda k: k * k, range(20), threads) == [k * k for k in range(20)]


def test_an_error_ends_the_call_and_not_the_threads():
    def work(k):
        if k == 3:
            raise KeyError(k)
        return k

    with pytest.raises(KeyError):
        spread(work, range(9), 3)
    assert spread(abs, [-1, -2], 2) == [1, 2]


def test_calls_within_calls_from_many_threads_do_not_wait_for_each_other():
    def inner(k):
        return sum(spread(abs, range(k), 4))

    def outer(n):
        found[n] = spread(inner, range(n), 4)

    found = {}
    callers = [threading.Thread(target=outer, args=(n,)) for n in range(12)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(60)
        assert not caller.is_alive()
    assert found == {n: [sum(range(k)) for k in range(n)] for n in range(12)}


def together(_):
    """Return only when two threads are at work at the same time."""
    return meeting.wait(30) >= 0


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_process_has_threads_of_its_own():
    assert spread(together, range(2), 2) == [True, True]
    child = os.fork()
    if child == 0:
        try:
            done = spread(together, range(2), 2) == [True, True]
        except threading.BrokenBarrierError:
            done = False
        os._exit(0 if done else 1)
    assert os.waitpid(child, 0)[1] == 0
