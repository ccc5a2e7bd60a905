"""Every kernel, in every form that a launcher can ask for, compiles for every architecture."""

import re

import pytest

import nvrtc
from neuromfa_kernels import cuda_partition
from neuromfa_kernels.cuda_driver import SOURCES, source_text

pytestmark = pytest.mark.skipif(
    nvrtc.library() is None, reason="the package nvidia-cuda-nvrtc is not installed"
)


def test_every_source_is_there_with_the_options_of_its_launcher():
    variants = nvrtc.variants()
    assert {v.source for v in variants} == {path.name for path in SOURCES.glob("*.cu")}
    asked = [(source, tuple(options.items())) for source, options in cuda_partition.VARIANTS]
    assert [v for v in variants if v.source == cuda_partition.SOURCE] == asked


def test_nothing_is_spilled():
    spilled = []
    for (variant, architecture), (size, log) in nvrtc.everything().items():
        kernels = nvrtc.figures(log)
        text = source_text(variant.source)
        assert size > 0
        assert len(kernels) == log.count("Compiling entry function") > 0
        assert "__global__" in text
        spilled += [(variant, architecture, kernel) for kernel in kernels if kernel.spilled]
    assert not spilled


def test_a_spill_is_seen():
    crowded = {**cuda_partition.WIDE, "BLOCK": 1024}
    _, log = nvrtc.compiled(source_text(cuda_partition.SOURCE), 90, crowded)
    assert any(kernel.spilled for kernel in nvrtc.figures(log))


def test_an_error_is_seen():
    with pytest.raises(ValueError, match="undefined"):
        nvrtc.compiled('extern "C" __global__ void broken() { x = 1; }', 90, {})


def test_the_page_is_that_of_these_kernels():
    written = nvrtc.PAGE.read_text(encoding="utf-8")
    by = re.search(r"NVRTC ([\d.]+)", written)[1]
    if by != nvrtc.version():
        pytest.skip(f"docs/kernels.md is of NVRTC {by}, this is {nvrtc.version()}")
    assert written == nvrtc.page(), "run python tests/nvrtc.py"
