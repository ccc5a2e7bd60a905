"""Points of which associations are made: measures and scores of checkpoints beside each other."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from neuromfa.scores.joining import Joined
from neuromfa.scores.matching import MeasuredCheckpoint
from neuromfa.scores.score import Series

Float64 = npt.NDArray[np.float64]


class Sample(NamedTuple):
    """The checkpoints of one model in the order of training, or several models at one step.

    Attributes
    ----------
    model : str or None
        The model; None across models.
    step : int or None
        The step across models; None within one, or if each model has one checkpoint only.
    x : dict of str to float64 array, shape (n,)
        Measures by name; NaN where missing.
    series : tuple of Series
        The k series of scores.
    y : float64 array, shape (k, n)
        Scores; NaN where missing.
    log_step : float64 array, shape (n,), or None
        ln(1 + step) of each point; None across models.
    duplicates : int
        Checkpoints left out because another here has the same weights.
    """

    model: str | None
    step: int | None
    x: dict[str, Float64]
    series: tuple[Series, ...]
    y: Float64
    log_step: Float64 | None
    duplicates: int


def samples(joined: Joined, at_step: int | None = None) -> Iterator[Sample]:
    """Yield a sample for each model and, of several models, one across them.

    Parameters
    ----------
    joined : Joined
        Scores and checkpoints.
    at_step : int, optional
        Step across models; by default the last that all of them have.
    """
    points = joined.checkpoints
    models: dict[str, list[int]] = defaultdict(list)
    for index in sorted({index for index, _ in joined.rows}):
        models[points[index].model].append(index)
    for model, indices in models.items():
        placed = [i for i in indices if points[i].position is not None]
        placed.sort(key=lambda i: points[i].position or ())
        x, series, y, kept = _table(joined, indices, placed)
        steps = np.array([(points[i].position or (0, 0, 0))[2] for i in kept], dtype=np.float64)
        yield Sample(model, None, x, series, y, np.log1p(steps), len(placed) - len(kept))
    if len(models) > 1:
        step, chosen = _across(points, models, at_step)
        x, series, y, kept = _table(joined, [i for m in models.values() for i in m], chosen)
        yield Sample(None, step, x, series, y, None, len(chosen) - len(kept))


def _across(
    points: Sequence[MeasuredCheckpoint], models: dict[str, list[int]], at_step: int | None
) -> tuple[int | None, list[int]]:
    """One checkpoint of each model: at a step that all have, or the only one that each has."""
    if at_step is None and all(len(indices) == 1 for indices in models.values()):
        return None, [indices[0] for indices in models.values()]
    places = [
        {place: i for i in indices if (place := points[i].position)} for indices in models.values()
    ]
    if at_step is not None:
        return at_step, [p[1, 0, at_step] for p in places if (1, 0, at_step) in p]
    last = max(set.intersection(*(set(place) for place in places)), default=None)
    return (None, []) if last is None else (last[2], [place[last] for place in places])


def _table(
    joined: Joined, pool: list[int], chosen: list[int]
) -> tuple[dict[str, Float64], tuple[Series, ...], Float64, list[int]]:
    """Numbers of the chosen checkpoints, each set of weights once, for all names of the pool."""
    seen: set[str] = set()
    kept = []
    for index in chosen:
        content = joined.checkpoints[index].content_hash
        if content is None or content not in seen:
            kept.append(index)
        if content is not None:
            seen.add(content)
    members, column = set(pool), {index: k for k, index in enumerate(kept)}
    rows = [(index, score) for index, score in joined.rows if index in members]
    series = tuple(sorted({score.series for _, score in rows}, key=lambda s: s.sort_key))
    line = {s: k for k, s in enumerate(series)}
    y = np.full((len(series), len(kept)), np.nan)
    for index, score in rows:
        if index in column and score.value is not None:
            y[line[score.series], column[index]] = score.value
    names = dict.fromkeys(name for i in pool for name in joined.checkpoints[i].measures)
    measures = [joined.checkpoints[index].measures for index in kept]
    x = {name: np.array([_finite(m.get(name)) for m in measures], dtype=float) for name in names}
    return x, series, y, kept


def _finite(value: float | None) -> float:
    return np.nan if value is None or not np.isfinite(value) else value
