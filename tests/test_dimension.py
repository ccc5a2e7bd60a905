"""Summaries of neuron fractal dimensions: of values, and of sums of summaries."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuromfa.dimension import DimensionSummary

values = st.lists(st.floats(0.0, 300.0) | st.just(np.nan), max_size=40).map(np.array)


@given(values, values)
def test_sum_is_the_summary_of_all(left, right):
    both = np.concatenate([left, right]).astype(float)
    added = DimensionSummary.of(left.astype(float), 0) + DimensionSummary.of(right.astype(float), 0)
    expected, found = DimensionSummary.of(both, 0).to_dict(), added.to_dict()
    for name in ("defined", "too_few_edges", "one_radius", "min", "max", "histogram"):
        assert found[name] == expected[name]
    for name in ("mean", "sd"):
        if expected[name] is None:
            assert found[name] is None
        else:
            assert found[name] == pytest.approx(expected[name], rel=1e-9, abs=1e-9)


def test_by_hand():
    found = DimensionSummary.of(np.array([1.0, 2.0, 3.0, np.nan, np.nan, 250.0]), 1).to_dict()
    assert (found["defined"], found["too_few_edges"], found["one_radius"]) == (4, 1, 1)
    assert (found["mean"], found["min"], found["max"]) == (64.0, 1.0, 250.0)
    assert found["sd"] == pytest.approx(np.std([1, 2, 3, 250], ddof=1))
    assert found["quantiles"]["0.5"] == 2.5
    assert found["histogram"]["counts"][20] == 1
    assert found["histogram"]["counts"][-1] == 1
    assert sum(found["histogram"]["counts"]) == 4


def test_nothing_defined():
    found = DimensionSummary.of(np.full(3, np.nan), 3).to_dict()
    assert (found["mean"], found["sd"], found["min"], found["quantiles"]) == (None,) * 4
