"""Relative distances: root mean squares, factors, and what no rescaling may change."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import naive
from neuromfa import BadInputError, Protocol, UnsupportedError, analyse
from neuromfa.scale import BLOCK_WEIGHTS, relative_factors, tensor_scales
from neuromfa.scheduler import prepare
from strategies import weights

RELATIVE = Protocol(distance="relative", cutoff=60)
ROUNDING = 1e-13
"""Sums of blocks are pairwise: their error grows with the logarithm of the length."""


def scales_of(tensors, protocol=RELATIVE, threads=1):
    with prepare(tensors, protocol) as job:
        return tensor_scales(job.checkpoint, job.network, protocol, threads=threads)


@given(matrix=weights(nonfinite=True))
def test_scales_agree_with_the_oracle(matrix):
    with np.errstate(invalid="ignore"):
        values = [float(w) for w in matrix.astype(np.float64).ravel() if np.isfinite(w)]
    huge = matrix.dtype == np.float64 and any(abs(w) > 1e100 or 0 < abs(w) < 1e-100 for w in values)
    if huge:
        return  # see the test of the range of float64
    found = scales_of({"a": matrix}, Protocol(nonfinite="drop", distance="relative"))["a"]
    assert found.weights == len(values)
    assert found.rms == pytest.approx(naive.root_mean_square(values), rel=ROUNDING)
    size = math.fsum(map(abs, values)) / max(1, len(values))
    mean = math.fsum(values) / max(1, len(values))
    assert found.mean == pytest.approx(mean, rel=0, abs=ROUNDING * size)


@given(matrix=weights(neurons=(1, 3, 31), edges=(11, 12, 40)), scale=st.sampled_from((3.0, 50.0)))
@settings(max_examples=30)
def test_relative_counts_agree_with_the_oracle(matrix, scale):
    if matrix.dtype == np.float64 or not matrix.any():
        return
    protocol = Protocol(distance="relative", relative_scale=scale, min_neighbours=0)
    tensors = {"a": matrix}
    factor = relative_factors(scales_of(tensors, protocol), protocol)["a"]
    counts, _, dropped = naive.neighbour_counts(matrix, protocol.cutoff, 1, factor)
    rms = naive.root_mean_square(matrix.astype(np.float64).ravel().tolist())
    assert factor == pytest.approx(1 / (scale * rms), rel=ROUNDING)
    network = analyse(tensors, protocol).network
    assert network.edges_in_range == counts.sum()
    assert [network.edges_below, network.edges_above, network.zeros] == dropped[:3].tolist()
    assert network.radii.tolist() == (np.flatnonzero(counts.sum(axis=1)) + 1).tolist()


def model(factor=1.0, dtype=np.float32, rows=300):
    rng = np.random.default_rng(5)
    return {
        f"model.layers.{block}.mlp.{name}.weight": (
            factor * rng.normal(0, 0.01 * (block + 1), (rows, 64))
        ).astype(dtype)
        for block in range(3)
        for name in ("up_proj", "gate_proj")
    }


def test_rescaling_a_tensor_changes_nothing():
    before, after = analyse(model(), RELATIVE), analyse(model(4.0), RELATIVE)
    assert [g.to_dict() for _, g in before.groups()] == [g.to_dict() for _, g in after.groups()]
    assert analyse(model()).network.alpha_0 != analyse(model(4.0)).network.alpha_0


def test_at_the_usual_initialisation_both_distances_agree():
    tensors = model()
    for name, matrix in tensors.items():
        rms = np.sqrt(np.mean(matrix.astype(np.float64) ** 2))
        tensors[name] = matrix.astype(np.float64) * 0.02 / rms
    inverse, relative = (analyse(tensors, Protocol(distance=d)) for d in ("inverse", "relative"))
    assert relative.network.alpha_0 == pytest.approx(inverse.network.alpha_0, rel=1e-3)


def test_resources_change_no_bit():
    tensors = model(rows=2 * BLOCK_WEIGHTS // 64 + 7)
    assert scales_of(tensors, threads=1) == scales_of(tensors, threads=4)
    one, many = (
        analyse(tensors, RELATIVE, threads=n, memory=m) for n, m in ((1, 1 << 22), (3, 1 << 28))
    )
    assert one.network.to_dict() == many.network.to_dict()


def test_a_tensor_of_zeros_has_no_edges():
    tensors = model() | {"empty": np.zeros((20, 30), np.float16)}
    scales = scales_of(tensors)
    assert scales["empty"].rms == 0
    assert relative_factors(scales, RELATIVE)["empty"] == 1
    layer = next(g for g in analyse(tensors, RELATIVE).layers if g.name == "empty")
    assert (layer.zeros, layer.edges) == (600, 0)


def test_a_weight_that_is_not_finite_is_named():
    tensors = model()
    tensors["model.layers.1.mlp.up_proj.weight"][7, 3] = np.inf
    with pytest.raises(BadInputError, match=r"layers\.1\.mlp\.up_proj\.weight is inf at \[7, 3\]"):
        analyse(tensors, RELATIVE)
    dropped = analyse(tensors, Protocol(distance="relative", nonfinite="drop"))
    assert dropped.network.nonfinite == 1


@pytest.mark.parametrize("size", [1e200, 1e-200])
def test_squares_beyond_float64_are_refused_by_name(size):
    with pytest.raises(UnsupportedError, match="tensor a has weights whose squares leave"):
        analyse({"a": np.full((20, 20), size)}, RELATIVE)
