"""Files of scores, recognised by what is in them, as one long table."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from neuromfa.errors import BadInputError
from neuromfa.plug_ins import SCORE_READERS, PlugIn, plug_ins
from neuromfa.scores import csv_table, helm, lm_eval
from neuromfa.scores.score import Score

_SUFFIXES = (".json", ".csv")
_OF_HELM = {
    *("scenario.json", "scenario_state.json", "per_instance_stats.json", "instances.json"),
    *("display_predictions.json", "display_requests.json", helm.SPECIFICATION),
}
LAYOUTS = (
    "results of the lm-evaluation-harness, a table with the columns "
    "model, step, task, metric, value, stderr, or a HELM run folder"
)


def read_scores(
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
) -> tuple[Score, ...]:
    r"""Read score files, and all ``.json`` and ``.csv`` files of directories.

    Parameters
    ----------
    paths : path or iterable of paths
        Results of the lm-evaluation-harness, old or new; CSV tables; HELM run folders; or
        directories of them. What a file is, its content tells. A file that is none of these is
        offered to the plug-ins that are installed.

    Returns
    -------
    tuple of Score
        Ordered by model, step, task and metric, whatever the order of the files. A score that is
        there twice with the same value counts once.

    Raises
    ------
    BadInputError
        If a file is missing, broken or none of these; or if two files give different values for
        the same model, revision, task, metric, filter, shots, version and limit: which of them is
        right, no program can know.

    Examples
    --------
    >>> import tempfile, pathlib, neuromfa
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     table = pathlib.Path(folder, "scores.csv")
    ...     _ = table.write_text("model,step,task,metric,value,stderr\nm,512,piqa,acc,0.6,0.01\n")
    ...     (score,) = neuromfa.read_scores(table)
    >>> score.model, score.step, score.task, score.value
    ('m', 512, 'piqa', 0.6)
    """
    given = [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)
    files = sorted({file for path in given for file in _files(Path(path))})
    return _once(score for file in files for score in _read_any(file))


def _files(path: Path) -> Iterator[Path]:
    """The files to read; of a HELM run only its statistics, which stand for the whole folder."""
    if path.is_dir():
        found = [f for f in path.rglob("*") if f.suffix.lower() in _SUFFIXES and f.is_file()]
        kept = [f for f in found if not (f.name in _OF_HELM and _is_run(f.parent))]
        if not kept:
            raise BadInputError(f"{path}: holds no score file; give {LAYOUTS}")
        yield from kept
    elif path.name in _OF_HELM and _is_run(path.parent):
        yield path.with_name(helm.STATISTICS)
    else:
        yield path


def _is_run(folder: Path) -> bool:
    return (folder / helm.SPECIFICATION).is_file() and (folder / helm.STATISTICS).is_file()


def _read_any(path: Path) -> list[Score]:
    """All scores of one file, which a plug-in may know if we do not."""
    try:
        return _read(path)
    except BadInputError as ours:
        readers = plug_ins(SCORE_READERS) if path.is_file() else ()
        broken = []
        for reader in readers:
            try:
                scores = _read_by(reader, path)
            except BadInputError as error:
                broken.append(str(error))
            else:
                if scores is not None:
                    return scores
        raise BadInputError("; ".join([str(ours), *broken])) from ours


def _read_by(reader: PlugIn, path: Path) -> list[Score] | None:
    read = reader.load()
    try:
        found = read(path)
        scores = None if found is None else list(found)
    except Exception as error:  # whatever code of others does with a file
        raise reader.broken(error) from error
    if scores is not None and not (scores and all(isinstance(s, Score) for s in scores)):
        raise BadInputError(f"{reader}: gives no scores of {path}; update or uninstall it")
    return scores


def _read(path: Path) -> list[Score]:
    """All scores of one file, which may turn out to be none of ours."""
    text = _text(path)
    try:
        if text.lstrip()[:1] in ("{", "["):
            scores = list(_json_scores(_parsed(text), path))
        elif missing := csv_table.missing_columns(text):
            raise ValueError(
                f"is neither JSON nor a table of scores: no column {missing[0]}; give {LAYOUTS}"
            )
        else:
            scores = list(csv_table.read_csv_table(text, path))
    except ValueError as error:
        raise BadInputError(f"{path}: {error}") from error
    if not scores:
        raise BadInputError(f"{path}: is a score file without a single score; leave it out")
    return scores


def _json_scores(record: Any, path: Path) -> Iterator[Score]:
    if lm_eval.is_lm_eval(record):
        return lm_eval.read_lm_eval(record, path)
    specification = path.with_name(helm.SPECIFICATION)
    if isinstance(record, list) and specification.is_file():
        run = _parsed(_text(specification))
        if helm.is_helm(run, record):
            return helm.read_helm(run, record, path)
    what = f"an object with {', '.join(list(record)[:4])}" if isinstance(record, dict) else "a list"
    raise ValueError(f"JSON, but no score file ({what or 'nothing in it'}); give {LAYOUTS}")


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise BadInputError(f"{path}: {error.strerror or error}; give a score file") from error
    except UnicodeDecodeError as error:
        raise BadInputError(f"{path}: is not text ({error.reason}); give {LAYOUTS}") from error


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"is not whole JSON (line {error.lineno}: {error.msg}); fetch it again"
        ) from None
    except RecursionError:
        raise ValueError("is JSON too deep to be a score file") from None


def _once(scores: Iterable[Score]) -> tuple[Score, ...]:
    """Each score once; a value is better than none, and two values are a conflict."""
    kept: dict[tuple[object, ...], Score] = {}
    for score in scores:
        at = score.revision if score.step is None else score.step
        key = (score.model, at, score.revision, score.commit, score.series)
        other = kept.setdefault(key, score)
        if other.value is None:
            kept[key] = score
        elif score.value is not None and score.value != other.value:
            raise BadInputError(
                f"{score.source}: {score.series} of {score.model} at {at} is {score.value!r}, "
                f"but {other.value!r} in {other.source}; leave one of the two files out"
            )
    return tuple(sorted(kept.values(), key=_order))


def _order(score: Score) -> tuple[object, ...]:
    step = -1 if score.step is None else score.step
    return (score.model, step, score.revision or "", score.series.sort_key, score.source)
