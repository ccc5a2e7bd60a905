"""One score, and what the names of metrics and the spellings of numbers mean."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from neuromfa.revisions import parse_revision

if TYPE_CHECKING:
    import pyarrow as pa

_LOWER = re.compile(
    r"(?:.*_)?(?:ppl|perplexity|loss|nll|bpb|bits_per_byte|brier|brier_score|wer|cer|ter|mse|rmse|mae"
    r"|ece)|ece_\w+"
)
_HIGHER = re.compile(
    r"(?:.*_)?(?:acc|accuracy|acc_norm|acc_bytes|acc_mutual_info|em|f1|f1_score|exact_match|bleu(?:_\d)?"
    r"|rouge\w*|chrf|mcc|mc1|mc2|logprob|logprob_per_byte|pass)(?:@\d+)?"
)
_MISSING = {"", "n/a", "na", "nan", "none", "null", "inf", "-inf", "+inf", "infinity", "-infinity"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """What a model reached in one metric of one task.

    Attributes
    ----------
    model : str
        As the file names it.
    revision : str or None
        Revision, as far as the file tells.
    step, tokens : int or None
        Of the training, by `neuromfa.revisions.parse_revision` or as a table says.
    commit : str or None
        Commit of the model's repository that was evaluated.
    task, metric : str
        As the harness names them.
    filter : str or None
        Filter of the answers; of HELM's runs, the split.
    shots : int or None
        Examples in the prompt.
    version : str or None
        Version of the task.
    limit : float or None
        How many of the task's questions were asked, or below 1 their share; None if all were.
    value, stderr : float or None
        None if it is missing, not a number or infinite; never zero instead.
    higher_is_better : bool or None
        What the file says, else `higher_is_better` of the metric.
    layout : str
        ``lm-eval-old``, ``lm-eval-new``, ``csv`` or ``helm``.
    source : str
        The file.
    """

    model: str
    task: str
    metric: str
    value: float | None
    source: str
    layout: str
    revision: str | None = None
    step: int | None = None
    tokens: int | None = None
    commit: str | None = None
    filter: str | None = None
    shots: int | None = None
    version: str | None = None
    limit: float | None = None
    stderr: float | None = None
    higher_is_better: bool | None = None

    @property
    def series(self) -> Series:
        """What it has in common with the scores of other checkpoints that compare with it."""
        return Series(self.task, self.metric, self.filter, self.shots, self.version, self.limit)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Series:
    """Scores that compare with each other: one metric of one task, asked in one way.

    Attributes
    ----------
    task, metric : str
        As the harness names them.
    filter, version : str or None
        Filter (HELM: split), and version of the task.
    shots : int or None
        Examples in the prompt.
    limit : float or None
        How many of the task's questions were asked; None if all were.
    """

    task: str
    metric: str
    filter: str | None
    shots: int | None
    version: str | None
    limit: float | None

    def __str__(self) -> str:
        shots = None if self.shots is None else f"{self.shots} shots"
        version = None if self.version is None else f"version {self.version}"
        limit = None if self.limit is None else f"limit {self.limit:g}"
        more = ", ".join(part for part in (self.filter, shots, version, limit) if part)
        return f"{self.task} {self.metric}" + (f" ({more})" if more else "")

    @property
    def sort_key(self) -> tuple[str, ...]:
        """Alphabetic order, the missing first."""
        rest = (self.filter, self.shots, self.version, self.limit)
        return (self.task, self.metric, *("" if part is None else str(part) for part in rest))


def number(value: object) -> float | None:
    """Read a number, or None for what is none: null, NaN, infinity, ``"N/A"``, a list.

    Raises
    ------
    ValueError
        If it is text that says neither.
    """
    if isinstance(value, str):
        if value.strip().lower() in _MISSING:
            return None
        try:
            value = float(value)
        except ValueError:
            raise ValueError(f"{value!r} is not a number") from None
    if not isinstance(value, (int, float)):
        return None
    return float(value) if abs(value) <= sys.float_info.max else None


def whole(value: object) -> int | None:
    """Read a whole number, or None where there is none.

    Raises
    ------
    ValueError
        If it is something else.
    """
    found = number(value)
    if found is not None and found != int(found):
        raise ValueError(f"{value!r} is not a whole number")
    return None if found is None else int(found)


def words(value: object) -> str | None:
    """Text as it is, or None for what is none or empty."""
    return value if isinstance(value, str) and value else None


def table(value: object) -> Mapping[str, Any]:
    """A JSON object as it is, or an empty one for what is none."""
    return value if isinstance(value, Mapping) else {}


def higher_is_better(metric: str) -> bool | None:
    """Tell which way a metric goes; None if its name does not say, as for measures of bias."""
    name = metric.lower()
    if _LOWER.fullmatch(name):
        return False
    return True if _HIGHER.fullmatch(name) else None


def place(model: str, revision: str | None) -> tuple[str, str | None, int | None, int | None]:
    """Return model, revision, step and tokens; a path may end in the name of a step.

    ``runs/tiny/step64`` is the model ``runs/tiny`` at ``step64``. A name that only ends in a step,
    such as ``org/model-step64``, stays one name.
    """
    if revision in (None, "", "main"):
        parent, _, last = model.rstrip("/").rpartition("/")
        found = parse_revision(last, parent)
        if parent and found.step is not None and found.convention != "ending":
            return parent, last, found.step, found.tokens
    if not revision:
        return model, None, None, None
    found = parse_revision(revision, model)
    return model, revision, found.step, found.tokens


def to_arrow(rows: Iterable[Any], kind: type = Score) -> pa.Table:
    """All rows as one table in long form, for Parquet, pandas and others; missing is null.

    Parameters
    ----------
    rows : iterable of Score, or of Association
        Such as `neuromfa.scores.reading.read_scores` returns.
    kind : type
        Of the rows; it tells the columns, also when there are no rows.
    """
    import pyarrow as pa  # noqa: PLC0415  (slow to import)

    kinds = {"int": pa.int64(), "float": pa.float64(), "bool": pa.bool_(), "str": pa.string()}
    schema = pa.schema(
        [(field.name, kinds[str(field.type).partition(" ")[0]]) for field in fields(kind)]
    )
    return pa.Table.from_pylist([asdict(row) for row in rows], schema=schema)
