"""A call from another program: stopped at any time, from any thread, silent, without traces."""

import logging
import os
import random
import signal
import subprocess
import sys
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numba
import numpy as np
import pytest
import torch

import neuromfa
from neuromfa import measuring

TINY = Path(__file__).parent / "expected" / "tiny-neox" / "step64"
PROTOCOL = neuromfa.Protocol(q=(-1.0, 0.0, 1.0))


def weights(seed):
    rng = np.random.default_rng(seed)
    return {f"map.{k}": rng.normal(0, 0.05, (40 + seed, 1500)).astype("f4") for k in range(8)}


def numbers(analysis):
    record = analysis.to_dict()
    return record["network"], record["layers"], record.pop("provenance")["content_hash"]


def our_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("neuromfa")]


class Enough(Exception):
    pass


@pytest.mark.parametrize("after", [1, 3])
def test_an_exception_from_progress_stops_everything(monkeypatch, after):
    begun, calls = [], []
    measure = measuring.measure

    def counted(checkpoint, layer, unit, protocol, **settings):
        begun.append(unit)
        return measure(checkpoint, layer, unit, protocol, **settings)

    monkeypatch.setattr(measuring, "measure", counted)
    stop = Enough()

    def progress(state):
        calls.append(state)
        if len(calls) == after:
            raise stop

    with pytest.raises(Enough) as stopped:
        neuromfa.analyse(weights(0), PROTOCOL, threads=1, progress=progress)
    assert stopped.value is stop
    assert len(calls) == after
    assert len(begun) <= after + 2  # what was under way, and the two that are kept ready
    assert not our_threads()


def test_a_token_of_another_thread(monkeypatch):
    token, measure = threading.Event(), measuring.measure

    def slow(*args, **settings):
        time.sleep(0.02)
        return measure(*args, **settings)

    monkeypatch.setattr(measuring, "measure", slow)
    seen = []

    def progress(state):
        seen.append(state)
        if len(seen) == 2:
            threading.Thread(target=token.set).start()
        if token.wait(1) if len(seen) == 2 else token.is_set():
            raise Enough

    with pytest.raises(Enough):
        neuromfa.analyse(weights(0), PROTOCOL, threads=2, progress=progress)
    assert len(seen) == 2
    assert not our_threads()


def test_a_failing_unit_stops_everything(monkeypatch):
    begun = []

    def broken(_checkpoint, layer, *_args, **_settings):
        begun.append(layer.name)
        raise neuromfa.BadInputError(f"{layer.name}: is broken")

    monkeypatch.setattr(measuring, "measure", broken)
    with pytest.raises(neuromfa.BadInputError, match=r"map\.0: is broken"):
        neuromfa.analyse(weights(0), PROTOCOL, threads=2)
    assert len(begun) <= 4
    assert not our_threads()


def test_analyses_at_the_same_time_have_the_same_bits():
    sources = [weights(0), weights(1), TINY, weights(2)] * 3
    alone = [numbers(neuromfa.analyse(source, PROTOCOL)) for source in sources[:4]]
    with ThreadPoolExecutor(6) as callers:
        together = callers.map(lambda source: numbers(neuromfa.analyse(source, PROTOCOL)), sources)
        assert list(together) == alone * 3
    assert not our_threads()


def test_an_open_checkpoint_may_be_shared():
    with neuromfa.open_checkpoint(TINY) as checkpoint, ThreadPoolExecutor(3) as callers:
        found = callers.map(lambda _: numbers(neuromfa.analyse(checkpoint, PROTOCOL)), range(3))
        first, *others = found
        assert others == [first] * 2
        assert not checkpoint.closed


def settings_of_the_process():
    """Everything that a library might change behind its caller's back."""
    return {
        "errstate": np.geterr(),
        "print options": repr(np.get_printoptions()),
        "numpy random": repr(np.random.get_state()),  # noqa: NPY002  (that is the global one)
        "random": random.getstate(),
        "torch random": torch.get_rng_state().tolist(),
        "torch threads": (torch.get_num_threads(), torch.is_grad_enabled()),
        "torch type": torch.get_default_dtype(),
        "numba threads": numba.get_num_threads(),
        "filters": list(warnings.filters),
        "log handlers": (list(logging.root.handlers), logging.root.level),
        "signals": [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE)],
        "environment": dict(os.environ),
        "folder": Path.cwd(),
        "recursion": sys.getrecursionlimit(),
        "hooks": (sys.excepthook, threading.excepthook, sys.displayhook),
        "umask": [os.umask(mask) for mask in [os.umask(0o22)]],
    }


def test_nothing_global_is_changed():
    neuromfa.analyse(weights(0), PROTOCOL)  # what is compiled and imported once
    module = torch.nn.Sequential(torch.nn.Linear(30, 40), torch.nn.Linear(40, 20))
    before = settings_of_the_process()
    kept = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    for source in (weights(0), TINY, module):
        neuromfa.analyse(source, PROTOCOL, fractal_dimensions=True, structure="simple")
    with pytest.raises(neuromfa.NeuromfaError):
        neuromfa.analyse({"w": np.full((5, 5), np.nan)})
    assert settings_of_the_process() == before
    assert all(torch.equal(tensor, kept[name]) for name, tensor in module.state_dict().items())
    assert all(parameter.grad is None for parameter in module.parameters())


def test_nothing_is_printed():
    code = (
        "import numpy as np, neuromfa, neuromfa_kernels\n"
        "weights = np.random.default_rng(0).normal(0, 0.05, (60, 50)).astype('f4')\n"
        "neuromfa.analyse({'map': weights})\n"
        f"neuromfa.analyse({str(TINY)!r}, structure='simple')\n"
        "try:\n    neuromfa.analyse('no/such/path')\n"
        "except neuromfa.NeuromfaError:\n    pass\n"
    )
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
