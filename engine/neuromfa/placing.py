"""Gives every tensor its place: a layer, a rule by which it is left out, or the generic rule."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

from neuromfa.architectures import Family, Match, Registry
from neuromfa.errors import BadInputError, UnsupportedError
from neuromfa.layers import EXPERT, PLAIN, SHARED, Place
from neuromfa.protocol import INCLUDABLE

if TYPE_CHECKING:
    from neuromfa.protocol import Protocol
    from neuromfa.tensors import TensorRef

ORIENTATION_OF_KIND = {"Linear": "oi", "Conv1D": "io"}
"""Modules whose class says how they store their weight; Conv1D is that of transformers."""

BEFORE, BLOCKS, AFTER, UNKNOWN = range(4)


@dataclass(slots=True)
class Placed:
    """What became of every tensor."""

    places: list[Place] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    excluded: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Placing:
    """All that decides where a tensor goes (definitions, section 1).

    Attributes
    ----------
    tensors : mapping of str to TensorRef
        All tensors.
    protocol, config, kinds, aliases, registry
        As for `neuromfa.network.classify`.
    family : Family or None
        None places every matrix by the generic rule.
    """

    tensors: Mapping[str, TensorRef]
    protocol: Protocol
    config: Mapping[str, Any]
    kinds: Mapping[str, str]
    aliases: Mapping[str, str]
    registry: Registry
    family: Family | None = None

    def place(self) -> Placed:
        """Place all tensors.

        Raises
        ------
        BadInputError
            If two tensors are the same matrix of the same block.
        UnsupportedError
            If a matrix of the family holds packed integers.
        """
        done = Placed()
        owners = self._owners()
        seen: dict[tuple[object, ...], str] = {}
        for name, ref in self.tensors.items():
            known = owners.get(name, name)
            match = self.family.match(known) if self.family else None
            rule = "tied" if known == "" else self.rule(ref, known, match)
            if rule:
                done.excluded[name] = rule
            elif match is None:
                done.unknown.append(name)
                done.places.append(self._generic(ref))
            else:
                key = (match.stack, match.pattern, match.numbers)
                if key in seen:
                    raise BadInputError(
                        f"{ref.file or 'tensors'}: {seen[key]} and {name} are the same matrix of "
                        "the same block; keep one of them"
                    )
                seen[key] = name
                done.places.append(self._known(ref, match, done.notes))
        self._tied_head(done)
        return done

    def rule(self, ref: TensorRef, name: str, match: Match | None) -> str | None:
        """The rule by which a tensor is left out, or None if it is a matrix to analyse."""
        role = match.row.role if match else None
        excluded = role if role in self.registry.rules else None
        if excluded in self.protocol.include:
            excluded = None
        if 0 in ref.shape:
            return "empty"
        if not ref.dtype.startswith(("float", "bfloat")):
            if role is None or excluded or len(ref.shape) < 2:
                return excluded or "buffer"
            raise UnsupportedError(
                f"{ref.file or 'tensors'}: tensor {ref.name} holds {ref.dtype}, weights packed in "
                "a format that is not read yet; analyse the model before quantisation"
            )
        if len(ref.shape) < 2:
            known = excluded if role not in INCLUDABLE else None
            return known or self._ending(name) or self._vector(ref, role)
        if role is not None:
            return excluded
        if self._is_model:
            return self._ending(name) or self._outside(name)
        return self._outside_kind(ref.name)

    def _vector(self, ref: TensorRef, role: str | None) -> str:
        if role in self.registry.roles:
            raise BadInputError(
                f"{ref.file or 'tensors'}: tensor {ref.name} has shape {list(ref.shape)}; as "
                f"{role} it must have 2 dimensions: is it a shard of a larger one?"
            )
        return "vector"

    def _ending(self, name: str) -> str | None:
        word = name.removesuffix(".weight").rpartition(".")[2].lower()
        endings = self.registry.endings
        return next((r for r, ps in endings.items() if any(_fits(word, p) for p in ps)), None)

    def _outside(self, name: str) -> str | None:
        """Tables and heads that the name tells, where names are those of a model."""
        words = name.removesuffix(".weight").split(".")
        for rule, known in self.registry.outside.items():
            if words[-1] in known:
                return None if rule in self.protocol.include else rule
        return self._outside_kind(name)

    def _outside_kind(self, name: str) -> str | None:
        table = self.kinds.get(name, "").startswith("Embedding")
        return "embedding" if table and "embedding" not in self.protocol.include else None

    @cached_property
    def _is_model(self) -> bool:
        """Whether names are those of a model: of a known family, or with numbered blocks."""
        numbered = (re.search(r"(^|\.)\d+\.", name) for name in self.tensors)
        return self.family is not None or any(numbered)

    def _owners(self) -> dict[str, str]:
        """For tied tensors, the name that says what the shared storage is; "" for the others."""
        groups: dict[str, list[str]] = {}
        for name, first in self.aliases.items():
            groups.setdefault(first, [first]).append(name)
        owners: dict[str, str] = {}
        for first, names in groups.items():
            best = min(names, key=self._rank)
            holder = best if best in self.tensors else first
            owners |= {n: best if n == holder else "" for n in names if n in self.tensors}
        return owners

    def _rank(self, name: str) -> tuple[object, ...]:
        """Sorts the names of one storage: what is analysed first, a table before a head."""
        match = self.family.match(name) if self.family else None
        role = match.row.role if match else self._outside(name)
        order = ("embedding", "head", "position")
        excluded = role in self.registry.rules and role not in self.protocol.include
        rank = order.index(role) if role in order else (-1 if role else len(order))
        return (excluded, rank, _natural(name))

    def _known(self, ref: TensorRef, match: Match, notes: list[str]) -> Place:
        row, registry = match.row, self.registry
        block = ".".join(filter(None, [match.stack, *map(str, match.block or ())])) or None
        roles = [*INCLUDABLE, *registry.roles]
        stacks = registry.stacks
        rank = stacks.index(match.stack) if match.stack in stacks else len(stacks)
        section = BLOCKS if block else AFTER if row.role == "head" else BEFORE
        order = len(roles) if row.role == "head" else roles.index(row.role)
        after = match.block == () and order > roles.index("mlp_hidden")  # what reads the last block
        orientation = row.orientation
        kind = ORIENTATION_OF_KIND.get(self.kinds.get(ref.name, ""), orientation)
        if kind != orientation and row.form in ("matrix", "each"):
            note = f"the module stores it {kind}, family {self.family_name} {orientation}"
            notes.append(f"{ref.name}: {note}; the module's order is used")
            orientation = kind
        return Place(
            ref,
            row.role,
            ".".join(filter(None, [block, row.role, row.label])),
            block,
            (*(section, rank, match.stack, after, match.block or (), order, row.label),),
            match.order,
            orientation,
            row.form,
            EXPERT if match.expert is not None else SHARED if row.shared else PLAIN,
            match.expert or 0,
            row.role in registry.expert_units,
            row.split,
        )

    @property
    def family_name(self) -> str:
        """Family that places known tensors, or "generic"."""
        return self.family.name if self.family else "generic"

    def _generic(self, ref: TensorRef) -> Place:
        """Place a matrix as a layer of its own; the module's class decides where it is known."""
        kind = self.kinds.get(ref.name, "")
        rule = next((r for r, ws in self.registry.outside.items() if _last(ref.name) in ws), None)
        table = kind.startswith("Embedding") or (
            self._is_model and rule in ("embedding", "position")
        )
        form = "joined" if len(ref.shape) == 3 else "matrix"
        if re.search(r"Conv(Transpose)?\dd", kind) or (len(ref.shape) > 3):
            form = "convolution"
        number = re.search(r"(?:^|\.)(\d+)(?:\.|$)", ref.name)
        return Place(
            ref,
            "embedding" if table else "convolution" if form == "convolution" else "matrix",
            ref.name,
            number[1] if number else None,
            (UNKNOWN, *_natural(ref.name)),
            (),
            "io" if table or kind == "Conv1D" or "Transpose" in kind else "oi",
            form,
        )

    def _tied_head(self, done: Placed) -> None:
        """Analyse the token embedding as the head, if that is asked for and they are one."""
        include = self.protocol.include
        tied = self.config.get("tie_word_embeddings", self.family and self.family.tied)
        if not tied or "head" not in include or "embedding" in include:
            return
        if any(place.role == "head" and place.layer == "head" for place in done.places):
            return
        for name in [n for n, rule in done.excluded.items() if rule == "embedding"]:
            match = self.family.match(name) if self.family else None
            if match and match.block is None and not match.row.label:
                del done.excluded[name]
                row = replace(match.row, role="head", orientation="oi")
                done.places.append(
                    self._known(self.tensors[name], replace(match, row=row), done.notes)
                )
                done.notes.append(f"{name}: analysed as the head, which is tied to it")
                return


def _last(name: str) -> str:
    return name.removesuffix(".weight").rpartition(".")[2]


@lru_cache(maxsize=4096)
def _fits(word: str, pattern: str) -> bool:
    return fnmatchcase(word, pattern)


def _natural(name: str) -> tuple[object, ...]:
    from neuromfa.tensors import natural_key  # noqa: PLC0415  (NumPy is slow to import)

    return natural_key(name)
