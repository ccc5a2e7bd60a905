"""Which checkpoint a name, a revision, a step or a commit means; never by a guess."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from neuromfa.errors import UsageError
from neuromfa.revisions import parse_revision

_PUBLISHED = {"pythia-1b-bf16": "pythia-1b"}
"""Models whose scores were published under another name than their weights."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredCheckpoint:
    """A checkpoint and the numbers that were measured on its weights.

    Attributes
    ----------
    model : str
        Its name, with or without an organisation.
    revision : str or None
        Revision, or the name of its directory.
    step : int or None
        Of the training; by default what the revision says.
    commit : str or None
        Commit of its repository.
    content_hash : str or None
        Of its weights: equal hashes are one checkpoint.
    measures : mapping of str to float or None
        By name; None where undefined.
    """

    model: str
    revision: str | None = None
    step: int | None = None
    commit: str | None = None
    content_hash: str | None = None
    measures: Mapping[str, float | None] = field(default_factory=dict)

    @property
    def position(self) -> tuple[int, int, int] | None:
        """Stage, ingredient and step in the training; None if the step is not known."""
        return position(self.revision, self.step)

    def __str__(self) -> str:
        where = self.revision or (None if self.step is None else f"step{self.step}")
        return f"{self.model}@{where}" if where else self.model


class Names:
    """The checkpoints by every name that they go by."""

    def __init__(
        self, checkpoints: Sequence[MeasuredCheckpoint], aliases: Mapping[str, str]
    ) -> None:
        self.checkpoints = checkpoints
        self.models: dict[str, list[int]] = defaultdict(list)
        self.commits: dict[str, list[int]] = defaultdict(list)
        for index, checkpoint in enumerate(checkpoints):
            self.models[_plain(checkpoint.model)].append(index)
            if checkpoint.commit:
                self.commits[checkpoint.commit].append(index)
        self.aliases = {name.lower().rstrip("/"): target for name, target in aliases.items()}
        for name, target in aliases.items():
            if checkpoints and not self._fitting(_plain(target.partition("@")[0])):
                known = ", ".join(sorted({c.model for c in checkpoints})[:4])
                raise UsageError(f"alias {name}: no checkpoint of {target}; there are {known}")

    def contested(self, models: Iterable[str]) -> dict[str, str]:
        """Models of scores that only share the last part of a name with others, and why not."""
        claims: dict[str, set[str]] = defaultdict(set)
        for model in models:
            for fitting in self._fitting(self._target(model)[0]):
                claims[fitting].add(model)
        answers: dict[str, str] = {}
        for fitting, claimants in claims.items():
            meant = {m for m in claimants if self._alias(m) is not None}
            placed = {m for m in claimants - meant if "/" in m and _plain(m) != fitting}
            if len({_plain(m) for m in placed}) > 1 or (meant and placed):
                reason = f"not the only model that could be {fitting}; name it among the aliases"
                answers |= dict.fromkeys(placed, reason)
        return answers

    def checkpoint(
        self, model: str, revision: str | None, step: int | None, commit: str | None
    ) -> int | str:
        """Index of the checkpoint that these scores are of, or why there is none."""
        same = self.commits.get(commit or "", [])
        if len(same) == 1:
            return same[0]
        target, told = self._target(model)
        fitting = self._fitting(target)
        if not fitting:
            return "no checkpoint of this model"
        if len(fitting) > 1:
            return f"could be {' or '.join(sorted(fitting))}; name it among the aliases"
        candidates = self.models[fitting[0]]
        if told is not None:
            revision, step = told, parse_revision(told, target).step
        found = self._place(candidates, revision, step)
        if isinstance(found, int) and commit:
            own = self.checkpoints[found].commit
            if own and own != commit:
                return f"of commit {commit[:8]}, and the checkpoint of {own[:8]}"
        return found

    def why_no_scores(
        self, checkpoint: MeasuredCheckpoint, groups: Iterable[tuple[Any, ...]]
    ) -> str:
        """Why a checkpoint got no scores."""
        own = _plain(checkpoint.model)
        if any(own in self._fitting(self._target(model)[0]) for model, *_ in groups):
            return "no scores of this revision"
        return "no scores of this model"

    def _target(self, name: str) -> tuple[str, str | None]:
        """The name by which to look for a model, and the revision if an alias tells it."""
        alias = self._alias(name)
        if alias is None:
            return _plain(name), None
        model, _, revision = alias.partition("@")
        return _plain(model), revision or None

    def _alias(self, name: str) -> str | None:
        whole = name.lower().rstrip("/")
        return self.aliases.get(whole, self.aliases.get(whole.rpartition("/")[2]))

    def _fitting(self, name: str) -> list[str]:
        """Models of the checkpoints that go by this name."""
        if name in self.models:
            return [name]
        return [model for model in self.models if _same(model, name)]

    def _place(self, candidates: list[int], revision: str | None, step: int | None) -> int | str:
        """The one of these checkpoints of a model that is at a revision or step."""
        if revision is None and step is None:
            named = [i for i in candidates if self.checkpoints[i].revision in (None, "main")]
            if len(named) == len(candidates) == 1:
                return named[0]
            return "the scores tell neither revision nor step"
        same = [i for i in candidates if self.checkpoints[i].revision == revision is not None]
        wanted = position(revision, step)
        if not same and wanted is not None:
            same = [i for i in candidates if self.checkpoints[i].position == wanted]
        if len(same) > 1:
            both = " or ".join(str(self.checkpoints[i]) for i in same[:2])
            return f"could be {both}; name it among the aliases"
        return same[0] if same else "no checkpoint at this revision or step"


def position(revision: str | None, step: int | None) -> tuple[int, int, int] | None:
    """Stage, ingredient and step; a step that was told goes before one that was read."""
    found = parse_revision(revision or "").position or (1, 0, None)
    known = step if step is not None else found[2]
    return None if known is None else (found[0], found[1], known)


def _plain(model: str) -> str:
    """A name without regard to case, and as it is published."""
    organisation, slash, name = model.lower().rstrip("/").rpartition("/")
    name = name.replace("pythia-v1.1-", "pythia-")
    return f"{organisation}{slash}{_PUBLISHED.get(name, name)}"


def _same(one: str, other: str) -> bool:
    """Whether two names, one of which lacks its organisation or directory, are of one model."""
    (place, _, name), (elsewhere, _, again) = one.rpartition("/"), other.rpartition("/")
    return name == again and (not place or not elsewhere)
