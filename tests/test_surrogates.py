"""Null models: exact margins, the right distribution, and streams that depend on nothing else."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuromfa import UnsupportedError
from neuromfa.emergence import surrogates
from neuromfa.emergence.surrogates import (
    Piece,
    Stream,
    deal,
    gaussian_counts,
    normal_shares,
    pieces_of,
    shuffled_counts,
)
from neuromfa_kernels import count_neighbours, radius_table
from recorded import network, run

STREAM = Stream(0, "shuffled", 0, "a tensor", "its digest")
FAR = 5.0
"""Standard errors; the seeds are fixed, so a test that passes once passes always."""


def piece(neurons, edges, tile=0):
    return Piece(0, 0, tile, tile * 1024, tile * 1024 + neurons, edges)


def ways(monkeypatch):
    """Permuting weights, and drawing radius by radius."""
    for most in (1 << 20, 0):
        monkeypatch.setattr(surrogates, "MOST_PERMUTED", most)
        yield most


@given(
    pool=st.lists(st.integers(0, 40), min_size=3, max_size=12),
    neurons=st.lists(st.integers(1, 6), min_size=1, max_size=4),
    seed=st.integers(0, 99),
)
def test_margins_are_exact(pool, neurons, seed):
    pieces = [piece(n, 5, tile) for tile, n in enumerate(neurons)]
    pool = np.array(pool)
    pool[-1] += max(0, sum(p.weights for p in pieces) - pool.sum())
    pool[-1] -= max(0, pool.sum() - sum(p.weights for p in pieces))
    if (pool < 0).any():
        return
    stream = STREAM._replace(seed=seed)
    dealt = deal(pool, pieces, stream)
    assert (sum(dealt.values()) == pool).all()
    for p, own in dealt.items():
        assert own.sum() == p.weights
        counts = shuffled_counts(own, p, stream)
        assert counts.shape == (len(pool) - 1, p.stop - p.first)
        assert (counts.sum(axis=1) == own[:-1]).all()
        assert (counts >= 0).all()
        assert (counts.sum(axis=0) <= p.edges).all()


def test_counts_are_hypergeometric_either_way(monkeypatch):
    pool, p, n = np.array([3, 10, 0, 27, 60]), piece(10, 10), 3000
    for _ in ways(monkeypatch):
        drawn = np.array(
            [shuffled_counts(pool, p, STREAM._replace(replicate=k))[:, 4] for k in range(n)]
        )
        share = pool[:-1] / 100
        mean, variance = 10 * share, 10 * share * (1 - share) * 90 / 99
        error = np.sqrt(variance / n) + 1e-300
        assert (np.abs(drawn.mean(axis=0) - mean) <= FAR * error).all()
        np.testing.assert_allclose(drawn.var(axis=0), variance, rtol=0.15)
        together = np.cov(drawn[:, 1], drawn[:, 3])[0, 1]
        assert together == pytest.approx(-10 * 0.1 * 0.27 * 90 / 99, rel=0.25)


def test_dealing_is_hypergeometric():
    pool, pieces, n = np.array([20, 80]), [piece(3, 10), piece(7, 10, tile=1)], 2000
    first = [deal(pool, pieces, STREAM._replace(replicate=k))[pieces[0]][0] for k in range(n)]
    assert np.mean(first) == pytest.approx(6, abs=FAR * np.std(first) / math.sqrt(n))
    assert np.var(first) == pytest.approx(30 * 0.2 * 0.8 * 70 / 99, rel=0.15)


@pytest.mark.parametrize(
    ("mean", "sd", "factor"), [(0, 0.05, 1), (0.02, 0.01, 1), (-0.3, 0.4, 0.7)]
)
def test_normal_shares_are_those_of_normal_weights(mean, sd, factor):
    n, cutoff = 1_000_000, 20.5
    weights = np.random.default_rng(3).normal(mean, sd, (n, 1))
    found = count_neighbours(weights, radius_table("float64", cutoff, factor), neuron_axis=1)
    shares = normal_shares(mean, sd, cutoff=cutoff, factor=factor)
    assert shares.sum() == pytest.approx(1, abs=1e-12)
    error = np.sqrt(shares[:-1] * (1 - shares[:-1]) / n) + 1 / n
    assert (np.abs(found.counts[:, 0] / n - shares[:-1]) <= FAR * error).all()


@pytest.mark.parametrize(("mean", "radius"), [(0.25, 4), (-0.25, 4), (1.5, None), (0.01, None)])
def test_constant_weights_have_one_radius(mean, radius):
    shares = normal_shares(mean, 0.0, cutoff=20, factor=1.0)
    assert np.flatnonzero(shares).tolist() == [20 if radius is None else radius - 1]


def test_gaussian_counts_are_multinomial():
    shares = np.array([0.1, 0.2, 0.7])
    counts = gaussian_counts(shares, piece(4000, 50), STREAM)
    assert counts.shape == (2, 4000)
    assert counts[1].mean() == pytest.approx(10, abs=FAR * math.sqrt(8 / 4000))
    assert counts[1].var() == pytest.approx(8, rel=0.15)


def test_a_stream_depends_on_each_of_its_parts():
    other = [
        STREAM._replace(**{name: value})
        for name, value in [
            ("seed", 1),
            ("model", "x"),
            ("replicate", 1),
            ("tensor", "b"),
            ("digest", "c"),
        ]
    ]
    draws = {stream.generator(0).integers(1 << 62) for stream in [STREAM, *other]}
    draws.add(STREAM.generator(1).integers(1 << 62))
    assert len(draws) == 7
    assert STREAM.generator(0).integers(1 << 62) in draws


@pytest.mark.parametrize("key", ["llama", "gpt2", "mixtral", "gpt_oss", "mamba"])
@pytest.mark.parametrize("experts", ["joint", "separate"])
def test_pieces_hold_every_weight_once(key, experts):
    net = network(key, "disk", experts=experts)
    pieces = pieces_of(net)
    for index, layer in enumerate(net.layers):
        own = [(t, p) for t, of in pieces.items() for p in of if p.layer == index]
        assert {t for t, _ in own} == set(layer.tensors)
        assert sum(p.weights for _, p in own) == layer.weights
        assert max(p.stop for _, p in own) == layer.neurons


def test_pieces_end_at_tiles():
    net = run({"a": (8, 2500)})
    assert [(p.tile, p.first, p.stop) for p in pieces_of(net)["a"]] == [
        (0, 0, 1024),
        (1, 1024, 2048),
        (2, 2048, 2500),
    ]


def test_a_tensor_too_large_to_shuffle_is_named():
    with pytest.raises(UnsupportedError, match="a tensor: has 1,000,000,000 weights"):
        deal(np.array([0, 10**9]), [], STREAM)
