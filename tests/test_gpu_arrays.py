"""Weights that lie on GPUs already: counted there, by simulated GPUs whose streams run late."""

import sys
import threading
import time

import ml_dtypes
import numpy as np
import pytest
import torch

import neuromfa
from neuromfa import devices, gpu, gpu_arrays, lanes
from neuromfa.checkpoint import Checkpoint, open_checkpoint
from neuromfa.errors import BadInputError, ResourceError, UnsupportedError, UsageError
from neuromfa.measure import count
from neuromfa.scheduler import prepare
from neuromfa_kernels import arrays, cuda_arrays, cuda_feed
from simt import SimtArray, needs_compiler
from simulated_gpus import LateDriver

pytestmark = needs_compiler


class OnCuda(torch.Tensor):
    """Lies on a GPU, as far as it tells."""

    number = 0

    @property
    def device(self):
        return torch.device("cuda", self.number)

    def cpu(self):
        pytest.fail("a tensor was copied whole")


class OnSecond(OnCuda):
    number = 1


class OnThird(OnCuda):
    number = 2


PLACES = (OnCuda, OnSecond, OnThird)


@pytest.fixture
def owners(monkeypatch):
    """Three GPUs; by number, the stream on which the owner of the weights works."""
    made = {}

    def driver(number):
        made.setdefault(number, LateDriver(number))
        return made[number]

    streams = {number: driver(number).lane() for number in range(3)}

    def on_device(source, name):
        if isinstance(source, SimtArray):
            return cuda_arrays.OnDevice(source, source.dtype, streams[0])
        number, plain = source.device.index, source.as_subclass(torch.Tensor)
        plain, dtype = arrays.plain_tensor(plain, name)
        array = plain.numpy().view(SimtArray)
        return cuda_arrays.OnDevice(array, dtype or array.dtype, streams[number])

    own = arrays.lies_on_gpu
    monkeypatch.setattr(arrays, "lies_on_gpu", lambda x: isinstance(x, SimtArray) or own(x))
    monkeypatch.setattr(cuda_arrays, "on_device", on_device)
    monkeypatch.setattr(devices, "device_count", lambda: 3)
    monkeypatch.setattr(devices, "Driver", driver)
    monkeypatch.setattr(lanes, "Driver", driver)
    return streams


@pytest.fixture
def no_copies(monkeypatch):
    """Weights must not travel: neither through a ring nor as whole tensors."""
    monkeypatch.setattr(cuda_feed.Feed, "chunks", lambda *_: pytest.fail("weights were streamed"))
    monkeypatch.setattr(Checkpoint, "copy_rows", lambda *_, **__: pytest.fail("rows were copied"))
    monkeypatch.setattr(Checkpoint, "read", lambda *_, **__: pytest.fail("rows were read"))


def model(dtype=torch.float32, seed=0):
    torch.manual_seed(seed)
    module = torch.nn.Sequential(
        *(torch.nn.Linear(a, b) for a, b in [(40, 33), (33, 70), (1030, 20)]),
        torch.nn.Embedding(50, 8),
    )
    for parameter in module.parameters():
        parameter.data.normal_(0, 0.1)
    return module.to(dtype)


def moved(module, where=lambda _: OnCuda):
    return {name: tensor.as_subclass(where(name)) for name, tensor in module.state_dict().items()}


def numbers(analysis):
    record = analysis.to_dict()
    content = record.pop("provenance")["content_hash"]
    return record, content


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float8_e5m2], ids=str)
@pytest.mark.usefixtures("no_copies")
def test_counted_where_they_lie(owners, dtype):
    there = neuromfa.analyse(moved(model(dtype)))
    assert there.provenance["device"] == "cuda:0"
    assert there.network.neurons == 40 + 33 + 1030 + 8
    assert owners[0].stream.done == len(owners[0].stream.given)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_same_bits_as_streamed(owners, dtype):
    streamed = neuromfa.analyse(model(dtype).state_dict(), device="cuda")
    there = neuromfa.analyse(moved(model(dtype)))
    assert numbers(there) == numbers(streamed)
    assert there.network.edges == neuromfa.analyse(model(dtype).state_dict()).network.edges


def test_a_module_on_a_gpu(owners, no_copies):
    module = model()
    for parameter in module.parameters():
        parameter.data = parameter.data.as_subclass(OnCuda)
    state = {name: OnCuda(tensor.detach()) for name, tensor in module.state_dict().items()}
    module.state_dict = lambda: state
    analysis = neuromfa.analyse(module)
    assert analysis.source == "Sequential"
    assert analysis.provenance["device"] == "cuda:0"


def test_the_owner_may_still_be_writing(owners):
    expected = numbers(neuromfa.analyse(model().state_dict(), device="cuda"))
    late = {name: torch.zeros_like(t) for name, t in model().state_dict().items()}
    for name, value in model().state_dict().items():
        owners[0]._later(lambda t=late[name], v=value: t.copy_(v))
    assert not any(tensor.any() for tensor in late.values())
    given = {name: tensor.as_subclass(OnCuda) for name, tensor in late.items()}
    assert numbers(neuromfa.analyse(given)) == expected


def test_every_gpu_counts_what_it_holds(owners, monkeypatch):
    by = {"0": OnCuda, "1": OnSecond, "2": OnThird, "3": OnCuda}
    used = []

    def take(self, unit, own=lanes.Lanes.lane):
        used.append((unit.layer, unit.gpu))
        return own(self, unit)

    monkeypatch.setattr(lanes.Lanes, "lane", take)
    analysis = neuromfa.analyse(moved(model(), lambda name: by[name[0]]))
    assert sorted(used) == [(0, 0), (1, 1), (2, 2), (3, 0)]
    assert analysis.provenance["device"] == "cuda:0,1,2"
    monkeypatch.undo()


def test_what_stayed_on_the_host_streams(owners):
    expected = numbers(neuromfa.analyse(model().state_dict(), device="cuda"))
    given = moved(model())
    given["1.weight"] = given["1.weight"].as_subclass(torch.Tensor)
    assert numbers(neuromfa.analyse(given)) == expected
    assert numbers(neuromfa.analyse(given, device="cuda:0,2")) == expected


@pytest.mark.parametrize("asked", ["cpu", "cuda:1", "cuda:1,2"])
def test_another_device_is_refused(owners, asked):
    with pytest.raises(UsageError) as refused:
        neuromfa.analyse(moved(model()), device=asked)
    assert str(refused.value) == (
        f"state dict: has weights on cuda:0, and device {asked} is {asked}; "
        "leave the device out, or copy the weights"
    )
    assert neuromfa.analyse(moved(model()), device="auto").provenance["device"] == "cuda:0,1,2"


def test_a_layer_on_two_gpus_is_refused(owners):
    linear = torch.nn.Linear(8, 4).weight.detach()
    given = {
        "model.layers.0.self_attn.q_proj.weight": linear.as_subclass(OnCuda),
        "model.layers.0.self_attn.k_proj.weight": linear.clone().as_subclass(OnSecond),
    }
    with pytest.raises(UnsupportedError, match=r"is on cuda:\d and .* on cuda:\d; move them to"):
        neuromfa.analyse(given)


def strided():
    base = torch.arange(1, 721, dtype=torch.float32) / 1000
    yield "transposed", base.reshape(36, 20).T
    yield "every-other-column", base.reshape(36, 20)[:, ::2]
    yield "experts-swapped", base.reshape(12, 15, 4).transpose(1, 2)
    yield "vector", base[::7]
    yield "scalar", base[0]
    yield "integers", base.int()


@pytest.mark.parametrize("tensor", [pytest.param(t, id=name) for name, t in strided()])
def test_tensors_of_every_layout(owners, tensor):
    given = {"w": tensor.as_subclass(OnCuda), "p": tensor.contiguous()}
    with open_checkpoint(given) as checkpoint:
        assert (checkpoint.tensors["w"].gpu, checkpoint.tensors["p"].gpu) == (0, None)
        assert checkpoint.digest("w") == checkpoint.digest("p")
        assert np.array_equal(checkpoint.read("w"), checkpoint.read("p"))
        assert not checkpoint.read("w").flags.writeable


def test_tied_tensors(owners):
    weight = torch.ones(4, 4)
    given = {"b": weight.as_subclass(OnCuda), "a": weight.view(4, 4).as_subclass(OnCuda)}
    given |= {"c": weight.clone().as_subclass(OnCuda), "h": weight}
    with open_checkpoint(given) as checkpoint:
        assert checkpoint.aliases == {"b": "a"}


def test_arrays_of_other_libraries(owners):
    weights = np.random.default_rng(0).normal(0, 0.1, (30, 40)).astype(np.float32)
    there = neuromfa.analyse({"w": weights.copy().view(SimtArray)})
    assert numbers(there) == numbers(neuromfa.analyse({"w": weights}, device="cuda"))


def test_dlpack_on_the_host():
    class Exported:
        def __init__(self, array):
            self.array = array

        def __dlpack__(self, **options):
            return self.array.__dlpack__(**options)

        def __dlpack_device__(self):
            return self.array.__dlpack_device__()

    weights = np.random.default_rng(0).normal(0, 0.1, (30, 40)).astype(np.float32)
    with open_checkpoint({"w": Exported(weights)}) as checkpoint:
        assert np.shares_memory(checkpoint.read("w"), weights)
    assert numbers(neuromfa.analyse({"w": Exported(weights)})) == numbers(
        neuromfa.analyse({"w": weights})
    )


def test_a_weight_that_is_not_finite_is_named(owners):
    given = model().state_dict()
    given["1.weight"][3, 4] = torch.inf
    with pytest.raises(BadInputError, match=r"tensor 1.weight is inf at \[3, 4\]"):
        neuromfa.analyse({name: t.as_subclass(OnCuda) for name, t in given.items()})


def test_counts_of_a_lane_are_those_of_the_cpu(owners):
    """What is added over the ranks of a sharded model."""
    protocol = neuromfa.Protocol(nonfinite="drop")
    given = model().state_dict()
    given["1.weight"][3, 4] = torch.nan
    there = {name: tensor.as_subclass(OnCuda) for name, tensor in given.items()}
    factors = {"0.weight": 0.0}
    with prepare(given, protocol) as job, prepare(there, protocol) as held:
        with lanes.gpus_at_work(held.plan) as working:
            for unit in held.plan.units:
                layer = job.network.layers[unit.layer]
                with working.lane(unit) as lane:
                    found = lane.count(held.checkpoint, layer, unit, protocol, factors=factors)
                expected = count(job.checkpoint, layer, unit, protocol, factors=factors)
                for mine, other in zip(found, expected, strict=True):
                    assert np.array_equal(mine, other)
        assert held.plan.chunk_bytes == 0


def test_stopped_while_lanes_are_at_work(owners, monkeypatch):
    begun, measure = [], gpu.Gpu.measure

    def slow(self, checkpoint, layer, unit, protocol, **settings):
        begun.append(unit)
        time.sleep(0.05)
        return measure(self, checkpoint, layer, unit, protocol, **settings)

    def stop(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(gpu.Gpu, "measure", slow)
    rng = np.random.default_rng(0)
    many = {f"map.{k}": torch.from_numpy(rng.normal(0, 0.1, (8, 8)).astype("f4"))
            for k in range(40)}  # fmt: skip
    with pytest.raises(KeyboardInterrupt):
        neuromfa.analyse({n: t.as_subclass(OnCuda) for n, t in many.items()}, progress=stop)
    assert len(begun) < 20
    assert not [t for t in threading.enumerate() if t.name.startswith("neuromfa")]


def test_second_passes_read_the_same_weights(owners):
    relative = neuromfa.Protocol(distance="relative")
    plain = neuromfa.analyse(model().state_dict(), relative, device="cuda", structure="simple")
    there = neuromfa.analyse(moved(model()), relative, structure="simple")
    assert numbers(plain) == numbers(there)


def test_a_gpu_that_cannot_be_used(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(ResourceError) as refused:
        neuromfa.analyse(moved(model()))
    assert str(refused.value) == (
        "state dict: tensor 0.weight: lies on a GPU, where CuPy is needed: "
        "pip install 'neuromfa[gpu]'; or copy it to the host"
    )


@pytest.mark.parametrize("error", [TypeError, BufferError, ValueError])
def test_a_type_that_cupy_cannot_view(monkeypatch, error):
    def on_device(_source, name):
        raise error(f"{name}: CuPy cannot view this OnCuda: no such type")

    monkeypatch.setattr(cuda_arrays, "on_device", on_device)
    with pytest.raises(UnsupportedError, match=r"cannot view this OnCuda.*; copy it to the host"):
        gpu_arrays.take(torch.ones(2, 2).as_subclass(OnCuda), "state dict: tensor w")


def test_bfloat16_rows_come_back_as_such(owners):
    tensor = torch.ones(3, 4).bfloat16()
    with open_checkpoint({"w": tensor.as_subclass(OnCuda)}) as checkpoint:
        assert checkpoint.read("w").dtype == ml_dtypes.bfloat16
