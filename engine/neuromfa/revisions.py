"""What the name of a revision, branch or directory says about the place in a training run."""

from __future__ import annotations

import re
from dataclasses import dataclass

_UNITS = {"K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}
_TOKENS = r"(?P<tokens>\d+(?:\.\d+)?)(?P<unit>[KMBT])"
_STAGE = r"(?:stage(?P<stage>\d+)-)?(?:ingredient(?P<ingredient>\d+)-)?"

_LATER = r"(?:stage|phase|lc|ctx|anneal|cooldown|decay|mid|it|sft|dpo|rl)"
_ONE_RUN = rf"(?!(?:.*[-_.])?{_LATER}\d*[-_.])"
"""A later part of a training counts its steps anew, so its names may not pass for the main run."""

_NAMES = tuple(
    (convention, re.compile(pattern, re.ASCII))
    for convention, pattern in (
        ("pythia", r"step(?P<step>\d+)"),  # and whoever else writes it so
        ("olmo", rf"{_STAGE}step(?P<step>\d+)-tokens{_TOKENS}"),
        ("olmo", rf"{_STAGE}step(?P<step>\d+)"),
        ("fineweb", rf"step-(?P<step>\d+)-{_TOKENS}T"),
        ("smollm", rf"{_STAGE}step-(?P<step>\d+)"),
        ("trainer", r"checkpoint-(?P<step>\d+)"),
        ("gpt_neox", r"global_step(?P<step>\d+)"),
        ("megatron", r"iter_(?P<step>\d+)"),
        ("lightning", r"epoch=\d+-step=(?P<step>\d+)"),
        ("llm360", r"ckpt_\d+"),  # the number of a piece of data, not a step
        ("ending", rf"{_ONE_RUN}.+[-_.](?:global_)?step[-_]?(?P<step>\d+)"),
    )
)
"""Names of known training runs, the most telling first; the whole name has to fit."""

_SUFFIX = re.compile(r"\.(?:safetensors|ckpt|pt|pth|bin|npy|json|csv)$")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_PYTHIA = re.compile(r"pythia-(?:\d+(?:\.\d+)?[mb])(?:-deduped)?(?:-seed\d+)?")
_PYTHIA_LAST_STEP = 143_000
_PYTHIA_TOKENS_PER_STEP = 2_097_152


@dataclass(frozen=True, slots=True)
class Revision:
    """A place in a training run, as far as its name tells.

    Attributes
    ----------
    text : str
        The name, as it was given.
    convention : str or None
        Whose way of naming it follows; None if it is not known.
    step : int or None
        Optimiser steps taken.
    tokens : int or None
        Tokens seen; rounded where the name rounds them.
    stage, ingredient : int or None
        Stage of the training, and which of several runs of that stage.
    commit : str or None
        The commit, if the name is one: it says nothing about the step.
    """

    text: str
    convention: str | None = None
    step: int | None = None
    tokens: int | None = None
    stage: int | None = None
    ingredient: int | None = None
    commit: str | None = None

    @property
    def position(self) -> tuple[int, int, int] | None:
        """Stage, ingredient and step, which are equal for two names of one place.

        Without a stage it is the first; None if there is no step.
        """
        return None if self.step is None else (self.stage or 1, self.ingredient or 0, self.step)

    @property
    def sort_key(self) -> tuple[object, ...]:
        """Places with a step in their order; then the others, numbers in names by their size."""
        if self.position is not None:
            return (0, *self.position, self.text)
        return (1, *_natural(self.text))


def parse_revision(text: str, model: str | None = None) -> Revision:
    """Read step and tokens from the name of a revision, a branch, a directory or a file.

    Parameters
    ----------
    text : str
        Such as ``step1000``, ``stage1-step9000-tokens38B``, ``step-001000-2BT``, ``checkpoint-500``
        or a path that ends in one of them.
    model : str, optional
        Model that it belongs to: ``main`` is the last step of a Pythia model, and Pythia's tokens
        follow from its steps.

    Returns
    -------
    Revision
        With None for what the name does not say; it never guesses.

    Examples
    --------
    >>> parse_revision("stage1-step9000-tokens38B").tokens
    38000000000
    >>> parse_revision("main", "EleutherAI/pythia-70m").step
    143000
    >>> parse_revision("best").step is None
    True
    """
    name = _SUFFIX.sub("", text.rstrip("/").rpartition("/")[2])
    pythia = _is_pythia(model)
    if _COMMIT.fullmatch(name):
        return Revision(text, commit=name)
    if name == "main" and pythia:
        name = f"step{_PYTHIA_LAST_STEP}"
    for convention, pattern in _NAMES:
        if found := pattern.fullmatch(name):
            parts = found.groupdict()
            step, stage, ingredient = (_integer(parts, k) for k in ("step", "stage", "ingredient"))
            tokens = None
            if parts.get("tokens"):
                tokens = round(float(parts["tokens"]) * _UNITS[parts["unit"]])
            elif pythia and step is not None:
                tokens = step * _PYTHIA_TOKENS_PER_STEP
            return Revision(text, convention, step, tokens, stage, ingredient)
    return Revision(text)


def _is_pythia(model: str | None) -> bool:
    """Whether it belongs to the suite as published: not version 0, no other batch sizes."""
    if model is None:
        return False
    name = model.rstrip("/").rpartition("/")[2].replace("pythia-v1.1-", "pythia-")
    return _PYTHIA.fullmatch(name) is not None


def _integer(parts: dict[str, str | None], key: str) -> int | None:
    value = parts.get(key)
    return None if value is None else int(value)


def _natural(text: str) -> tuple[tuple[int, int, str], ...]:
    pieces = re.split(r"(\d+)", text)
    return tuple((0, int(p), "") if p.isdecimal() else (1, 0, p) for p in pieces if p)
