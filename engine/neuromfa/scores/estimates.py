"""Coefficients of a sample with their intervals: every measure with every series, in every form."""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from neuromfa.scores.correlation import (
    STATISTICS,
    Variables,
    coefficients,
    interval,
    p_values,
    partial,
    resample_counts,
    variables,
)
from neuromfa.scores.samples import Float64, Sample

FORMS = ("levels", "differences", "given_log_step")
FEWEST = 4
"""Points below which there is no coefficient; one more where something is held fixed."""

_AT_ONCE = 64
"""Series whose resamples are in memory at the same time; changes no bit of the result."""

_ROUNDING = 1e-12
"""Share of a value below which its changes are rounding."""

Key = tuple[str, int, str, str]
"""Measure, index of the series, form, statistic."""


class Bootstrap(NamedTuple):
    """Seed, number of resamples, and share of them between the ends of an interval."""

    seed: int
    resamples: int
    level: float


class Estimate(NamedTuple):
    """A coefficient of n points with its interval and p value; NaN, with a reason, if undefined."""

    n: int
    block: int
    value: float = np.nan
    low: float = np.nan
    high: float = np.nan
    p: float = np.nan
    undefined: str | None = None


def estimates(sample: Sample, bootstrap: Bootstrap) -> dict[Key, Estimate]:
    """Estimate all coefficients of a sample.

    Within a model resamples are drawn in blocks of about the cube root of n points, across models
    point by point.

    Parameters
    ----------
    sample : Sample
        Measures and scores.
    bootstrap : Bootstrap
        How to resample.

    Raises
    ------
    ResourceError
        If scipy is not installed.
    """
    alike: dict[bytes, list[int]] = defaultdict(list)
    for line, there in enumerate(np.isfinite(sample.y)):
        alike[there.tobytes()].append(line)  # what misses the same points is done together
    found: dict[Key, Estimate] = {}
    for lines in alike.values():
        for first in range(0, len(lines), _AT_ONCE):
            _estimate(sample, lines[first : first + _AT_ONCE], bootstrap, found)
    return found


def _estimate(
    sample: Sample, lines: list[int], bootstrap: Bootstrap, found: dict[Key, Estimate]
) -> None:
    """Add the estimates of some series, which miss the same points, with all measures."""
    there = np.isfinite(sample.y[lines[0]])
    within = sample.log_step is not None
    prepared: dict[tuple[bytes, bool], _Scores] = {}
    for measure, values in sample.x.items():
        mask = there & np.isfinite(values)
        for changes in (False, True) if within else (False,):
            key = (mask.tobytes(), changes)
            if key not in prepared:
                levels = sample.y[lines][:, mask]
                prepared[key] = _scores(levels, bootstrap, changes=changes, within=within)
            z = sample.log_step[mask] if sample.log_step is not None and not changes else None
            form = FORMS[changes]
            columns = _coefficients(prepared[key], values[mask], z, bootstrap)
            for (given, statistic), column in columns.items():
                shape = FORMS[2] if given else form
                for line, estimate in zip(lines, column, strict=True):
                    found[measure, line, shape, statistic] = estimate


class _Scores(NamedTuple):
    """Some series in one form, their resamples, and why there are none of some."""

    y: Float64
    changes: bool
    block: int
    reasons: list[str | None]
    counts: Float64
    many: Variables | None


def _scores(levels: Float64, bootstrap: Bootstrap, *, changes: bool, within: bool) -> _Scores:
    y = np.diff(levels, axis=1) if changes else levels
    n = y.shape[1]
    block = max(1, round(n ** (1 / 3))) if within else 1
    if n < FEWEST:
        reason = _few(FEWEST) if n or within else "the models have no step in common"
        return _Scores(y, changes, block, [reason] * len(y), np.ones((1, n)), None)
    flat = _flat(y, levels)
    word = "the scores never change in another way" if changes else "the scores are constant"
    counts = resample_counts(n, resamples=bootstrap.resamples, block=block, seed=bootstrap.seed)
    many = variables(y[~flat], counts) if not flat.all() else None
    return _Scores(y, changes, block, [word if f else None for f in flat], counts, many)


def _coefficients(
    scores: _Scores, levels: Float64, z: Float64 | None, bootstrap: Bootstrap
) -> dict[tuple[bool, str], list[Estimate]]:
    """Estimates of one measure by (given the step or not, statistic): one for each series."""
    x = np.diff(levels) if scores.changes else levels
    n, reasons = scores.y.shape[1], scores.reasons
    if n >= FEWEST and _flat(x[None], levels[None])[0]:
        word = "the measure never changes in another way" if scores.changes else None
        reasons = [word or "the measure is constant"] * len(reasons)
    live = [k for k, reason in enumerate(reasons) if reason is None]
    of_pairs: dict[str, Float64] = {}
    tables: list[dict[str, Float64]] = [of_pairs] if z is None else [of_pairs, {}]
    if live and scores.many is not None:
        one = variables(x[None], scores.counts)
        of_pairs |= coefficients(one, scores.many, scores.counts)
        if z is not None and n > FEWEST:
            tables[1] = _given(one, scores, z, of_pairs)
    found = {}
    for given, table in enumerate(tables):
        few = [reason or _few(FEWEST + 1) for reason in reasons]
        if given and n <= FEWEST:
            few = [_few(FEWEST + 1)] * len(reasons)
        for statistic in STATISTICS:
            column = [Estimate(n, scores.block, undefined=reason) for reason in few]
            if table:
                p = p_values(statistic, table[statistic][:, 0], x, scores.y[live], given=given)
                low, high = interval(table[statistic][:, 1:], bootstrap.level)
                numbers = np.stack([table[statistic][:, 0], low, high, p], axis=1).tolist()
                for k, row in zip(live, numbers, strict=True):
                    column[k] = _defined(n, scores.block, row)
            found[bool(given), statistic] = column
    return found


def _defined(n: int, block: int, numbers: list[float]) -> Estimate:
    """An estimate; undefined if the coefficient is, which only happens given the step."""
    value, low, high, p = numbers
    if np.isnan(value):
        reason = "once the step is known, nothing of the scores or the measure is left"
        return Estimate(n, block, undefined=reason)
    return Estimate(n, block, value, low, high, p)


def _given(
    one: Variables, scores: _Scores, z: Float64, xy: dict[str, Float64]
) -> dict[str, Float64]:
    """Partial coefficients given z, which grows from point to point."""
    if scores.many is None:
        return {}
    step = variables(z[None], scores.counts)
    xz = coefficients(step, one, scores.counts)
    yz = coefficients(step, scores.many, scores.counts)
    return {name: partial(xy[name], xz[name], yz[name]) for name in STATISTICS}


def _few(fewest: int) -> str:
    return f"fewer than {fewest} points"


def _flat(values: Float64, levels: Float64) -> npt.NDArray[np.bool_]:
    """Which rows are constant but for the rounding of the levels that they come from."""
    scale = np.abs(levels).max(axis=1, initial=0)
    return np.asarray(np.ptp(values, axis=1) <= _ROUNDING * scale)
