"""The registry of architectures: tensor names on disk and in memory, and what they read.

The data are in ``architectures.toml``, whose head explains the format; a user's file in the same
format adds families or replaces them. Matching is by whole names: integers become ``#``, so the
tens of thousands of tensors of a mixture of experts are a few dozen different names.
"""

from __future__ import annotations

import itertools
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from neuromfa.errors import BadInputError
from neuromfa.families import Family, Match
from neuromfa.patterns import Index, Row, collect
from neuromfa.plug_ins import ARCHITECTURES, PlugIn, plug_ins

__all__ = ["Family", "Match", "Registry", "load_registry"]

_KEYS = {"title", "model_types", "roots", "blocks", "use", "block", "model", "towers", "tied"}
OWN = "neuromfa"
"""Source of the families that are here."""
_CONFIG_PARTS = ("text_config", "llm_config", "language_config", "decoder", "thinker_config")


@dataclass(frozen=True, slots=True)
class Registry:
    """All families, the canonical order of roles and stacks, and the rules of exclusion.

    `installed` are the families that come from plug-ins, `problems` what is wrong with those.
    """

    families: Mapping[str, Family]
    roles: Mapping[str, str]
    rules: Mapping[str, str]
    residual: frozenset[str]
    expert_units: frozenset[str]
    stacks: tuple[str, ...]
    endings: Mapping[str, tuple[str, ...]]
    outside: Mapping[str, tuple[str, ...]]
    quantised: Mapping[str, tuple[str, ...]]
    installed: frozenset[str] = frozenset()
    problems: tuple[str, ...] = ()

    def family(self, name: str) -> Family | None:
        """The family of that name, or the one that lists it as a model type."""
        if name in self.families:
            return self.families[name]
        return next((f for f in self.families.values() if name in f.model_types), None)

    def family_of(self, config: Mapping[str, Any]) -> Family | None:
        """The family that a checkpoint's configuration names, or None.

        Parameters
        ----------
        config : mapping
            ``config.json``. Read are ``model_type``, then that of the language model inside a
            multimodal model, then the class names in ``architectures``.
        """
        parts = [config, *(c for k in _CONFIG_PARTS if isinstance(c := config.get(k), Mapping))]
        for part in parts:
            if family := self.family(str(part.get("model_type") or "")):
                return family
        classes = [c for part in parts for c in part.get("architectures") or ()]
        stems = [re.sub(r"(For[A-Z]|LMHead|DoubleHeads|Model$).*", "", str(c)) for c in classes]
        for stem, family in itertools.product(stems, self.families.values()):
            if stem.lower() in {re.sub("[_-]", "", t.lower()) for t in family.model_types}:
                return family
        return None

    def describe(self, name: str | None = None) -> list[dict[str, str]]:
        """Rows for a table: all families, or the tensors of one.

        Raises
        ------
        BadInputError
            If there is no such family.
        """
        if name is None:
            return [
                {
                    **{"family": f.name, "title": f.title},
                    **{"model_types": ", ".join(f.model_types), "source": f.source},
                }
                for f in self.families.values()
            ]
        if (family := self.family(name)) is None:
            raise BadInputError(
                f"{name}: no such family or model type; known families are "
                f"{', '.join(self.families)}"
            )
        keys = ("pattern", "role", "orientation", "split", "form")
        return [
            {k: getattr(row, k) for k in keys} | {"analysed": "no" if self.rule(row) else "yes"}
            for row in family.rows
        ]

    def rule(self, row: Row) -> str | None:
        """The rule by which a row's tensors are left out, or None if they are analysed."""
        return row.role if row.role in self.rules else None


@lru_cache(maxsize=8)
def load_registry(extra: Path | None = None) -> Registry:
    """Read the registry, a user's file in the same format on top of it, and what plug-ins add.

    Parameters
    ----------
    extra : Path, optional
        A TOML file with further families; one of the same name or model type takes precedence.

    Raises
    ------
    BadInputError
        If the file cannot be read or breaks the format; the message names file, family and fact.
    """
    own = Path(__file__).with_name("architectures.toml")
    data = _read(own)
    parts = dict(data["part"])
    families: dict[str, Family] = {}
    outline = {"data": data, "parts": parts}
    if extra is not None:
        added = _read(extra)
        for key, table in added.items():
            if key not in ("part", "family") or not isinstance(table, Mapping):
                raise BadInputError(f"{extra}: {key}: must be tables [part.NAME] or [family.NAME]")
        parts |= added.get("part", {})
        for name, entry in added.get("family", {}).items():
            families[name] = _family(name, entry, source=str(extra), **outline)
    for name, entry in data["family"].items():
        families.setdefault(name, _family(name, entry, source=OWN, **outline))
    registry = Registry(
        families,
        data["roles"],
        data["rules"],
        frozenset(data["residual"]),
        frozenset(data["expert_units"]),
        tuple(data["stacks"]),
        {rule: tuple(v) for rule, v in data["endings"].items()},
        {rule: tuple(v) for rule, v in data["outside"].items()},
        {name: tuple(v) for name, v in data["quantised"].items()},
    )
    return _with_plug_ins(registry, data)


def _with_plug_ins(registry: Registry, data: Mapping[str, Any]) -> Registry:
    """Add the families of installed distributions, which replace none; note those that fail."""
    families, problems = dict(registry.families), []
    for plug_in in plug_ins(ARCHITECTURES):
        try:
            for family in _plugged(plug_in, data):
                first = families.setdefault(family.name, family)
                by_file = first.name in registry.families and first.source != OWN
                if first is not family and not by_file:
                    problems.append(f"{plug_in}: family {family.name}: is that of {first.source}")
        except BadInputError as error:
            problems.append(f"{error}; its architectures are not known")
    installed = frozenset(families) - frozenset(registry.families)
    return replace(registry, families=families, installed=installed, problems=tuple(problems))


def _plugged(plug_in: PlugIn, data: Mapping[str, Any]) -> list[Family]:
    text, source = plug_in.registry_text(), plug_in.distribution
    try:
        added = tomllib.loads(text)
        parts = {**data["part"], **added.get("part", {})}
        entries = dict(added.get("family", {}))
    except (tomllib.TOMLDecodeError, TypeError, ValueError) as error:
        raise BadInputError(f"{plug_in}: registry is not valid: {error}") from error
    return [_family(n, e, source=source, data=data, parts=parts) for n, e in entries.items()]


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInputError(f"{path}: registry cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInputError(f"{path}: registry is not valid TOML: {error}") from error


def _family(
    name: str, entry: Mapping[str, Any], *, source: str, data: Mapping[str, Any], parts: Any
) -> Family:
    """Build one family; every complaint says file and family."""
    try:
        return _build(name, entry, source=source, data=data, parts=parts)
    except ValueError as error:
        raise BadInputError(f"{source}: family {name}: {error}") from error


def _build(
    name: str, entry: Mapping[str, Any], *, source: str, data: Mapping[str, Any], parts: Any
) -> Family:
    _check(entry, data, parts)
    names = {**data["roles"], **data["rules"]}
    index = _index(entry, entry.get("use", []), parts, names=names)
    if not any(row.role in data["roles"] for found in index.values() for _, _, row in found):
        raise ValueError("no tensor is analysed; give a table `block` with roles")
    index = _index({}, ["outside"], parts, names=names) | index
    rows = dict.fromkeys(row for found in index.values() for _, _, row in found)
    towers: dict[str, str] = {}
    for tower in entry.get("towers", data["tower"]):
        inner = data["tower"][tower]
        towers |= dict.fromkeys(inner["roots"], tower)
        inside = _index(inner, inner["use"], parts, names=names, stack=tower)
        index |= {f"{tower}:{key}": found for key, found in inside.items()}
    return Family(
        name,
        str(entry.get("title", name)),
        tuple(entry.get("model_types", [name])),
        frozenset([*data["roots"], *entry.get("roots", [])]),
        towers,
        bool(entry.get("tied", False)),
        tuple(rows),
        source,
        index,
    )


def _index(
    entry: Mapping[str, Any],
    use: list[str],
    parts: Any,
    *,
    names: Mapping[str, str],
    stack: str = "",
) -> Index:
    """Index the rows of the parts used and then an entry's own, which take precedence."""
    blocks = entry.get("blocks", [])
    stacks = blocks if isinstance(blocks, Mapping) else {"": blocks}
    index: Index = {}
    for table in [*(parts[part] for part in use), entry]:
        collect(table, stacks, names, index, stack=stack)
    return index


def _check(entry: Mapping[str, Any], data: Mapping[str, Any], parts: Mapping[str, Any]) -> None:
    """Refuse keys and values that the format does not have."""
    if not isinstance(entry, Mapping):
        raise ValueError("must be a table")
    if unknown := set(entry) - _KEYS:
        raise ValueError(f"{min(unknown)}: must be one of {', '.join(sorted(_KEYS))}")
    blocks = entry.get("blocks", [])
    lists = {key: entry.get(key, []) for key in ("model_types", "roots", "use", "towers")}
    lists |= blocks if isinstance(blocks, Mapping) else {"blocks": blocks}
    for key, value in lists.items():
        if not (isinstance(value, list) and all(isinstance(v, str) for v in value)):
            raise ValueError(f"{key or 'blocks'}: must be a list of words")
    for key, known in (("use", parts), ("towers", data["tower"])):
        if missing := [v for v in entry.get(key, []) if v not in known]:
            raise ValueError(f"{key}: no {missing[0]} among {', '.join(sorted(known))}")
    for prefix in itertools.chain(*blocks.values()) if isinstance(blocks, Mapping) else blocks:
        if "{block}" not in prefix or not prefix.endswith("."):
            raise ValueError(f"blocks: {prefix!r} must contain {{block}} and end with a dot")
    if "block" in entry and not blocks:
        raise ValueError("block: needs blocks, the prefixes of the numbered blocks")
