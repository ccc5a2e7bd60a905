"""Coefficients, resamples, intervals and p values against scipy, loops and paper."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from neuromfa.scores import correlation

SCIPY = {"spearman": stats.spearmanr, "kendall": stats.kendalltau, "pearson": stats.pearsonr}
CLOSE = 1e-9
"""Two ways of summing at most a few dozen products of numbers near 1 differ by far less."""

VALUES = st.one_of(
    arrays(np.float64, 9, elements=st.floats(-1e6, 1e6, allow_subnormal=False)),
    arrays(np.float64, 9, elements=st.sampled_from([0.0, 1.0, 2.0])),
).filter(lambda values: np.ptp(values) > 1e-6 * np.abs(values).max())


@given(VALUES, VALUES, st.integers(0, 99))
@settings(max_examples=30)
def test_resampled_coefficients_are_those_of_the_points_drawn(x, y, seed):
    counts = correlation.resample_counts(9, resamples=20, block=2, seed=seed)
    one, many = (correlation.variables(v[None], counts) for v in (x, y))
    found = correlation.coefficients(one, many, counts)
    for row, drawn in enumerate(counts.astype(int)):
        xs, ys = np.repeat(x, drawn), np.repeat(y, drawn)
        if np.ptp(xs) < 1e-3 * np.ptp(x) or np.ptp(ys) < 1e-3 * np.ptp(y):
            continue  # constant, or so close to it that scipy warns of its own rounding
        for name, function in SCIPY.items():
            assert found[name][0, row] == pytest.approx(function(xs, ys).statistic, abs=1e-6)


@given(VALUES, VALUES)
def test_coefficients_and_p_values_are_those_of_scipy(x, y):
    counts = np.ones((1, 9))
    one, many = (correlation.variables(v[None], counts) for v in (x, y))
    for name, value in correlation.coefficients(one, many, counts).items():
        expected = SCIPY[name](x, y)
        assert value[0, 0] == pytest.approx(expected.statistic, abs=CLOSE)
        p = correlation.p_values(name, value[:, 0], x, y[None])
        if abs(value[0, 0]) < 1 - 1e-6:  # the p value of a perfect fit is rounding only
            assert p[0] == pytest.approx(expected.pvalue, abs=1e-7)
        else:
            assert p[0] < 0.01


def test_partial_coefficients_are_those_of_residuals():
    rng = np.random.default_rng(1)
    x, y, z = rng.normal(size=(3, 12))
    counts = np.ones((1, 12))
    vx, vy, vz = (correlation.variables(v[None], counts) for v in (x, y, z))
    xy, xz, yz = (correlation.coefficients(a, b, counts) for a, b in ((vx, vy), (vz, vx), (vz, vy)))
    for name, of in (("pearson", lambda v: v), ("spearman", stats.rankdata)):
        design = np.stack([np.ones(12), of(z)], axis=1)
        rx, ry = (of(v) - design @ np.linalg.lstsq(design, of(v))[0] for v in (x, y))
        value = correlation.partial(xy[name], xz[name], yz[name])
        assert value[0, 0] == pytest.approx(np.corrcoef(rx, ry)[0, 1], abs=CLOSE)
        p = correlation.p_values(name, value[:, 0], x, y[None], given=1)
        t = value[0, 0] * math.sqrt(9 / (1 - value[0, 0] ** 2))
        assert p[0] == pytest.approx(2 * stats.t.sf(abs(t), 9), abs=CLOSE)
    assert np.isnan(correlation.p_values("kendall", value[:, 0], x, y[None], given=1)).all()


def test_resamples_are_of_neighbours_and_of_the_right_size():
    counts = correlation.resample_counts(10, resamples=200, block=3, seed=5)
    assert (counts[0] == 1).all()
    assert (counts.sum(axis=1) == 10).all()
    assert len(np.unique(counts, axis=0)) > 150
    again = correlation.resample_counts(10, resamples=200, block=3, seed=5)
    assert np.array_equal(counts, again)
    other = correlation.resample_counts(10, resamples=200, block=3, seed=6)
    assert not np.array_equal(counts, other)
    drawn = counts[1:] > 0
    beside = drawn & (np.roll(drawn, 1, axis=1) | np.roll(drawn, -1, axis=1))
    alone = (drawn & ~beside).sum()
    assert alone <= 200  # at most the one that is left of 10 after three blocks of 3
    assert np.abs(counts[1:].mean(axis=0) - 1).max() < 0.35


def test_the_interval_is_of_percentiles_and_needs_its_resamples():
    values = np.array([np.arange(101.0), np.where(np.arange(101) < 80, 1.0, np.nan)])
    values[0, 7] = np.nan
    low, high = correlation.interval(values, 0.9)
    assert [low[0], high[0]] == pytest.approx(np.nanpercentile(values[0], [5, 95]), abs=CLOSE)
    assert np.isnan([low[1], high[1]]).all()


def test_intervals_of_independent_points_cover_as_often_as_they_say():
    rng = np.random.default_rng(0)
    covered = 0
    for seed in range(200):
        x = rng.normal(size=40)
        y = 0.6 * x + 0.8 * rng.normal(size=40)
        counts = correlation.resample_counts(40, resamples=200, block=1, seed=seed)
        one, many = (correlation.variables(v[None], counts) for v in (x, y))
        replicates = correlation.coefficients(one, many, counts)["pearson"]
        low, high = correlation.interval(replicates[:, 1:], 0.9)
        covered += low[0] <= 0.6 <= high[0]
    assert 0.82 <= covered / 200 <= 0.96


def test_holm_by_hand():
    p = np.array([0.01, np.nan, 0.04, 0.03, 0.9])
    assert correlation.holm(p)[[0, 2, 3, 4]].tolist() == pytest.approx([0.04, 0.09, 0.09, 0.9])
    assert np.isnan(correlation.holm(p)[1])
    assert correlation.holm(np.array([0.6, 0.7])).tolist() == [1.0, 1.0]
    assert correlation.holm(np.array([])).size == 0


@given(arrays(np.float64, st.integers(1, 12), elements=st.floats(0, 1)))
def test_holm_never_lowers_and_keeps_the_order(p):
    adjusted = correlation.holm(p)
    assert (adjusted >= p).all()
    assert (adjusted <= 1).all()
    order = np.argsort(p, kind="stable")
    assert (np.diff(adjusted[order]) >= 0).all()
