"""Arrays of other libraries on GPUs, and the driver: on a double of CuPy, and on a GPU if any."""

import sys
from functools import reduce

import numpy as np
import pytest
import torch

import cupy_double
from conftest import missing_gpu
from neuromfa_kernels import (
    count_neighbours,
    cuda_driver,
    fractal_dimension,
    partition_function,
    radius_table,
)
from neuromfa_kernels.cuda_driver import Driver
from simt import needs_compiler
from strategies import DTYPES

Q = np.linspace(-3, 3, 61)


def sample(name, shape=(300, 70)):
    numbers = torch.tensor(np.random.default_rng(1).standard_normal(shape) / 20)
    return numbers.to(getattr(torch, name))


@pytest.fixture
def cupy(monkeypatch):
    double = cupy_double.Cupy()
    monkeypatch.setitem(sys.modules, "cupy", double)
    for cached in (cuda_driver._module, cuda_driver._properties):
        cached.cache_clear()
    yield double
    for cached in (cuda_driver._module, cuda_driver._properties):
        cached.cache_clear()


class Elsewhere(torch.Tensor):
    """A tensor that says it lies on a GPU."""

    device = property(lambda self: torch.device("cuda:1"))

    @classmethod
    def of(cls, tensor):
        return tensor.as_subclass(cls)

    def there(self):
        return self.as_subclass(torch.Tensor).numpy()


class Stream:
    cuda_stream = 4242


@needs_compiler
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_tensors_are_taken_where_they_lie_on_the_current_stream(cupy, monkeypatch, dtype):
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: Stream)
    stored = sample(dtype.name)
    if dtype.itemsize > 1:
        stored.requires_grad_()
    table = radius_table(dtype, 150)
    found = count_neighbours(Elsewhere.of(stored), table, neuron_axis=1)
    expected = count_neighbours(stored, table, neuron_axis=1)
    for mine, other in zip(found, expected, strict=True):
        assert isinstance(mine, cupy_double.Array)
        assert np.array_equal(mine, other)
    assert set(cupy.entered) == {("device", 1), ("stream", 4242)}


@needs_compiler
def test_everything_from_counts_to_dimensions_on_one_device(cupy):
    stored = sample("float32").numpy()
    table = radius_table("float32", 150)
    counts = count_neighbours(stored, table, neuron_axis=1)
    there = count_neighbours(cupy.asarray(stored), table, neuron_axis=1)
    sums, dimension = partition_function(there.counts, Q), fractal_dimension(*there[:2])
    for mine, other in (
        *zip(sums, partition_function(counts.counts, Q), strict=True),
        *zip(dimension, fractal_dimension(*counts[:2]), strict=True),
    ):
        assert np.asarray(mine).tobytes() == np.asarray(other).tobytes()
    assert ("device", 0) in cupy.entered
    assert not any(kind == "stream" for kind, _ in cupy.entered)  # CuPy's own current one
    assert {backend for _, backend in cupy.options} == {"nvrtc"}
    assert not any("fast" in option for options, _ in cupy.options for option in options)
    with pytest.raises(TypeError, match=r"near: does not lie in cuda:0 \(Double\)"):
        fractal_dimension(there.counts, counts.near)
    with pytest.raises(TypeError, match=r"into.counts: does not lie in cuda:0"):
        count_neighbours(cupy.asarray(stored), table, neuron_axis=1, into=counts)
    other = Driver(1).zeros((2, 70), np.uint32)
    with pytest.raises(TypeError, match=r"near: lies on cuda:1 .*, the other array on cuda:0"):
        fractal_dimension(there.counts, other)
    with pytest.raises(ValueError, match=r"threads 2: are of the CPU"):
        partition_function(there.counts, Q, threads=2)


def test_what_goes_wrong_is_one_sentence(cupy):
    with pytest.raises(RuntimeError, match=r"cuda:7: asking for its properties: .*invalid device"):
        Driver(7)
    driver = Driver(0)
    assert (driver.name, driver.multiprocessors) == ("cuda:0 (Double)", 3)
    assert (driver.shared_memory, driver.architecture) == (101_376, 89)
    cupy.architecture = (7, 5)
    with pytest.raises(RuntimeError, match=r"has compute capability 7\.5; must be at least 8\.0"):
        Driver(1)
    cupy.room = 1000
    with pytest.raises(MemoryError, match=r"cuda:0 \(Double\): not enough memory for 4,000 bytes"):
        driver.zeros((10, 100), np.uint32)
    with pytest.raises(MemoryError, match=r"not enough memory for 8,000 bytes"):
        driver.empty(1000, np.float64)
    with pytest.raises(ValueError, match=r"200000 bytes: .* has 101376 a block"):
        driver.launch(None, [], grid=1, block=32, shared=200_000)


@needs_compiler
def test_a_kernel_that_is_not_there_is_one_sentence(cupy):
    with pytest.raises(RuntimeError, match=r"nothing of neighbours_any.cu: CUDA_ERROR_NOT"):
        Driver(0).kernel("neighbours_any.cu", "nothing")

    def broken(**options):
        raise cupy_double.CompileException("neighbours_any.cu(3): error: expected a ;\nmore")

    cuda_driver._module.cache_clear()
    cupy.RawModule = broken
    with pytest.raises(RuntimeError, match=r"does not compile: .*expected a ;$"):
        Driver(0).kernel("neighbours_any.cu", "any_1")


def test_cupy_has_what_its_double_has():
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed")
    for name in cupy_double.NAMES:
        assert reduce(getattr, name.split("."), cupy) is not None


@pytest.fixture
def gpu():
    if missing_gpu():
        pytest.skip(missing_gpu())
    return torch.device("cuda:0")


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_tensors_on_a_gpu(gpu, dtype):
    import cupy  # noqa: PLC0415

    if not torch.cuda.is_available():
        pytest.skip("this torch has no CUDA")
    stored, table = sample(dtype.name, (2000, 515)), radius_table(dtype, 150)
    expected = count_neighbours(stored, table, neuron_axis=1)
    with torch.cuda.stream(torch.cuda.Stream()):
        for view in (lambda t: t, lambda t: t.T.contiguous().T, lambda t: t[:, 1:]):
            there = view(stored.to(gpu))
            found = count_neighbours(there, table, neuron_axis=1)
            wanted = count_neighbours(view(stored), table, neuron_axis=1)
            assert all(isinstance(a, cupy.ndarray) for a in found)
            for mine, other in zip(found, wanted, strict=True):
                assert np.array_equal(cupy.asnumpy(mine), other)
    assert expected.counts.sum() > 0


@pytest.mark.gpu
@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("name", ["float64", "float32", "float16"])
def test_cupy_arrays_on_a_gpu(name):
    import cupy  # noqa: PLC0415

    stored, table = sample(name, (2000, 515)).numpy(), radius_table(name, 150)
    expected = count_neighbours(stored, table, neuron_axis=0)
    found = count_neighbours(cupy.asarray(stored), table, neuron_axis=0)
    into = count_neighbours(cupy.asarray(stored), table, neuron_axis=0, into=found)
    assert into is found
    for mine, other in zip(found, expected, strict=True):
        assert np.array_equal(cupy.asnumpy(mine), 2 * other)
    sums = partition_function(found.counts, Q)
    wanted = partition_function(cupy.asnumpy(found.counts), Q)
    assert np.allclose(cupy.asnumpy(sums.Z), wanted.Z, rtol=1e-12, atol=0)
    assert np.array_equal(cupy.asnumpy(partition_function(found.counts, Q).Z), sums.Z.get())
