"""The association of measures of weights with benchmark scores, and how sure it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from neuromfa.errors import ResourceError, UsageError
from neuromfa.scores.correlation import STATISTICS, holm
from neuromfa.scores.estimates import FORMS, Bootstrap, Estimate, Key, estimates
from neuromfa.scores.joining import Joined
from neuromfa.scores.samples import Sample, samples
from neuromfa.scores.score import Series

SETTINGS = ("seed", "resamples", "level")


@dataclass(frozen=True, slots=True, kw_only=True)
class Association:
    """How one measure goes with one series of scores.

    Attributes
    ----------
    scope : {"within", "across"}
        Over the checkpoints of one model, or over models at one step.
    model : str or None
        The model within which; None across.
    step : int or None
        The step across models; None within.
    measure : str
        What was measured on the weights.
    task, metric, filter, shots, version, limit
        The scores, as in `Series`.
    higher_is_better : bool or None
        Of the metric. Coefficients are of the scores as they are, never turned round.
    form : {"levels", "differences", "given_log_step"}
        Of the values; of their changes from one checkpoint to the next; or partial, with
        ln(1 + step) held fixed.
    statistic : {"spearman", "kendall", "pearson"}
        Coefficient.
    value, low, high : float or None
        The coefficient, and its bootstrap interval.
    n : int
        Points; of differences, how many there are.
    p, p_holm : float or None
        Two-sided, as if points were independent; and adjusted over the `family` of all series of
        the same model, measure, form and statistic.
    family : int
        How many p values were adjusted together.
    undefined : str or None
        Why there is no value.
    duplicates : int
        Checkpoints left out because their weights are those of another.
    seed, resamples, block, level
        Of the bootstrap.
    """

    scope: str
    model: str | None
    step: int | None
    measure: str
    task: str
    metric: str
    filter: str | None
    shots: int | None
    version: str | None
    limit: float | None
    higher_is_better: bool | None
    form: str
    statistic: str
    value: float | None
    low: float | None
    high: float | None
    n: int
    p: float | None
    p_holm: float | None
    family: int
    undefined: str | None
    duplicates: int
    seed: int
    resamples: int
    block: int
    level: float

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready values."""
        return asdict(self)


def associate(
    joined: Joined,
    *,
    seed: int = 0,
    resamples: int = 1000,
    level: float = 0.95,
    at_step: int | None = None,
) -> tuple[Association, ...]:
    """Associate every measure with every series of scores, within models and across them.

    Within a model the points are its checkpoints in the order of training, each set of weights
    once; resamples are drawn in blocks of about the cube root of n neighbours, since neighbours
    resemble each other. Across models the points are the models at one step.

    Parameters
    ----------
    joined : Joined
        Scores and measured checkpoints, from `neuromfa.scores.joining.join`.
    seed : int
        Of the bootstrap.
    resamples : int
        How many.
    level : float
        Of the intervals.
    at_step : int, optional
        Step for the comparison across models; by default the last that all of them have.

    Returns
    -------
    tuple of Association
        Models in the order of the checkpoints, then across; ordered by measure, series, form and
        statistic.

    Raises
    ------
    UsageError
        If a setting makes no sense.
    ResourceError
        If scipy or threadpoolctl is not installed.

    References
    ----------
    Definitions, section 6.
    """
    if resamples < 1 or not 0 < level < 1 or seed < 0:
        raise UsageError(
            f"seed {seed}, resamples {resamples}, level {level}: must be at least 0, at least 1, "
            "and between 0 and 1"
        )
    bootstrap = Bootstrap(seed, resamples, level)
    better = {score.series: score.higher_is_better for _, score in joined.rows}
    with _one_thread():
        return tuple(
            row
            for sample in samples(joined, at_step)
            for row in _rows(sample, estimates(sample, bootstrap), better, bootstrap)
        )


def _one_thread() -> AbstractContextManager[object]:
    """Products of matrices on one thread: these are so small that more only wait for each other."""
    try:
        from threadpoolctl import threadpool_limits  # noqa: PLC0415  (optional)
    except ImportError as error:
        raise ResourceError(
            "associations need threadpoolctl: pip install 'neuromfa[suite]'"
        ) from error
    limits: AbstractContextManager[object] = threadpool_limits(limits=1, user_api="blas")
    return limits


def record(joined: Joined, associations: Sequence[Association]) -> dict[str, Any]:
    """Make one JSON-ready record of a join and the associations that came of it.

    Parameters
    ----------
    joined : Joined
        What was associated.
    associations : sequence of Association
        All of one call of `associate`.

    Returns
    -------
    dict
        Settings, account of the join, and the associations as ``columns`` and ``rows``.
    """
    names = [field.name for field in fields(Association)]
    common = {name: {getattr(a, name) for a in associations} for name in SETTINGS}
    return {
        "schema_version": "1.0",
        **{name: values.pop() if len(values) == 1 else None for name, values in common.items()},
        "join": joined.to_dict(),
        "associations": {
            "columns": names,
            "rows": [[getattr(row, name) for name in names] for row in associations],
        },
    }


def _rows(
    sample: Sample,
    found: Mapping[Key, Estimate],
    better: Mapping[Series, bool | None],
    bootstrap: Bootstrap,
) -> Iterator[Association]:
    """Write the estimates of a sample out, by measure, series, form and statistic."""
    adjusted = _adjusted(found)
    for key in sorted(found, key=lambda key: _order(sample, key)):
        measure, line, form, statistic = key
        series, estimate = sample.series[line], found[key]
        p_holm, family = adjusted[key]
        yield Association(
            scope="across" if sample.model is None else "within",
            model=sample.model,
            step=sample.step,
            measure=measure,
            task=series.task,
            metric=series.metric,
            filter=series.filter,
            shots=series.shots,
            version=series.version,
            limit=series.limit,
            higher_is_better=better[series],
            form=form,
            statistic=statistic,
            value=_plain(estimate.value),
            low=_plain(estimate.low),
            high=_plain(estimate.high),
            n=estimate.n,
            p=_plain(estimate.p),
            p_holm=_plain(p_holm),
            family=family,
            undefined=estimate.undefined,
            duplicates=sample.duplicates,
            seed=bootstrap.seed,
            resamples=bootstrap.resamples,
            block=estimate.block,
            level=bootstrap.level,
        )


def _adjusted(found: Mapping[Key, Estimate]) -> dict[Key, tuple[float, int]]:
    """Holm's p value of each estimate, and of how many it is one."""
    families: dict[tuple[str, str, str], list[Key]] = {}
    for key in found:
        families.setdefault((key[0], key[2], key[3]), []).append(key)
    adjusted = {}
    for keys in families.values():
        p = np.array([found[key].p for key in keys])
        for key, value in zip(keys, holm(p).tolist(), strict=True):
            adjusted[key] = (value, int(np.isfinite(p).sum()))
    return adjusted


def _order(sample: Sample, key: Key) -> tuple[int, int, int, int]:
    measure, line, form, statistic = key
    return (list(sample.x).index(measure), line, FORMS.index(form), STATISTICS.index(statistic))


def _plain(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
