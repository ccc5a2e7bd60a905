"""One checkpoint of a suite, and what has become of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

STATES = ("pending", "done", "duplicate", "failed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One checkpoint of a suite.

    Attributes
    ----------
    model : str
        Name of the model.
    revision : str
        Revision, or the last part of the path; no two entries of a model share it.
    step, tokens, stage, ingredient : int or None
        Place in the training run, as far as the name or the suite file tells.
    source : str
        Path relative to the suite file, or ``org/name@revision``.
    commit : str or None
        Commit of a hub checkpoint.
    key : str or None
        Name of the stored analysis; None until there is one.
    controls_key : str or None
        Name of the stored controls and null models; None if there are none.
    content_hash : str or None
        Identity of the weights, once they have been read.
    state : {"pending", "done", "duplicate", "failed"}
        A duplicate has the weights of an earlier entry of the same model, and is left out of every
        series.
    error : str or None
        Why it, or (in state "done") its controls, failed.
    duplicate_of : str or None
        ``model@revision`` of the first entry with the same weights, if that is another one.
    """

    model: str
    revision: str
    step: int | None = None
    tokens: int | None = None
    stage: int | None = None
    ingredient: int | None = None
    source: str = ""
    commit: str | None = None
    key: str | None = None
    controls_key: str | None = None
    content_hash: str | None = None
    state: str = "pending"
    error: str | None = None
    duplicate_of: str | None = None

    @property
    def name(self) -> str:
        """``model@revision``, which no two entries share."""
        return f"{self.model}@{self.revision}"

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready record."""
        return asdict(self)

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Self:
        """Inverse of `to_dict`."""
        return cls(**{f.name: record[f.name] for f in fields(cls)})
