"""Run folders of HELM: what was run, and the statistics of it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from neuromfa.scores.score import Score, higher_is_better, number, place, whole, words

SPECIFICATION, STATISTICS = "run_spec.json", "stats.json"

_ACCOUNTS = re.compile(
    r"num_\w+|batch_size|finish_reason_\w+|inference_\w+|training_\w+|prompt_truncated|max_prob"
)
"""Statistics about the run itself, which are no scores."""


def is_helm(specification: object, statistics: object) -> bool:
    """Whether two JSON records are the specification of a run and its statistics."""
    return (
        isinstance(specification, Mapping)
        and isinstance(specification.get("adapter_spec"), Mapping)
        and isinstance(statistics, list)
        and all(
            isinstance(row, Mapping) and isinstance(row.get("name"), Mapping) for row in statistics
        )
    )


def read_helm(
    specification: Mapping[str, Any], statistics: list[Mapping[str, Any]], path: Path
) -> Iterator[Score]:
    """Yield the scores of a run: unperturbed means, without the accounts of tokens and times.

    Parameters
    ----------
    specification, statistics : JSON records
        For which `is_helm` holds.
    path : Path
        The file of the statistics.

    Raises
    ------
    ValueError
        If the run does not say which model it is about.
    """
    adapter = specification["adapter_spec"]
    told = words(adapter.get("model"))
    if told is None:
        raise ValueError("run_spec.json does not say which model it is about (adapter_spec.model)")
    model, revision, step, tokens = place(told, None)
    for row in statistics:
        name = row["name"]
        metric = words(name.get("name"))
        if name.get("perturbation") or metric is None or _ACCOUNTS.fullmatch(metric):
            continue
        yield Score(
            model=model,
            revision=revision,
            step=step,
            tokens=tokens,
            task=_task(words(specification.get("name")) or path.parent.name),
            metric=metric,
            filter=words(name.get("split")),
            shots=whole(adapter.get("max_train_instances")),
            value=number(row.get("mean")) if row.get("count") else None,
            higher_is_better=higher_is_better(metric),
            layout="helm",
            source=str(path),
        )


def _task(run: str) -> str:
    """The run's name without the model's."""
    scenario, _, arguments = run.partition(":")
    kept = [
        a for a in arguments.split(",") if a and not a.startswith(("model=", "model_deployment="))
    ]
    return f"{scenario}:{','.join(kept)}" if kept else scenario
