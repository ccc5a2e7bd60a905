"""A suite: which checkpoints of which models are analysed, how, and with which scores."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from neuromfa.directory import INDICES, PICKLES
from neuromfa.errors import BadInputError, UsageError
from neuromfa.hub import cache_directory, parse_hub_name
from neuromfa.protocol import Protocol
from neuromfa.reference.settings import ReferenceProtocol
from neuromfa.revisions import parse_revision
from neuromfa.structure import Measures
from neuromfa.suites.entries import Entry
from neuromfa.tensors import natural_key

CONTROLS = {"seed": 0, "replicates": 10}
"""Controls and null models, unless others are asked for."""

_WEIGHTS = (".safetensors", ".npy", *INDICES, *PICKLES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """A checkpoint of a suite whose place in the training run is said, not read from its name.

    Attributes
    ----------
    name : str
        Path or revision, without wildcards.
    step, tokens : int or None
        Optimiser steps taken and tokens seen; None leaves it to the name.
    """

    name: str
    step: int | None = None
    tokens: int | None = None

    @property
    def says(self) -> dict[str, Any]:
        """What is said, without what is left to the name."""
        both = {"step": self.step, "tokens": self.tokens}
        return {key: value for key, value in both.items() if value is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteModel:
    """One model of a suite: a series of checkpoints.

    Attributes
    ----------
    name : str
        Of the model, as scores name it.
    checkpoints : tuple of str or Named
        Local directories and files, where ``*``, ``?`` and ``[...]`` stand for parts of names; for
        a model of the hub, its revisions, where they stand for what is in the cache.
    hub : str or None
        ``org/name``, if the checkpoints are revisions of a model of the hub.
    baseline : str or None
        Revision that the degree of emergence starts from; the first one by default.
    """

    name: str
    checkpoints: tuple[str | Named, ...]
    hub: str | None = None
    baseline: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """Everything that a suite file says.

    Attributes
    ----------
    name : str
        Title of the results.
    models : tuple of SuiteModel
        In the order of the file.
    protocol : Protocol or ReferenceProtocol
        Of all analyses: the exact one, or the authors' sampled one.
    controls : mapping or None
        ``seed`` and ``replicates`` of the controls and null models that come with every degree of
        emergence; None for none of them. The sampled protocol has none.
    structure : {"simple", "full"} or None
        Which simpler measures stand beside the spectra.
    scores : tuple of mapping
        Score files: ``files``, with wildcards as for checkpoints, and ``aliases``, from names of
        models in the scores to those of the suite.
    opening : mapping
        ``allow_pickle``, ``strict``, ``architectures``: how checkpoints are opened.
    output : Path or None
        Directory of the results.
    root : Path
        What relative paths start from: the directory of the suite file.
    """

    name: str
    models: tuple[SuiteModel, ...]
    protocol: Protocol | ReferenceProtocol = field(default_factory=Protocol)
    controls: Mapping[str, Any] | None = field(
        default_factory=lambda: {"seed": 0, "replicates": 10}
    )
    structure: Measures | None = "simple"
    scores: tuple[Mapping[str, Any], ...] = ()
    opening: Mapping[str, Any] = field(default_factory=dict)
    output: Path | None = None
    root: Path = Path()

    def __post_init__(self) -> None:
        if isinstance(self.protocol, ReferenceProtocol):  # which has neither
            object.__setattr__(self, "controls", None)
            object.__setattr__(self, "structure", None)

    def entries(self) -> tuple[Entry, ...]:
        """Every checkpoint, models in the order of the file, checkpoints in that of training.

        Raises
        ------
        BadInputError
            If a pattern fits nothing.
        UsageError
            If two checkpoints of a model have one name, or the baseline is none of them.
        """
        names = [model.name for model in self.models]
        for name in names:
            if names.count(name) > 1:
                raise UsageError(f"suite {self.name}: two models are called {name}; rename one")
        return tuple(entry for model in self.models for entry in self._entries_of(model))

    def baselines(self) -> dict[str, Entry]:
        """By model, the checkpoint that its degree of emergence starts from."""
        found: dict[str, Entry] = {}
        for entry in self.entries():
            if self.model(entry.model).baseline in (None, entry.revision):
                found.setdefault(entry.model, entry)
        return found

    def place(self, entry: Entry) -> str:
        """What to open for an entry: an absolute path, or ``org/name@revision``."""
        return entry.source if self.model(entry.model).hub else str(self.root / entry.source)

    def model(self, name: str) -> SuiteModel:
        """The model of a name."""
        return next(model for model in self.models if model.name == name)

    def _entries_of(self, model: SuiteModel) -> list[Entry]:
        where = f"suite {self.name}: model {model.name}"
        found: dict[str, Entry] = {}
        for checkpoint in model.checkpoints:
            given = checkpoint if isinstance(checkpoint, Named) else Named(name=checkpoint)
            for source in self._expand(model, given, where):
                entry = _entry(model, source, given)
                same = found.get(entry.revision, entry)
                if same.source != entry.source:
                    raise UsageError(
                        f"{where}: {same.source} and {entry.source} are both called "
                        f"{entry.revision}; make them two models"
                    )
                # What is said of one checkpoint counts more than a pattern that fits it as well.
                found[entry.revision] = entry if given.says else same
        if not found:
            raise UsageError(f"{where}: has no checkpoints; list them under checkpoints")
        if model.baseline is not None and model.baseline not in found:
            raise UsageError(
                f"{where}: baseline {model.baseline} is none of its {len(found)} checkpoints, "
                f"which are {', '.join(list(found)[:8])}"
            )
        return sorted(found.values(), key=_order)

    def _expand(self, model: SuiteModel, given: Named, where: str) -> list[str]:
        """Sources that a path, a revision or a pattern stands for."""
        pattern = given.name
        if not is_pattern(pattern):
            return [f"{model.hub}@{pattern}" if model.hub else os.path.normpath(pattern)]
        if given.says:
            raise UsageError(f"{where}: {pattern} stands for several; give step and tokens of one")
        found = _cached(model.hub, pattern) if model.hub else _checkpoints(self.root, pattern)
        if not found:
            place = f"the cache of {model.hub}" if model.hub else self.root.absolute()
            raise BadInputError(
                f"{where}: {pattern} fits nothing in {place}; correct it or take it out"
            )
        return found


def _entry(model: SuiteModel, source: str, given: Named) -> Entry:
    revision = source.partition("@")[2] if model.hub else Path(source).name
    parsed = parse_revision(revision, model.hub or model.name)
    entry = Entry(
        model=model.name,
        revision=revision,
        step=parsed.step,
        tokens=parsed.tokens,
        stage=parsed.stage,
        ingredient=parsed.ingredient,
        source=source,
    )
    return replace(entry, **given.says)


def _order(entry: Entry) -> tuple[object, ...]:
    """Stages, ingredients, steps; what has no step comes last, numbers in names by their size."""
    if entry.step is None:
        return (1, natural_key(entry.revision))
    return (0, entry.stage or 1, entry.ingredient or 0, entry.step, natural_key(entry.revision))


def matching(root: Path, pattern: str) -> list[Path]:
    """Paths that a pattern stands for, in a fixed order; a relative pattern starts from `root`."""
    anchor = Path(pattern).anchor
    return sorted((Path(anchor) if anchor else root).glob(pattern.removeprefix(anchor)))


def is_pattern(text: str) -> bool:
    """Whether a name stands for several."""
    return any(character in text for character in "*?[")


def _checkpoints(root: Path, pattern: str) -> list[str]:
    """Directories and files of weights that fit a pattern, relative to the root as it is."""
    found = (p for p in matching(root, pattern) if p.is_dir() or p.name.endswith(_WEIGHTS))
    absolute = Path(pattern).is_absolute()
    return [str(path) if absolute else path.relative_to(root).as_posix() for path in found]


def _cached(repository: str, pattern: str) -> list[str]:
    """Cached revisions of a model of the hub that fit a pattern."""
    if parse_hub_name(repository, None) is None:
        raise UsageError(f"hub {repository}: write org/name")
    folder = cache_directory(os.environ) / f"models--{repository.replace('/', '--')}" / "refs"
    found = (path for path in sorted(folder.glob(pattern)) if path.is_file())
    return [f"{repository}@{path.relative_to(folder).as_posix()}" for path in found]
