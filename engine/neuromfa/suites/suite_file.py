"""Suite files: TOML in, `Suite` out, and a sentence for whatever is not right in them."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from neuromfa.errors import BadInputError, UsageError
from neuromfa.options import moments
from neuromfa.protocol import Protocol
from neuromfa.reference.settings import ReferenceProtocol
from neuromfa.structure import Measures
from neuromfa.suites.suite import CONTROLS, Named, Suite, SuiteModel

Kinds = tuple[type, ...]
_TEXT, _TEXTS, _FLAG, _WHOLE, _NUMBER = (str,), (list,), (bool,), (int,), (int, float)
_WORDS: Mapping[Kinds, str] = {
    _TEXT: "text",
    _TEXTS: "a list",
    _FLAG: "true or false",
    _WHOLE: "a whole number",
    _NUMBER: "a number",
    (dict, bool): "a table, or false",
    (str, bool): "text, or false",
    (str, list): "text or a list",
    (str, dict): "text or a table",
}
_SUITE = {
    "name": _TEXT,
    "output": _TEXT,
    "allow_pickle": _FLAG,
    "strict": _FLAG,
    "architectures": _TEXT,
    "protocol": (dict,),
    "controls": (dict, bool),
    "structure": (str, bool),
    "model": _TEXTS,
    "scores": _TEXTS,
}
_MODEL = {
    "name": _TEXT,
    "checkpoints": _TEXTS,
    "hub": _TEXT,
    "revisions": _TEXTS,
    "baseline": _TEXT,
}
_SCORES = {"files": _TEXTS, "aliases": (dict,)}
_CONTROLS = {"seed": _WHOLE, "replicates": _WHOLE}
_EXACT = {
    "cutoff": _NUMBER,
    "q": (str, list),
    "min_neighbours": _WHOLE,
    "radii": _TEXT,
    "experts": _TEXT,
    "nonfinite": _TEXT,
    "include": _TEXTS,
    "distance": _TEXT,
    "relative_scale": _NUMBER,
}
_REFERENCE = {
    "sample_size": _WHOLE,
    "samples": _WHOLE,
    "cutoff": _NUMBER,
    "dimension_cutoff": _NUMBER,
    "nonfinite": _TEXT,
}
_PROTOCOLS: dict[str, tuple[Callable[..., Protocol | ReferenceProtocol], Mapping[str, Kinds]]] = {
    "exact": (Protocol, _EXACT),
    "reference": (ReferenceProtocol, _REFERENCE),
}


def read_suite_file(path: str | os.PathLike[str]) -> Suite:
    """Read a suite file; relative paths in it start from its directory.

    Parameters
    ----------
    path : path
        A TOML file, as the page on suites describes it.

    Raises
    ------
    BadInputError
        If it cannot be read or is not TOML.
    UsageError
        If it has a key that nobody knows, or a value that makes no sense.
    """
    file = Path(path)
    try:
        record = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInputError(f"{file}: {error.strerror or error}; give a suite file") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInputError(f"{file}: is not TOML: {error}") from error
    try:
        return _suite(record, file)
    except UsageError as error:
        raise UsageError(f"{file}: {error}") from error


def _suite(record: dict[str, Any], file: Path) -> Suite:
    _check(record, _SUITE, "the file")
    tables = record.get("model") or []
    if not tables:
        raise UsageError("has no models; write a table [[model]] for each")
    protocol = _protocol(record.get("protocol", {}))
    exact = isinstance(protocol, Protocol)
    opening: dict[str, Any] = {k: record[k] for k in ("allow_pickle", "strict") if k in record}
    root = file.parent
    if "architectures" in record:
        opening["architectures"] = root / record["architectures"]
    return Suite(
        name=record.get("name", file.stem),
        models=tuple(_model(table, number) for number, table in enumerate(tables, 1)),
        protocol=protocol,
        controls=_controls(record, exact=exact),
        structure=_structure(record, exact=exact),
        scores=tuple(_scores(table, n) for n, table in enumerate(record.get("scores", []), 1)),
        opening=opening,
        output=root / record.get("output", f"{file.stem}-results"),
        root=root,
    )


def _check(table: Any, known: Mapping[str, Kinds], where: str, *needed: str) -> None:
    if not isinstance(table, dict):
        raise UsageError(f"{where}: must be a table, not {table!r}")
    for key, value in table.items():
        if key not in known:
            raise UsageError(f"{where}: unknown key {key}; known are {', '.join(known)}")
        kinds = known[key]
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            word = _WORDS.get(kinds, "a table")
            raise UsageError(f"{where}: {key} {value!r}: must be {word}")
        if kinds is _TEXT and not value:
            raise UsageError(f"{where}: {key} is empty")
    for key in needed:
        if key not in table:
            raise UsageError(f"{where}: has no {key}")


def _model(table: Any, number: int) -> SuiteModel:
    where = f"[[model]] {number}"
    _check(table, _MODEL, where)
    hub = table.get("hub")
    wrong, right = ("checkpoints", "revisions") if hub else ("revisions", "checkpoints")
    if wrong in table:
        raise UsageError(
            f"{where}: {wrong} do not go {'with' if hub else 'without'} hub; write {right}"
        )
    if right not in table:
        raise UsageError(f"{where}: has no {right}")
    name = table.get("name") or (hub or "").rpartition("/")[2]
    if not name:
        raise UsageError(f"{where}: has no name")
    checkpoints = tuple(_checkpoint(c, where, "revision" if hub else "path") for c in table[right])
    return SuiteModel(name=name, checkpoints=checkpoints, hub=hub, baseline=table.get("baseline"))


def _checkpoint(given: Any, where: str, key: str) -> str | Named:
    if isinstance(given, str) and given:
        return given
    where = f"{where}: checkpoint {given!r}"
    if not isinstance(given, dict):
        raise UsageError(f"{where}: must be text, or a table with {key}, step and tokens")
    known = {key: _TEXT, "step": _WHOLE, "tokens": _WHOLE}
    _check(given, known, where, key)
    return Named(name=given[key], step=given.get("step"), tokens=given.get("tokens"))


def _scores(table: Any, number: int) -> Mapping[str, Any]:
    where = f"[[scores]] {number}"
    _check(table, _SCORES, where, "files")
    _check(table.get("aliases", {}), dict.fromkeys(table.get("aliases", {}), _TEXT), where)
    if not all(isinstance(path, str) and path for path in table["files"]):
        raise UsageError(f"{where}: files {table['files']!r}: must be a list of paths")
    return dict(table)


def _controls(record: Mapping[str, Any], *, exact: bool) -> Mapping[str, Any] | None:
    given = record.get("controls", {} if exact else False)
    if given is False:
        return None
    if not exact:
        raise UsageError("[controls]: the reference protocol has none; take the table out")
    table = {} if given is True else given
    _check(table, _CONTROLS, "[controls]")
    return {**CONTROLS, **table}


def _structure(record: Mapping[str, Any], *, exact: bool) -> Measures | None:
    given = record.get("structure", "simple" if exact else False)
    if given not in ("simple", "full", False):
        raise UsageError(f"structure {given!r}: must be simple, full or false")
    if given and not exact:
        raise UsageError(f"structure {given}: the reference protocol has none; take the line out")
    return given or None


def _protocol(table: dict[str, Any]) -> Protocol | ReferenceProtocol:
    kind, settings = table.get("kind", "exact"), {k: v for k, v in table.items() if k != "kind"}
    if kind not in _PROTOCOLS:
        raise UsageError(f"[protocol]: kind {kind!r}: must be exact or reference")
    made, known = _PROTOCOLS[kind]
    _check(settings, known, f"[protocol] of kind {kind}")
    try:
        if isinstance(settings.get("q"), str):
            settings["q"] = moments(settings["q"])
        return made(**{k: tuple(v) if isinstance(v, list) else v for k, v in settings.items()})
    except UsageError as error:
        raise UsageError(f"[protocol]: {str(error).removeprefix('--')}") from error
    except (TypeError, ValueError) as error:
        raise UsageError(f"[protocol]: {error}") from error
