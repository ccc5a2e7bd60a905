"""Plans of very large models: headers alone, and work that grows with the tensors, no faster."""

import sys
import tracemalloc
from importlib import util
from pathlib import Path

import pytest

from neuromfa.protocol import Protocol
from neuromfa.scheduler import prepare

BENCH = Path(__file__).parent.parent / "bench" / "large_model.py"


@pytest.fixture
def large_model():
    spec = util.spec_from_file_location("large_model", BENCH)
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def calls_of(path, **settings):
    """Python calls that it takes to open, classify and plan."""
    calls = 0

    def count(_frame, event, _argument):
        nonlocal calls
        calls += event == "call"

    sys.setprofile(count)
    try:
        with prepare(path, Protocol(), **settings) as job:
            network, plan = job.network, job.plan
    finally:
        sys.setprofile(None)
    return calls, network, plan


def test_headers_of_llama_405b(large_model, tmp_path):
    files = large_model.write_headers(tmp_path)
    assert files == 191  # as published
    allocated = sum(path.stat().st_blocks * 512 for path in tmp_path.iterdir())
    if allocated > 1 << 30:
        pytest.skip("this file system does not keep holes")
    tracemalloc.start()
    try:
        _, network, plan = calls_of(tmp_path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(network.layers) == 4 * large_model.BLOCKS
    assert not network.coverage.unknown
    left_out = 2 * 2 * large_model.VOCABULARY * large_model.HIDDEN
    norms = 2 * (2 * large_model.BLOCKS + 1) * large_model.HIDDEN
    assert plan.weight_bytes == 2 * large_model.PARAMETERS - left_out - norms
    assert peak < 100 << 20


def test_work_grows_with_the_tensors(large_model, tmp_path, monkeypatch):
    found = {}
    for blocks in (20, 40, 80):
        monkeypatch.setattr(large_model, "BLOCKS", blocks)
        large_model.write_headers(tmp_path / str(blocks))
        calls_of(tmp_path / str(blocks))  # loads what is loaded once
        found[blocks], *_ = calls_of(tmp_path / str(blocks))
    assert found[80] - found[40] < 2.2 * (found[40] - found[20])
    assert found[80] < 200 * (80 * 9 + 3)


def test_nothing_but_headers_is_read(large_model, tmp_path):
    large_model.write_headers(tmp_path)
    opened, mapped, watching = [], [], [True]

    def watch(event, arguments):
        if watching and event == "open" and str(arguments[0]).startswith(str(tmp_path)):
            opened.append(Path(arguments[0]).name)
        if watching and event == "mmap.__new__":
            mapped.append(arguments)

    sys.addaudithook(watch)
    try:
        calls_of(tmp_path)
    finally:
        watching.clear()  # a hook cannot be taken away
    shards = [name for name in opened if name.endswith(".safetensors")]
    assert len(shards) == len(set(shards)) == 191
    assert not mapped
