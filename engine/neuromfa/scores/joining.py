"""Scores and checkpoints brought together: by commit, by revision, by step; never by a guess."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from neuromfa.errors import BadInputError, UsageError
from neuromfa.scores.matching import MeasuredCheckpoint, Names
from neuromfa.scores.score import Score, Series


@dataclass(frozen=True, slots=True)
class Unmatched:
    """A checkpoint without scores, or all scores of one model and revision without a checkpoint.

    Attributes
    ----------
    model : str
        As its side names it.
    revision : str or None
        Revision or, without one, the step.
    scores : int
        How many scores there are; 0 for a checkpoint.
    reason : str
        Why nothing on the other side is it.
    """

    model: str
    revision: str | None
    scores: int
    reason: str


@dataclass(frozen=True, slots=True)
class Joined:
    """What fits together, and what does not.

    Attributes
    ----------
    checkpoints : tuple of MeasuredCheckpoint
        All of them, in the order given.
    rows : tuple of (int, Score)
        Index of a checkpoint, and a score of it; a series at most once for each checkpoint.
    scores_left, checkpoints_left : tuple of Unmatched
        What has no counterpart, with the reason.
    """

    checkpoints: tuple[MeasuredCheckpoint, ...]
    rows: tuple[tuple[int, Score], ...]
    scores_left: tuple[Unmatched, ...]
    checkpoints_left: tuple[Unmatched, ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready account: how many of each side, and what was left, with reasons."""
        return {
            "checkpoints": len(self.checkpoints),
            "checkpoints_joined": len({index for index, _ in self.rows}),
            "scores_joined": len(self.rows),
            "scores_left": [asdict(left) for left in self.scores_left],
            "checkpoints_left": [asdict(left) for left in self.checkpoints_left],
        }


def join(
    scores: Iterable[Score],
    checkpoints: Sequence[MeasuredCheckpoint],
    *,
    aliases: Mapping[str, str] | None = None,
) -> Joined:
    """Find the checkpoint of every score.

    A commit decides if both sides have one. Otherwise models must have the same name, and then
    revisions the same text or the same place in the training. Names compare without regard to
    case; a name without an organisation is any organisation's, as long as there is only one; and
    Pythia's ``pythia-v1.1-`` is ``pythia-``. What could be two checkpoints is none.

    Parameters
    ----------
    scores : iterable of Score
        Such as `neuromfa.scores.reading.read_scores` returns.
    checkpoints : sequence of MeasuredCheckpoint
        At most one of a name.
    aliases : mapping of str to str, optional
        From the name of a model in the scores (or its last part) to ``model`` or
        ``model@revision`` as the checkpoints have it.

    Raises
    ------
    UsageError
        If an alias leads to no model, or two checkpoints have one name.
    BadInputError
        If scores from two files are of one checkpoint and series, and differ.
    """
    _distinct(checkpoints)
    names = Names(checkpoints, aliases or {})
    groups: dict[tuple[str, str | None, int | None, str | None], list[Score]] = defaultdict(list)
    for score in scores:
        groups[score.model, score.revision, score.step, score.commit].append(score)
    rows: dict[tuple[int, Series], Score] = {}
    left: list[Unmatched] = []
    contested = names.contested({model for model, *_ in groups})
    for (model, revision, step, commit), found in groups.items():
        answer = contested.get(model) or names.checkpoint(model, revision, step, commit)
        if isinstance(answer, str):
            shown = revision or (None if step is None else f"step{step}")
            left.append(Unmatched(model, shown, len(found), answer))
            continue
        for score in found:
            _put(rows, answer, score)
    used = {index for index, _ in rows}
    return Joined(
        checkpoints=tuple(checkpoints),
        rows=tuple((index, score) for (index, _), score in rows.items()),
        scores_left=tuple(left),
        checkpoints_left=tuple(
            Unmatched(c.model, c.revision, 0, names.why_no_scores(c, groups))
            for index, c in enumerate(checkpoints)
            if index not in used
        ),
    )


def _put(rows: dict[tuple[int, Series], Score], index: int, score: Score) -> None:
    other = rows.setdefault((index, score.series), score)
    if other.value is None:
        rows[index, score.series] = score
    elif score.value not in (None, other.value):
        raise BadInputError(
            f"{score.source}: {score.series} of {score.model} is {score.value!r}, but "
            f"{other.value!r} in {other.source}, for the same checkpoint; leave one of them out"
        )


def _distinct(checkpoints: Sequence[MeasuredCheckpoint]) -> None:
    seen: set[str] = set()
    for checkpoint in checkpoints:
        if str(checkpoint) in seen:
            raise UsageError(f"{checkpoint}: is there twice; give each checkpoint once")
        seen.add(str(checkpoint))
