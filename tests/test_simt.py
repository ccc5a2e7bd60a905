"""The harness finds fault with known-bad kernels, and with none of the good ones beside them."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from simt import ORDERS, SimtDriver, SimtError, needs_compiler, sanitized_environment

pytestmark = needs_compiler
TEXT = (Path(__file__).parent / "broken_kernels.cu").read_text()
X = np.arange(256, dtype=np.float32)


def launched(name, *, grid=1, shared=16, **options):
    driver = SimtDriver(**options)
    y = driver.zeros(256, np.float32)
    kernel = driver.kernel_of(TEXT, name)
    driver.launch(kernel, [X, y], grid=grid, block=256, shared=shared)
    return np.asarray(y)


GOOD = {
    "turned": X[::-1],
    "repeated": 4 * np.roll(X, -32) + 6,
    "tallied": np.full(256, 64),
    "summed": X.reshape(-1, 2)[:, ::-1].reshape(-1),
}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("build", ["plain", "race"])
@pytest.mark.parametrize("name", GOOD)
def test_good_kernels_pass(name, build, order):
    assert np.array_equal(launched(name, build=build, order=order), GOOD[name])


RACES = {
    "turned_without_barrier": (1, "race in shared memory: .*write by thread"),
    "repeated_with_one_barrier": (1, "race in shared memory: .*write by thread"),
    "tallied_without_atomics": (1, "race in shared memory: write by thread"),
    "tallied_before_cleared": (1, "race in shared memory: .*atomic by thread"),
    "summed_over_warps": (1, "race in shared memory: .*write by thread"),
    "blocks_share_a_place": (2, "race in global memory: .*in different blocks"),
}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("name", RACES)
def test_race_check_sees(name, order):
    grid, message = RACES[name]
    with pytest.raises(SimtError, match=f"{name}: {message}"):
        launched(name, build="race", order=order, grid=grid)


@pytest.mark.skipif(shutil.which("addr2line") is None, reason="addr2line is not installed")
def test_a_race_is_reported_with_its_lines():
    first = TEXT.splitlines().index("KERNEL turned_without_barrier(const float* x, float* y) {") + 1
    with pytest.raises(SimtError) as found:
        launched("turned_without_barrier", build="race")
    lines = [int(line) for line in re.findall(r"\.c\w+:(\d+)\)", str(found.value))]
    shift = 1  # the harness's #include stands before the text
    assert sorted(line - shift - first for line in lines) == [2, 3]


HANGS = {
    "barriers_diverge": "divergent __syncthreads",
    "some_never_come": "deadlock.*warp intrinsic|divergent",
    "shuffles_diverge": "divergent warp intrinsic",
}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("name", HANGS)
def test_every_build_sees(name, order):
    with pytest.raises(SimtError, match=HANGS[name]):
        launched(name, order=order)
    assert np.array_equal(launched("turned", order=order), GOOD["turned"])  # and goes on


def sanitized(statement):
    code = f"import numpy as np\nfrom test_simt import *\n{statement}\nprint('DONE')"
    return subprocess.run(
        [sys.executable, "-c", code],
        env=sanitized_environment(),
        capture_output=True,
        text=True,
        check=False,
    )


FAULTS = {
    "past_the_array": "heap-buffer-overflow",
    "past_shared_memory": "use-after-poison",
    "past_a_static_array": "out of bounds|global-buffer-overflow",
    "misaligned": "misaligned address",
    "shifted_too_far": "shift exponent",
}


@pytest.mark.parametrize("name", FAULTS)
def test_sanitizers_see(name):
    run = sanitized(
        f"X = np.array(X)\nlaunched({name!r}, build='sanitized', shared=1020)"  # one value short
    )
    assert run.returncode != 0
    assert "DONE" not in run.stdout
    assert any(word in run.stderr for word in FAULTS[name].split("|")), run.stderr[-2000:]
    assert "cu:" in run.stderr or ".cpp:" in run.stderr


def test_sanitizers_let_good_kernels_pass():
    run = sanitized(
        "for name, y in GOOD.items():\n"
        "    for order in ORDERS:\n"
        "        assert np.array_equal(launched(name, build='sanitized', order=order), y)"
    )
    assert run.returncode == 0, run.stderr[-2000:]
    assert "DONE" in run.stdout


def test_refuses_what_the_driver_of_a_gpu_would():
    driver = SimtDriver(shared_memory=1000)
    kernel = driver.kernel_of(TEXT, "turned")
    with pytest.raises(SimtError, match=r"257 threads; __launch_bounds__ 256"):
        driver.launch(kernel, [X, X], grid=1, block=257)
    with pytest.raises(SimtError, match=r"arguments of \[8\] bytes; it takes \[8, 8\]"):
        driver.launch(kernel, [X], grid=1, block=256)
    with pytest.raises(SimtError, match="must be an array or a NumPy scalar"):
        driver.launch(kernel, [X, 3], grid=1, block=256)
    with pytest.raises(ValueError, match=r"1001 bytes: .* has 1000 a block"):
        driver.launch(kernel, [X, X], grid=1, block=256, shared=1001)
