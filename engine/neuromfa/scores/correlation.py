"""Spearman's, Kendall's and Pearson's coefficients of many pairs, and of their resamples, at once.

A resample of n points is a row of counts: how often each point was drawn. Ranks, concordant pairs
and moments of all resamples are then products of matrices, and no resample is ever sorted.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from neuromfa.errors import ResourceError

Float64 = npt.NDArray[np.float64]

STATISTICS = ("spearman", "kendall", "pearson")
ENOUGH_RESAMPLES = 0.9
"""Share of the resamples that must have a coefficient for there to be an interval."""

_SMALLEST = 1e-12
"""What is left of a variance, or of a correlation of 1, that is only rounding."""


def resample_counts(n: int, *, resamples: int, block: int, seed: int) -> Float64:
    """Draw resamples of n points in a row, in blocks of neighbours that go round in a circle.

    Parameters
    ----------
    n : int
        Points.
    resamples : int
        How many to draw.
    block : int
        Neighbouring points that are drawn together; 1 draws each for itself.
    seed : int
        The same seed, n and block give the same resamples.

    Returns
    -------
    float64 array, shape (1 + resamples, n)
        How often each point was drawn; the first row is all ones, the points themselves.

    References
    ----------
    D. N. Politis, J. P. Romano, "A circular block-resampling procedure for stationary data" (1992).
    """
    generator = np.random.default_rng([seed, n, block])
    starts = generator.integers(0, n, (resamples, -(-n // block)))
    drawn = (starts[:, :, None] + np.arange(block)) % n
    drawn = drawn.reshape(resamples, -1)[:, :n]
    counts = np.zeros((1 + resamples, n))
    counts[0] = 1
    np.add.at(counts, (1 + np.arange(resamples)[:, None], drawn), 1)
    return counts


class Variables(NamedTuple):
    """What the coefficients need to know of k variables in b resamples of n points.

    Attributes
    ----------
    values : float64 array, shape (k, n)
        With mean 0 and standard deviation 1.
    mean, variance : float64 array, shape (k, b)
        Of the values in each resample; a variance of zero is NaN, here and below.
    ranks : float64 array, shape (k, n, b)
        Middle ranks of all points in each resample, less their mean.
    rank_variance : float64 array, shape (k, b)
        Of the ranks.
    signs : float64 array, shape (k, n, n)
        Sign of the difference of each pair of points.
    untied : float64 array, shape (k, b)
        Ordered pairs of each resample that differ.
    """

    values: Float64
    mean: Float64
    variance: Float64
    ranks: Float64
    rank_variance: Float64
    signs: Float64
    untied: Float64


def variables(values: Float64, counts: Float64) -> Variables:
    """Prepare k variables, none of them constant, for `coefficients`.

    Parameters
    ----------
    values : float64 array, shape (k, n)
        Finite.
    counts : float64 array, shape (b, n)
        From `resample_counts`.
    """
    n = values.shape[1]
    values = np.ascontiguousarray(values)
    one, other = values[:, :, None], values[:, None, :]
    signs = (one > other).astype(np.float64) - (one < other)
    values = values - values.mean(axis=1, keepdims=True)
    values = values / np.abs(values).max(axis=1, keepdims=True)  # no overflow in what follows
    values = values / values.std(axis=1, keepdims=True)
    mean = _means(values, counts)
    variance = _means(values**2, counts) - mean**2
    below = (signs + 1) / 2  # 1 for each point below, one half for each equal one
    ranks = below @ counts.T - n / 2
    rank_variance = (counts.T * ranks**2).sum(axis=1) / n
    untied = (counts.T * (np.abs(signs) @ counts.T)).sum(axis=1)
    variance, rank_variance, untied = map(_positive, (variance, rank_variance, untied))
    return Variables(values, mean, variance, ranks, rank_variance, signs, untied)


def coefficients(one: Variables, many: Variables, counts: Float64) -> dict[str, Float64]:
    """Return each coefficient of one variable with k others, in b resamples.

    Parameters
    ----------
    one : Variables
        A single one.
    many : Variables
        The k others.
    counts : float64 array, shape (b, n)
        The resamples that both were prepared for.

    Returns
    -------
    dict of str to float64 array, shape (k, b)
        By name of the statistic; NaN where a variable is constant within a resample. Kendall's is
        the kind that corrects for ties (b).
    """
    n = counts.shape[1]
    products = _means(one.values * many.values, counts) - one.mean * many.mean
    of_ranks = (counts.T * one.ranks * many.ranks).sum(axis=1) / n
    balance = (counts.T * ((one.signs * many.signs) @ counts.T)).sum(axis=1)
    found = {
        "spearman": of_ranks / np.sqrt(one.rank_variance * many.rank_variance),
        "kendall": balance / np.sqrt(one.untied * many.untied),
        "pearson": products / np.sqrt(one.variance * many.variance),
    }
    return {name: np.clip(value, -1, 1) for name, value in found.items()}


def partial(xy: Float64, xz: Float64, yz: Float64) -> Float64:
    """Return the coefficient of x and y given z; NaN where z leaves nothing of one of them.

    Parameters
    ----------
    xy, xz, yz : float64 array
        Coefficients of the pairs; shapes that broadcast.
    """
    left = np.sqrt(_positive(1 - xz**2) * _positive(1 - yz**2))
    return np.clip((xy - xz * yz) / left, -1, 1)


def interval(replicates: Float64, level: float) -> tuple[Float64, Float64]:
    """Return the ends of the percentile interval of each row.

    Parameters
    ----------
    replicates : float64 array, shape (k, b)
        NaN where a resample has no coefficient; where too many have none, there is no interval.
    level : float
        Share of the resamples between the ends.
    """
    ordered = np.sort(replicates, axis=1)  # NaN last
    defined = np.isfinite(ordered).sum(axis=1)
    ends = []
    for share in ((1 - level) / 2, (1 + level) / 2):
        at = share * np.maximum(defined - 1, 0)
        low = np.floor(at).astype(int)
        high = np.minimum(low + 1, np.maximum(defined - 1, 0))
        rows = np.arange(len(ordered))
        end = ordered[rows, low] + (at - low) * (ordered[rows, high] - ordered[rows, low])
        ends.append(np.where(defined >= ENOUGH_RESAMPLES * replicates.shape[1], end, np.nan))
    return ends[0], ends[1]


def p_values(statistic: str, values: Float64, x: Float64, y: Float64, *, given: int = 0) -> Float64:
    """Two-sided p values of no association, for points that are independent of each other.

    Parameters
    ----------
    statistic : str
        Of `STATISTICS`.
    values : float64 array, shape (k,)
        Coefficients.
    x : float64 array, shape (n,)
        The one variable.
    y : float64 array, shape (k, n)
        The others.
    given : int
        Variables held fixed. Kendall's coefficient has no known distribution then: NaN.

    Raises
    ------
    ResourceError
        If scipy is not installed.
    """
    try:
        from scipy import special, stats  # noqa: PLC0415  (optional, and slow to import)
    except ImportError as error:
        raise ResourceError("associations need scipy: pip install 'neuromfa[suite]'") from error
    if statistic == "kendall":
        if given:
            return np.full(len(values), np.nan)
        return np.array([stats.kendalltau(x, row).pvalue for row in y])
    freedom = len(x) - 2 - given
    with np.errstate(divide="ignore"):
        t = np.abs(values) * np.sqrt(freedom / (1 - values**2))
    p: Float64 = 2 * special.stdtr(freedom, -t)
    return p


def holm(p: Float64) -> Float64:
    """Adjust p values for their number, by Holm's method; NaN stays NaN and does not count.

    Parameters
    ----------
    p : float64 array, shape (k,)
        The p values of one family.

    References
    ----------
    S. Holm, "A simple sequentially rejective multiple test procedure" (1979).
    """
    adjusted = np.full(p.shape, np.nan)
    order = np.argsort(p)[: int(np.isfinite(p).sum())]
    steps = p[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return adjusted


def _means(values: Float64, counts: Float64) -> Float64:
    """Mean of each row in each resample, shape (k, b).

    Not a product of matrices: its sums are not exact as those of ranks are, and a library would
    choose their order by the number of rows and of threads.
    """
    n = counts.shape[1]
    total: Float64 = np.zeros((len(values), len(counts)))
    drawn = np.ascontiguousarray(counts.T)
    for i in range(n):
        total += values[:, i, None] * drawn[i]
    mean: Float64 = total / n
    return mean


def _positive(value: Float64) -> Float64:
    """What is positive beyond rounding; else NaN."""
    return np.where(value > _SMALLEST, value, np.nan)
