"""Workers with a GPU each: simulated ones, in threads that stand for workers."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from safetensors.numpy import save_file

import neuromfa
from neuromfa import devices, lanes
from neuromfa.cluster import worker
from neuromfa.errors import BadInputError, ResourceError
from simt import needs_compiler
from simulated_gpus import LateDriver

pytestmark = needs_compiler


@pytest.fixture
def gpus(monkeypatch):
    """Lanes opened, by the number of their GPU."""
    opened = []

    def driver(number):
        opened.append(number)
        return LateDriver(number)

    monkeypatch.setattr(devices, "device_count", lambda: 1)
    monkeypatch.setattr(devices, "Driver", LateDriver)
    monkeypatch.setattr(lanes, "Driver", driver)
    yield opened
    while not worker.idle_lanes.empty():
        worker.idle_lanes.get()[1].close()


@pytest.fixture
def model(tmp_path):
    rng = np.random.default_rng(0)
    shapes = [(40, 50), (33, 1030), (24, 37), (50, 30)]
    tensors = {
        f"map.{k}": rng.normal(0, 0.05, shape).astype(np.float32) for k, shape in enumerate(shapes)
    }
    save_file(tensors, tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


def test_workers_count_on_the_first_gpu_that_they_see(model, gpus):
    on_gpu = neuromfa.analyse(model, device="cuda:0").to_dict()
    opened_here = len(gpus)
    with ThreadPoolExecutor(2) as workers:
        for _ in range(2):
            elsewhere = neuromfa.analyse(model, device="cuda", executor=workers).to_dict()
            assert elsewhere.pop("provenance")["device"] == "cuda:0"
            assert elsewhere == {k: v for k, v in on_gpu.items() if k != "provenance"}
    assert set(gpus) == {0}
    assert 1 <= len(gpus) - opened_here <= 2  # one for each thread of a worker, kept


def test_lanes_of_other_sizes_are_opened_anew(model, gpus):
    with ThreadPoolExecutor(1) as workers:
        neuromfa.analyse(model, device="cuda", executor=workers)
        neuromfa.analyse(model, device="cuda", executor=workers, memory=64 << 20)
    assert len(gpus) == 2


def test_a_gpu_that_fails_is_tried_again_and_then_reported(model, monkeypatch):
    def broken(_number):
        raise RuntimeError("no CUDA-capable device is detected")

    monkeypatch.setattr(lanes, "Driver", broken)
    with ThreadPoolExecutor(1) as workers, pytest.raises(ResourceError) as raised:
        neuromfa.analyse(model, device="cuda", executor=workers)
    assert "given up after 3 tries" in str(raised.value)
    assert "no CUDA-capable device" in str(raised.value)


def test_weights_that_are_not_finite(model, gpus):
    tensors = {"map": np.full((30, 20), np.nan, np.float32)}
    save_file(tensors, model)
    with ThreadPoolExecutor(1) as workers, pytest.raises(BadInputError, match="map is nan at"):
        neuromfa.analyse(model, device="cuda", executor=workers)
    assert worker.idle_lanes.empty()
