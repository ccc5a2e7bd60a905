"""Which outputs of query, key and value projections belong to an attention dimension.

An attention dimension t is component c of head h. With grouped queries several heads share one
key and one value, so that several dimensions belong to the same output, which is taken once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from neuromfa.errors import UnsupportedError
from neuromfa.multifractal import Int64

CODEGEN_PARTS = 4
"""Pieces, once one for each processor, in which CodeGen stores its queries, values and keys."""


class Heads:
    """How the concatenated heads of a block are divided.

    Parameters
    ----------
    attention : int
        Attention dimensions A, all heads together.
    config : mapping
        Of the model; ``head_dim`` or ``num_attention_heads`` (``n_head``) gives the head's size.
    """

    def __init__(self, attention: int, config: Mapping[str, Any]) -> None:
        self.attention = attention
        names = ("num_attention_heads", "n_head", "n_heads", "num_heads")
        number = next((config[n] for n in names if isinstance(config.get(n), int)), None)
        said = config.get("head_dim")
        self.size: int | None = said if isinstance(said, int) else None
        if self.size is None and number and attention % number == 0:
            self.size = attention // number

    def split(self, t: Int64) -> tuple[Int64, Int64]:
        """Head and component of attention dimensions."""
        assert self.size
        return t // self.size, t % self.size

    def divide(self, keys: int) -> int | None:
        """Heads that share one key, for so many key dimensions; None if it does not come out."""
        if keys == self.attention:
            return 1
        size = self.size
        if not size or keys <= 0 or keys % size or self.attention % keys:
            return None
        return self.attention // keys

    def shared(self, t: Int64, group: int) -> Int64:
        """Key dimension of each attention dimension, each once."""
        if group == 1:
            return t
        head, component = self.split(t)
        assert self.size
        return _once(head // group * self.size + component)


def _once(units: Int64) -> Int64:
    """Drop what came before, and keep the order."""
    return units[np.sort(np.unique(units, return_index=True)[1])]


def head_layout(
    tensor: str, n_outputs: int, split: str, heads: Heads, *, where: str
) -> tuple[Callable[[Int64], Int64], str]:
    """Outputs of a projection that belong to drawn attention dimensions, and the rule in words.

    Parameters
    ----------
    tensor : str
        Name, for a message.
    n_outputs : int
        Its outputs.
    split : str
        How the registry says that it is laid out; "none" for one that is not fused.
    heads : Heads
        How the attention dimensions are divided.
    where : str
        The checkpoint, for a message.

    Raises
    ------
    UnsupportedError
        If the layout is not known or does not come out.
    """
    if split == "qkv_cat (one key head) or qkv_head":
        split = "qkv_head" if n_outputs == 3 * heads.attention else "qkv_cat"
    keys = n_outputs if split == "none" else (n_outputs - heads.attention) // 2
    group = heads.divide(keys)
    whole = split == "none" or heads.attention + 2 * keys == n_outputs
    layout = _LAYOUTS.get(split)
    found = layout(heads, keys, group) if layout and group and whole else None
    if found is None:
        raise UnsupportedError(
            f"{where}: {tensor} has {n_outputs} outputs, laid out as {split}, for "
            f"{heads.attention} attention dimensions in heads of {heads.size or 'unknown size'}; "
            "the reference protocol cannot tell which of them to sample: give the model's "
            "config.json, or analyse it with --protocol exact"
        )
    return found


_Found = tuple[Callable[[Int64], Int64], str]


def _separate(heads: Heads, _keys: int, group: int) -> _Found:
    rule = "t" if group == 1 else f"t of its key head, shared by {group} heads"
    return lambda t: heads.shared(t, group), rule


def _stacked(heads: Heads, keys: int, group: int) -> _Found:
    def outputs(t: Int64) -> Int64:
        shared, first = heads.shared(t, group), heads.attention
        return np.concatenate([t, first + shared, first + keys + shared])

    return outputs, "queries, keys and values one below the other"


def _by_group(heads: Heads, _keys: int, group: int) -> _Found | None:
    """Lay out the queries of the heads that share a key, then this key, then its value."""
    size = heads.size
    if not size:
        return None

    def outputs(t: Int64) -> Int64:
        head, component = heads.split(t)
        base = head // group * (group + 2) * size + component
        key = _once(base + group * size)
        return np.concatenate([base + head % group * size, key, key + size])

    return (
        outputs,
        "query, key, value by head" if group == 1 else f"{group} queries, key, value by group",
    )


def _by_processor(heads: Heads, _keys: int, group: int) -> _Found | None:
    if group != 1 or heads.attention % CODEGEN_PARTS:
        return None
    size = heads.attention // CODEGEN_PARTS

    def outputs(t: Int64) -> Int64:
        base = t // size * 3 * size + t % size
        return np.concatenate([base, base + 2 * size, base + size])  # queries, keys, values

    return outputs, f"queries, values and keys in {CODEGEN_PARTS} pieces"


_LAYOUTS: Mapping[str, Callable[[Heads, int, int], _Found | None]] = {
    "none": _separate,
    "qkv_cat": _stacked,
    "qkv_head": _by_group,
    "head_qkv": _by_group,
    "qkv_group": _by_group,
    "part_qvk": _by_processor,
}
