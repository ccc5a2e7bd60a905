"""Results of the lm-evaluation-harness: the old layout (until 0.3) and the new (from 0.4)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from neuromfa.revisions import parse_revision
from neuromfa.scores.score import Score, higher_is_better, number, place, table, whole, words

_NO_METRICS = {"alias", "name", "sample_len", "sample_count", "task_name", "bypass", ""}
"""Beside the metrics of a task; ``bypass`` stands where nothing was measured."""

_NAMING = ("pretrained", "model", "engine", "path")
_CHANGING = ("peft", "delta", "adapter", "lora_local_path", "gguf_file")
"""Arguments that make another model of the one that is named."""

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)


def is_lm_eval(record: object) -> bool:
    """Whether a JSON record has results by task, as the harness writes them."""
    return (
        isinstance(record, Mapping)
        and isinstance(record.get("results"), Mapping)
        and ("config" in record or "versions" in record or "configs" in record)
        and all(isinstance(row, Mapping) for row in record["results"].values())
    )


def read_lm_eval(record: Mapping[str, Any], path: Path) -> Iterator[Score]:
    """Yield the scores of a results file of either layout.

    Parameters
    ----------
    record : mapping
        For which `is_lm_eval` holds.
    path : Path
        The file; its name tells model and step if nothing in it does.

    Raises
    ------
    ValueError
        If the file does not say whose results they are, or contradicts its name.
    """
    results: Mapping[str, Mapping[str, Any]] = record["results"]
    new = any("," in key for row in results.values() for key in row)
    model, revision, step, tokens, commit = _identity(record, path)
    for task, row in results.items():
        version = table(record.get("versions")).get(task)
        for key, value in row.items():
            metric, _, kind = key.strip().partition(",")
            if metric in _NO_METRICS or "_stderr" in metric or ("," in key) != new:
                continue
            stderr = row.get(f"{metric}_stderr,{kind}" if new else f"{metric}_stderr")
            yield Score(
                model=model,
                revision=revision,
                step=step,
                tokens=tokens,
                commit=commit,
                task=task,
                metric=metric,
                filter=(kind if kind != "none" else None) if new else None,
                shots=_shots(record, task),
                version=None if version is None else str(version),
                limit=number(table(record.get("config")).get("limit")),
                value=_named(task, key, value),
                stderr=_named(task, f"{metric}_stderr", stderr),
                higher_is_better=_direction(record, task, metric),
                layout="lm-eval-new" if new else "lm-eval-old",
                source=str(path),
            )


def _named(task: str, key: str, value: object) -> float | None:
    try:
        return number(value)
    except ValueError as error:
        raise ValueError(f"{task}: {key}: {error}") from None


def _shots(record: Mapping[str, Any], task: str) -> int | None:
    """Examples in the prompt: what was used for the task, before what was asked for in general."""
    used = table(record.get("n-shot")).get(task)
    if used is None:
        used = table(table(record.get("configs")).get(task)).get("num_fewshot")
    if used is None:
        used = table(record.get("config")).get("num_fewshot")
    return whole(used)


def _direction(record: Mapping[str, Any], task: str, metric: str) -> bool | None:
    told = table(table(record.get("higher_is_better")).get(task)).get(metric)
    return told if isinstance(told, bool) else higher_is_better(metric)


def _identity(
    record: Mapping[str, Any], path: Path
) -> tuple[str, str | None, int | None, int | None, str | None]:
    """Model, revision, step, tokens and commit: the content comes before the file's name."""
    config = table(record.get("config"))
    given = _arguments(config.get("model_args"))
    # "pythia-70m-0shot-global_step1000_eval_results_11-25-2022.json" names a step as well
    named = parse_revision(path.stem.split("_eval_results")[0].rstrip("_"))
    model = next((given[k] for k in _NAMING if given.get(k)), None) or words(
        record.get("model_name")
    )
    revision = given.get("revision") or words(config.get("model_revision"))
    if model is None and given.get("load"):  # GPT-NeoX: the directory of all its checkpoints
        model = given["load"]
    elif model and revision is None and _HUB_NAME.fullmatch(model) and given.get("pretrained"):
        revision = "main"  # the harness's default
    if not model:
        raise ValueError(
            "does not say which model it is about: there is no pretrained= in config.model_args; "
            "write a CSV table with a column model instead"
        )
    model, revision, step, tokens = place(model, revision)
    if revision is None and named.step is not None:
        model, revision, step, tokens = place(model, f"step{named.step}")
    if None not in (step, named.step) and named.step != step:
        raise ValueError(
            f"contradicts its name: revision {revision} inside, step {named.step} in the name; "
            "rename the file, or leave it out"
        )
    if changes := [f"{k}={given[k]}" for k in _CHANGING if given.get(k)]:
        return "+".join([model, *changes]), revision, step, tokens, None
    return model, revision, step, tokens, words(config.get("model_sha"))


def _arguments(given: object) -> dict[str, str]:
    """Arguments of the model: a mapping, or ``name=value`` between commas."""
    if isinstance(given, Mapping):
        return {str(k): str(v) for k, v in given.items() if v is not None}
    found: dict[str, str] = {}
    last = None
    for part in str(given or "").split(","):
        name, equals, value = part.partition("=")
        if equals:
            last = name.strip()
            found[last] = value.strip()
        elif last is not None:
            found[last] += f",{part}"
    return found
