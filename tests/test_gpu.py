"""Analyses on simulated GPUs: the launchers, the ring and the scheduler as on real ones."""

import json
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import neuromfa
from neuromfa import cli, devices, doctor, gpu_plan, lanes, units
from neuromfa.errors import BadInputError, ResourceError, UsageError
from neuromfa.multifractal import moments
from neuromfa_kernels import cuda_feed
from simt import needs_compiler
from simulated_gpus import LateDriver

pytestmark = needs_compiler
TINY = Path(__file__).parent / "expected" / "tiny-neox" / "step64"


@pytest.fixture
def machine(monkeypatch):
    """Let this machine have some simulated GPUs."""

    def build(count, **settings):
        made = {}

        def driver(number):
            made.setdefault(number, LateDriver(number, **settings))
            return made[number]

        monkeypatch.setattr(devices, "device_count", lambda: count)
        monkeypatch.setattr(devices, "Driver", driver)
        monkeypatch.setattr(lanes, "Driver", driver)
        return made

    return build


def weights(seed=0, dtype=np.float32):
    rng = np.random.default_rng(seed)
    return {
        f"map.{k}": rng.normal(0, 0.05, shape).astype(dtype)
        for k, shape in enumerate([(70, 40), (33, 1030), (64, 17), (5, 5)])
    }


def numbers(analysis):
    """What does not depend on where it was computed."""
    record = analysis.to_dict()
    del record["provenance"]
    return record


def test_gpus_and_cpu_agree(machine):
    machine(2)
    on_cpu = neuromfa.analyse(weights(), fractal_dimensions=True)
    on_gpus = neuromfa.analyse(weights(), device="cuda", fractal_dimensions=True)
    assert on_gpus.provenance["device"] == "cuda:0,1"
    for a, b in zip(
        (on_cpu.network, *on_cpu.layers), (on_gpus.network, *on_gpus.layers), strict=True
    ):
        assert (a.edges, a.counted_neurons) == (b.edges, b.counted_neurons)
        assert np.array_equal(a.radii, b.radii)
        np.testing.assert_allclose(a.tau, b.tau, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(a.alpha, b.alpha, rtol=1e-9, atol=1e-9)
    for name, values in on_cpu.fractal_dimensions.items():
        np.testing.assert_allclose(values, on_gpus.fractal_dimensions[name], rtol=1e-9)


def test_a_real_checkpoint(machine):
    machine(1)
    on_cpu, on_gpu = neuromfa.analyse(TINY), neuromfa.analyse(TINY, device="cuda:0")
    assert on_cpu.provenance["content_hash"] == on_gpu.provenance["content_hash"]
    assert on_cpu.network.edges == on_gpu.network.edges
    np.testing.assert_allclose(on_cpu.network.tau, on_gpu.network.tau, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("gpus", ["cuda:0", "cuda:0,1", "cuda:2,0,1", "cuda"])
@pytest.mark.parametrize("chunk", [1 << 8, 5000, 1 << 20])
def test_resources_change_no_bit(machine, monkeypatch, gpus, chunk):
    machine(3, multiprocessors=5)
    expected = numbers(neuromfa.analyse(weights(), device="cuda:0"))
    monkeypatch.setattr(gpu_plan, "SMALLEST_CHUNK", chunk)
    monkeypatch.setattr(gpu_plan, "LARGEST_CHUNK", chunk)
    assert numbers(neuromfa.analyse(weights(), device=gpus)) == expected


def test_units_smaller_than_a_layer_change_no_bit(machine, monkeypatch):
    machine(1)
    monkeypatch.setattr(gpu_plan, "LARGEST_CHUNK", gpu_plan.SMALLEST_CHUNK)
    wide = {"map": np.random.default_rng(1).normal(0, 0.05, (40, 3000)).astype(np.float16)}
    protocol = neuromfa.Protocol(q=(-1.0, 0.0, 1.0), cutoff=50)
    whole = neuromfa.analyse(wide, protocol, device="cuda")
    tables = 16 * len(moments(protocol)) * protocol.n_radii
    least = 2 * (4 * gpu_plan.SMALLEST_CHUNK + gpu_plan.unit_bytes(1, protocol.n_radii, tables))
    cut = neuromfa.analyse(wide, protocol, device="cuda", device_memory=least)
    assert (whole.provenance["units"], cut.provenance["units"]) == (1, 3)
    assert numbers(whole) == numbers(cut)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64], ids=str)
@pytest.mark.parametrize("axis", [0, 1])
def test_maps_of_every_kind(machine, dtype, axis):
    machine(1)
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(3)
    module = torch.nn.Sequential(
        torch.nn.Conv1d(6, 9, 3), torch.nn.Linear(30, 20), torch.nn.Conv2d(4, 8, (2, 3), groups=2)
    ).to(getattr(torch, np.dtype(dtype).name))
    for parameter in module.parameters():
        parameter.data[:] = torch.from_numpy(rng.normal(0, 0.1, parameter.shape))
    source = module if axis else {"m": rng.normal(0, 0.1, (30, 20)).astype(dtype).T}
    include = neuromfa.Protocol(include=("convolution",), min_neighbours=2)
    on_cpu = neuromfa.analyse(source, include)
    on_gpu = neuromfa.analyse(source, include, device="cuda")
    assert on_cpu.network.edges == on_gpu.network.edges
    assert on_cpu.network.counted_neurons == on_gpu.network.counted_neurons
    np.testing.assert_allclose(on_cpu.network.tau, on_gpu.network.tau, rtol=1e-9, atol=1e-9)


def test_a_weight_that_is_not_finite_is_named(machine):
    machine(1)
    bad = weights()
    bad["map.2"][3, 4] = np.nan
    with pytest.raises(BadInputError, match=r"tensor map.2 is nan at \[3, 4\]"):
        neuromfa.analyse(bad, device="cuda")
    dropped = neuromfa.analyse(bad, neuromfa.Protocol(nonfinite="drop"), device="cuda")
    assert numbers(dropped) != numbers(neuromfa.analyse(weights(), device="cuda"))


def test_a_gpu_without_memory_is_one_sentence(machine):
    machine(1, free=1000)
    with pytest.raises(ResourceError, match=r"device memory 900 bytes: .*raise --device-memory"):
        neuromfa.analyse(weights(), device="cuda")


def test_a_gpu_that_fails_names_the_layer(machine, monkeypatch):
    made = machine(1)
    neuromfa.analyse(weights(), device="cuda")

    def broken(*_args, **_shape):
        raise RuntimeError("cuda:0 (NVIDIA X): an illegal memory access was encountered")

    monkeypatch.setattr(LateDriver, "launch", broken)
    assert made
    with pytest.raises(ResourceError, match=r"layer map.\d: cuda:0 \(NVIDIA X\): an illegal"):
        neuromfa.analyse(weights(), device="cuda")


def test_the_doctor_examines_every_gpu(machine, monkeypatch):
    made = machine(2)
    monkeypatch.setattr(doctor, "Driver", devices.Driver)
    checks = {check["check"]: check for check in doctor.examine()}
    assert all(checks[f"neighbour counts on cuda:{k}"]["ok"] for k in (0, 1))
    monkeypatch.setattr(type(made[1]), "to_host", lambda _, array: np.zeros_like(array))
    wrong = {check["check"]: check for check in doctor.examine()}
    assert "differ" in wrong["neighbour counts on cuda:1"]["detail"]


def test_the_choice_of_auto_is_said(machine, capsys):
    machine(0)
    cli.cli(["plan", str(TINY), "--device", "auto", "--json"], standalone_mode=False)
    said = capsys.readouterr()
    assert said.err == "neuromfa: device cpu: there is no GPU to use: CUDA finds none\n"
    machine(2)
    cli.cli(["plan", str(TINY), "--device", "auto", "--json"], standalone_mode=False)
    said = capsys.readouterr()
    assert said.err == "neuromfa: device cuda:0,1: 2 GPUs are there\n"
    assert json.loads(said.out)["devices"] == "cuda:0,1"


class TestFindingDevices:
    def test_the_cpu_needs_nothing(self, monkeypatch):
        monkeypatch.setattr(devices, "device_count", lambda: pytest.fail("asked for GPUs"))
        assert str(devices.find_devices("cpu")) == "cpu"

    @pytest.mark.parametrize(
        ("asked", "found"),
        [
            ("cuda", "cuda:0,1,2"),
            ("auto", "cuda:0,1,2"),
            ("cuda:2", "cuda:2"),
            ("cuda:1,0,1", "cuda:1,0"),
        ],
    )
    def test_some_gpus(self, machine, asked, found):
        machine(3)
        assert str(devices.find_devices(asked)) == found

    @pytest.mark.parametrize("asked", ["gpu", "cuda:", "cuda:a", "cuda:0,", "CUDA", ""])
    def test_nonsense(self, asked):
        with pytest.raises(UsageError, match="must be cpu, cuda, cuda:0,1 or auto"):
            devices.find_devices(asked)

    def test_a_gpu_that_is_not_there(self, machine):
        machine(2)
        with pytest.raises(ResourceError, match="no GPU 5; this machine has 2"):
            devices.find_devices("cuda:0,5")
        machine(0)
        assert devices.find_devices("auto").reason
        with pytest.raises(ResourceError, match="finds no GPU; use device cpu"):
            devices.find_devices("cuda")

    def test_no_cuda_at_all(self, monkeypatch):
        def nothing():
            raise RuntimeError("CuPy cannot be imported (no module)")

        monkeypatch.setattr(devices, "device_count", nothing)
        auto = devices.find_devices("auto")
        assert str(auto) == "cpu"
        assert "CuPy cannot be imported" in auto.reason
        with pytest.raises(ResourceError, match=r"neuromfa\[gpu\]"):
            devices.find_devices("cuda")


def model(hidden, inner, blocks, *, kv=None):
    """Layers of a Llama-shaped model: what reads the same units is one layer."""
    kv = kv or hidden
    shapes = [(hidden, hidden + 2 * kv), (hidden, hidden), (hidden, 2 * inner), (inner, hidden)]
    return [gpu_plan.LayerSize(n, 2 * n * out, 2 * n) for _ in range(blocks) for n, out in shapes]


@pytest.mark.parametrize(
    "layers",
    [
        model(4096, 11008, 32),
        model(8192, 28672, 80, kv=1024),
        model(16384, 53248, 126, kv=1024),
    ],
    ids=["7B", "70B", "405B"],
)
def test_eight_gpus_are_kept_equally_busy(layers):
    laid = gpu_plan.plan_gpus(
        layers, n_radii=150, n_q=61, gpus=8, memory=1 << 30, device_memory=100 << 30
    )
    sizes = [layers[k].weight_bytes * (b - a) // layers[k].neurons for k, a, b in laid.pieces]
    loads = [0] * 8
    for k in gpu_plan.largest_first(sizes):
        loads[loads.index(min(loads))] += sizes[k]
    assert max(loads) <= 1.02 * sum(loads) / 8
    assert laid.host_bytes <= 1 << 30
    assert laid.device_bytes <= 100 << 30


@given(
    st.lists(
        st.tuples(st.integers(1, 30_000), st.integers(1, 30_000), st.sampled_from([1, 2, 4, 8])),
        min_size=1,
        max_size=20,
    ),
    st.sampled_from([2, 150, 4000]),
    st.integers(1, 9),
    st.integers(20, 36),
    st.integers(20, 37),
)
def test_plans_stay_within_their_limits(shapes, n_radii, gpus, memory, device_memory):
    layers = [gpu_plan.LayerSize(n, n * out * size, n * size) for n, out, size in shapes]
    limits = {"memory": 1 << memory, "device_memory": 1 << device_memory}
    try:
        laid = gpu_plan.plan_gpus(layers, n_radii=n_radii, n_q=61, gpus=gpus, **limits)
    except ResourceError:
        return
    assert laid.host_bytes <= limits["memory"]
    assert laid.device_bytes <= limits["device_memory"]
    assert laid.chunk_bytes >= max(layer.row_bytes for layer in layers)
    for k, layer in enumerate(layers):
        ends = [(a, b) for index, a, b in laid.pieces if index == k]
        assert [a for a, _ in ends] == [0, *(b for _, b in ends[:-1])]
        assert ends[-1][1] == layer.neurons
        assert all(a % units.TILE == 0 for a, _ in ends)


class TestFeed:
    def feed(self, slots, nbytes=16):
        driver = LateDriver()
        return driver, cuda_feed.Feed(driver, nbytes, slots)

    @pytest.mark.parametrize("slots", [2, 3, 7])
    def test_every_chunk_arrives_before_it_is_used(self, slots):
        driver, feed = self.feed(slots)
        sums = driver.zeros(40, np.int64)

        def fill(item):
            def read(out):
                time.sleep(0.001 * (item % 3))  # readers end in any order
                out[:] = item

            return cuda_feed.Fill(1 + item % 16, read)

        for item, device in feed.chunks(range(1, 40), fill):
            # launched, not done: it will see what the buffer holds then
            driver._later(lambda i=item, d=device: sums.__setitem__(i, d.astype(np.int64).sum()))
        expected = [k * (1 + k % 16) for k in range(40)]
        expected[0] = 0
        assert driver.to_host(sums).tolist() == expected
        feed.close()

    def test_a_reader_that_fails_ends_the_stream(self):
        _, feed = self.feed(2)

        def fill(item):
            def read(out):
                if item == 3:
                    raise BadInputError("f: ends at byte 7")
                out[:] = item

            return cuda_feed.Fill(4, read)

        seen = []
        with pytest.raises(BadInputError, match="ends at byte 7"):
            seen.extend(item for item, _ in feed.chunks(range(9), fill))
        assert seen == [0, 1, 2]
        assert [k for k, _ in feed.chunks(range(3), lambda k: cuda_feed.Fill(1, lambda _: None))]
        feed.close()
