"""The scores of a suite, and how its numbers go with them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from neuromfa.errors import BadInputError, ResourceError
from neuromfa.scores.joining import Joined, join
from neuromfa.scores.matching import MeasuredCheckpoint
from neuromfa.scores.reading import read_scores
from neuromfa.scores.score import Score, to_arrow
from neuromfa.suites.entries import Entry
from neuromfa.suites.procedures import Number
from neuromfa.suites.suite import Suite, is_pattern, matching

if TYPE_CHECKING:
    import pyarrow as pa

MEASURES = (
    *("E", "E_scale", "alpha_0", "width"),
    *("strength_mean", "strength_cv", "weibull_shape"),
)
"""What of the network is associated with scores: the spectrum, what scale alone would give, and
simpler measures beside it."""


def suite_scores(suite: Suite) -> tuple[Score, ...]:
    """Read the score files of a suite, and check that they can be joined to its checkpoints.

    Raises
    ------
    BadInputError
        If a pattern fits nothing, or a file is broken or no score file.
    UsageError
        If an alias leads to no model.
    ResourceError
        If scipy is not installed.
    """
    if not suite.scores:
        return ()
    if find_spec("scipy") is None:
        raise ResourceError("scores need scipy: pip install 'neuromfa[suite]'")
    paths: list[Path] = []
    for pattern in (pattern for table in suite.scores for pattern in table["files"]):
        one = [suite.root / pattern]
        found = matching(suite.root, pattern) if is_pattern(pattern) else one
        if not found:
            raise BadInputError(
                f"suite {suite.name}: scores {pattern} fits nothing in {suite.root.absolute()}; "
                "correct it or take it out"
            )
        paths += found
    scores = read_scores(paths)
    join(scores, [_measured(entry, {}) for entry in suite.entries()], aliases=_aliases(suite))
    return scores


def join_scores(
    suite: Suite,
    scores: Sequence[Score],
    entries: Sequence[Entry],
    numbers: Iterable[tuple[Entry, Number]],
) -> Joined:
    """Join the numbers of the networks with the scores.

    Parameters
    ----------
    suite : Suite
        Whose aliases to use.
    scores : sequence of Score
        From `suite_scores`.
    entries : sequence of Entry
        All of the suite; those without an analysis join scores too, and have no numbers.
    numbers : iterable of (Entry, Number)
        Of the finished ones.
    """
    found: dict[tuple[str, str | None], dict[str, float | None]] = defaultdict(dict)
    for entry, number in numbers:
        if number.kind == "network":
            found[entry.model, entry.key][number.quantity] = number.value
    checkpoints = []
    for entry in entries:
        known = found.get((entry.model, entry.key), {})
        measures = {name: known[name] for name in MEASURES if name in known}
        checkpoints.append(_measured(entry, measures))
    return join(scores, checkpoints, aliases=_aliases(suite))


def scores_table(scores: Sequence[Score], joined: Joined, entries: Sequence[Entry]) -> pa.Table:
    """Scores with the model and revision of the entry they belong to; null if to none.

    A score that was given twice, under two names of one checkpoint, belongs to it once.
    """
    import pyarrow as pa  # noqa: PLC0415  (slow to import)

    owner = {id(score): entries[index] for index, score in joined.rows}
    table = to_arrow(scores)
    for name in ("model", "revision"):
        cells = [getattr(owner.get(id(score)), name, None) for score in scores]
        table = table.append_column(f"checkpoint_{name}", pa.array(cells, pa.string()))
    return table


def _measured(entry: Entry, measures: Mapping[str, float | None]) -> MeasuredCheckpoint:
    return MeasuredCheckpoint(
        model=entry.model,
        revision=entry.revision,
        step=entry.step,
        commit=entry.commit,
        content_hash=entry.content_hash,
        measures=measures,
    )


def _aliases(suite: Suite) -> dict[str, str]:
    return {name: to for table in suite.scores for name, to in table.get("aliases", {}).items()}
