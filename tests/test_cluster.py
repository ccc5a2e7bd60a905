"""Units on executors: the same bits, no weights on the way, lost work done again."""

import json
import pickle
import random
import threading
from concurrent.futures import (
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    ThreadPoolExecutor,
)
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

import neuromfa
from neuromfa.cluster import calls
from neuromfa.cluster.portion import FileMark
from neuromfa.errors import BadInputError, ResourceError, UsageError
from neuromfa.protocol import Protocol
from neuromfa.units import tile_bytes

TINY = Path(__file__).parent / "expected" / "tiny-neox" / "step64"
SHAPES = [(30, 40), (12, 2100), (64, 17), (25, 31)] * 6


def weights(seed=0):
    rng = np.random.default_rng(seed)
    return {
        f"map.{k}": rng.normal(0, 0.05, shape).astype(np.float32) for k, shape in enumerate(SHAPES)
    }


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "model.safetensors"
    save_file(weights(), path)
    return path


def numbers(analysis):
    """Everything but what tells of the run."""
    record = analysis.to_dict()
    record["content_hash"] = record.pop("provenance")["content_hash"]
    dimensions = {name: v.tobytes() for name, v in analysis.fractal_dimensions.items()}
    return json.dumps(record, sort_keys=True), dimensions


class Recording(ThreadPoolExecutor):
    """Sees all that is sent and comes back, as bytes."""

    def __init__(self, threads=2):
        super().__init__(threads)
        self.sent, self.received = [], []

    def submit(self, work, *args):
        sent = pickle.dumps((work, args))
        self.sent.append(len(sent))
        return super().submit(self._received, sent)

    def _received(self, sent):
        work, args = pickle.loads(sent)
        answer = pickle.dumps(work(*args))
        self.received.append(len(answer))
        return pickle.loads(answer)


class Losing(ThreadPoolExecutor):
    """Loses workers as executors do, each in its own way."""

    def __init__(self, lost, threads=3):
        super().__init__(threads)
        self.lost, self.attempts = lost, []

    def submit(self, work, bundle, software, attempt):
        tensors = [ref.name for portion, _ in bundle for ref in portion.tensors]
        self.attempts.append((tensors, attempt))
        error = self.lost(tensors, attempt)
        if error is None:
            return super().submit(work, bundle, software, attempt)
        if isinstance(error, BrokenExecutor):
            raise error
        future = Future()
        if isinstance(error, CancelledError):
            future.cancel()
            future.set_running_or_notify_cancel()
        else:
            future.set_exception(error)
        return future


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("tiles", [1, 400])
@pytest.mark.parametrize("distance", ["inverse", "relative"])
def test_an_executor_changes_no_bit(model, threads, tiles, distance):
    protocol = Protocol(distance=distance)
    settings = {"structure": "full", "fractal_dimensions": True}
    memory = 2 * tiles * tile_bytes(protocol)
    here = neuromfa.analyse(model, protocol, **settings)
    with Recording(threads) as executor:
        there = neuromfa.analyse(model, protocol, executor=executor, memory=memory, **settings)
    assert numbers(there) == numbers(here)
    assert there.provenance["threads"] <= threads
    assert there.provenance["units"] > len(SHAPES) if tiles == 1 else True


def test_what_travels_does_not_grow_with_the_weights(tmp_path):
    largest = []
    for rows in (64, 4096):
        path = tmp_path / f"{rows}.safetensors"
        save_file({"map": np.random.default_rng(0).normal(0, 0.1, (rows, 70))}, path)
        with Recording() as executor:
            neuromfa.analyse(path, executor=executor)
        largest.append(max(executor.sent))
        assert max(executor.received) < 200_000  # two tables of 61 moments and 150 radii
    assert max(largest) - min(largest) < 100
    assert max(largest) < 5_000


def test_relative_paths_reach_workers_with_other_directories(model, tmp_path, monkeypatch):
    here = neuromfa.analyse(model)
    monkeypatch.chdir(tmp_path)

    class Elsewhere(Recording):
        def _received(self, sent):
            monkeypatch.chdir("/")
            return super()._received(sent)

    with Elsewhere(1) as executor:
        assert numbers(neuromfa.analyse(model, executor=executor)) == numbers(here)
        monkeypatch.chdir(tmp_path)
        found = neuromfa.analyse(model.name, executor=executor)
    assert found.network.to_dict() == here.network.to_dict()


@pytest.mark.parametrize("in_memory", ["mapping", "module", "pickle"])
def test_weights_in_memory_are_not_sent(tmp_path, in_memory):
    torch = pytest.importorskip("torch")
    module = torch.nn.Linear(20, 30)
    source = {"mapping": weights(), "module": module}.get(in_memory)
    if source is None:
        source = tmp_path / "pytorch_model.bin"
        torch.save(module.state_dict(), source)
    with (
        Recording() as executor,
        pytest.raises(UsageError, match="not sent to a cluster; save them as safetensors"),
    ):
        neuromfa.analyse(source, executor=executor, allow_pickle=True)
    assert not executor.sent


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda path: path.write_bytes(path.read_bytes() + b"\0"), "bytes of time"),
        (lambda path: path.unlink(), "no such file"),
        (lambda path: __import__("os").utime(path, (1, 1)), "of time 1, but"),
    ],
)
def test_a_worker_that_sees_another_file_says_so(model, change, sentence):
    class Elsewhere(Recording):
        def submit(self, *args):
            if not self.sent:
                change(model)
            return super().submit(*args)

    with Elsewhere() as executor, pytest.raises(BadInputError) as raised:
        neuromfa.analyse(model, executor=executor)
    assert "worker on " in str(raised.value)
    assert sentence in str(raised.value)
    assert str(model) in str(raised.value)


def test_a_worker_with_other_software_says_so(model):
    class Older(Recording):
        def submit(self, work, bundle, software, attempt):
            return super().submit(work, bundle, software | {"numba": "0.1"}, attempt)

    with Older() as executor, pytest.raises(UsageError, match=r"worker on .*: has numba .* 0\.1;"):
        neuromfa.analyse(model, executor=executor)


LOST = (BrokenExecutor("a worker died"), CancelledError(), RuntimeError("killed"), MemoryError())


@pytest.mark.parametrize("seed", range(5))
def test_lost_work_is_done_again(model, seed):
    rng = random.Random(seed)

    def lost(_tensors, attempt):
        return rng.choice(LOST) if attempt < calls.ATTEMPTS and rng.random() < 0.4 else None

    here = neuromfa.analyse(model, structure="simple")
    with Losing(lost) as executor:
        there = neuromfa.analyse(model, structure="simple", executor=executor)
    assert any(attempt > 1 for _, attempt in executor.attempts)
    assert numbers(there) == numbers(here)


@pytest.mark.parametrize("error", LOST, ids=lambda error: type(error).__name__)
def test_a_unit_that_takes_its_worker_with_it_is_named(model, error):
    def lost(tensors, _attempt):
        return error if "map.14" in tensors else None

    finished = []
    with Losing(lost) as executor, pytest.raises(ResourceError) as raised:
        neuromfa.analyse(model, executor=executor, progress=lambda p: finished.append(p.finished))
    assert "tensor map.14: given up after 3 tries" in str(raised.value)
    assert type(error).__name__ in str(raised.value)
    tries = [attempt for tensors, attempt in executor.attempts if "map.14" in tensors]
    assert tries == [1, 2, 3]


class OneWorker(Executor):
    """A worker with a queue: it does nothing before several are waiting, and dies with all."""

    def __init__(self, deadly):
        self.deadly, self.queue = deadly, []

    def submit(self, work, bundle, software, attempt):
        tensors = [ref.name for portion, _ in bundle for ref in portion.tensors]
        future = Future()
        self.queue.append((future, tensors, partial(work, bundle, software, attempt)))
        threading.Timer(0.02, self._do_all).start()
        return future

    def _do_all(self):
        waiting, self.queue = self.queue, []
        dies = any(self.deadly in tensors for _, tensors, _ in waiting)
        for future, _, call in waiting:
            if not future.set_running_or_notify_cancel():
                continue
            if dies:
                future.set_exception(RuntimeError("killed"))
            else:
                future.set_result(call())


@pytest.mark.parametrize("deadly", ["map.7", "map.20"])
def test_what_waited_beside_it_is_not_blamed(model, deadly):
    with pytest.raises(ResourceError) as raised:
        neuromfa.analyse(model, executor=OneWorker(deadly))
    assert f"tensor {deadly}: given up after 3 tries" in str(raised.value)


def test_what_was_finished_before_is_kept(model, monkeypatch):
    def lost(tensors, _attempt):
        return RuntimeError("killed") if "map.20" in tensors else None

    monkeypatch.setattr(calls, "BUNDLE_CALLS", 1)
    monkeypatch.setattr(calls, "IN_FLIGHT", 1)
    monkeypatch.setattr(calls, "in_tail_largest_first", lambda costs: list(range(len(costs))))
    finished = []
    with Losing(lost) as executor, pytest.raises(ResourceError, match=r"map\.20"):
        neuromfa.analyse(model, executor=executor, progress=lambda p: finished.append(p.finished))
    assert [layer.name for layer in finished if layer] == [f"map.{k}" for k in range(20)]


def test_what_another_try_cannot_change_is_not_tried_again(tmp_path):
    tensors = weights()
    tensors["map.5"][3, 4] = np.nan
    save_file(tensors, tmp_path / "model.safetensors")
    with Losing(lambda *_: None) as executor, pytest.raises(BadInputError, match=r"map\.5 is nan"):
        neuromfa.analyse(tmp_path, executor=executor)
    assert {attempt for _, attempt in executor.attempts} == {1}


def test_stopping_cancels_what_has_not_started(model, monkeypatch):
    monkeypatch.setattr(calls, "BUNDLE_CALLS", 1)

    def stop(_):
        raise KeyboardInterrupt

    with Recording(1) as executor:
        with pytest.raises(KeyboardInterrupt):
            neuromfa.analyse(model, executor=executor, progress=stop)
        executor.shutdown()
        assert len(executor.received) < len(executor.sent)


def test_no_more_is_handed_out_than_may_be_in_flight(model, monkeypatch):
    monkeypatch.setattr(calls, "IN_FLIGHT", 2)
    monkeypatch.setattr(calls, "BUNDLE_CALLS", 1)
    here = neuromfa.analyse(model)
    most = 0

    class Watched(ThreadPoolExecutor):
        futures = ()

        def submit(self, *args):
            nonlocal most
            self.futures = [*(f for f in self.futures if not f.done()), super().submit(*args)]
            most = max(most, len(self.futures))
            return self.futures[-1]

    with Watched(4) as executor:
        assert numbers(neuromfa.analyse(model, executor=executor)) == numbers(here)
    assert most <= 2


@given(st.lists(st.integers(0, 2 * calls.BUNDLE_BYTES), max_size=60))
def test_every_call_is_in_one_bundle(costs):
    found = list(calls.bundles(costs))
    assert sorted(k for bundle in found for k in bundle) == list(range(len(costs)))
    for bundle in found:
        size = sum(costs[k] for k in bundle)
        assert len(bundle) == 1 or size <= calls.BUNDLE_BYTES
        assert len(bundle) <= calls.BUNDLE_CALLS


@given(st.lists(st.integers(0, 100), max_size=60))
def test_first_half_of_the_work_is_in_order_and_the_rest_largest_first(costs):
    order = calls.in_tail_largest_first(costs)
    assert sorted(order) == list(range(len(costs)))
    half = next((k for k, n in enumerate(order) if n != k), len(order))
    tail = [costs[k] for k in order[half:]]
    assert tail == sorted(tail, reverse=True)
    assert 2 * sum(costs[:half]) >= sum(costs)


@pytest.mark.parametrize("setting", [{"threads": 2}, {"device": "cuda:1"}, {"device": "auto"}])
def test_settings_that_a_cluster_cannot_have(model, setting):
    with Recording() as executor, pytest.raises(UsageError):
        neuromfa.analyse(model, executor=executor, **setting)


def test_a_mark_is_what_all_machines_see_alike(model):
    mark = FileMark.of(str(model))
    assert mark == FileMark(str(model), model.stat().st_size, int(model.stat().st_mtime))
    mark.check()
