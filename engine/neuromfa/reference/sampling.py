"""Which units of each layer a sampled network has: NumPy's legacy generator, draw by draw.

The plan depends on the sizes of a model and on the number of the sample, never on weights: the
same units are followed through all steps of a training run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from neuromfa.errors import UsageError
from neuromfa.multifractal import Int64

LARGEST_SEED = 2**32 - 1


class BlockSizes(NamedTuple):
    """How many units of each kind a block has.

    Attributes
    ----------
    inputs : int
        Block input units, read by queries, keys and values.
    attention : int
        Attention dimensions: concatenated heads, read by the output projection.
    mlp_inputs : int
        Outputs of the attention, read by the MLP.
    hidden : int
        Hidden units of the MLP.
    outputs : int
        Outputs of the block.
    """

    inputs: int
    attention: int
    mlp_inputs: int
    hidden: int
    outputs: int


@dataclass(frozen=True, slots=True, eq=False)
class BlockPlan:
    """Units of one block, in the order in which they were drawn.

    Attributes
    ----------
    inputs, attention, mlp_inputs : int64 array, shape (sample_size,)
        Block input units; attention dimensions; units that the MLP reads.
    hidden : int64 array, shape (2 * sample_size,)
        Hidden units of the MLP.
    outputs : int64 array, shape (sample_size,)
        Outputs: the inputs of the next block, or units of their own for the last.
    """

    inputs: Int64
    attention: Int64
    mlp_inputs: Int64
    hidden: Int64
    outputs: Int64


@dataclass(frozen=True, slots=True, eq=False)
class SamplingPlan:
    """All units of one sampled network.

    Attributes
    ----------
    sample : int
        Number of the sample, and seed of the generator.
    blocks : tuple of BlockPlan
        In the order of the model.
    """

    sample: int
    blocks: tuple[BlockPlan, ...]
    _strides: tuple[int, ...] = field(repr=False)

    def indices(self) -> Int64:
        """All numbers of the plan, in the order in which the authors list them.

        For each block the inputs, then the rows t, t + A, t + 2A of queries, keys and values for
        the attention dimensions t (of A), t itself, the MLP inputs and the hidden units; at the
        end the outputs of the last block.

        Returns
        -------
        int64 array, shape (8 * sample_size * n_blocks + sample_size,)
        """
        parts: list[Int64] = []
        for block, stride in zip(self.blocks, self._strides, strict=True):
            t = block.attention
            parts += [block.inputs, t, t + stride, t + 2 * stride, t, block.mlp_inputs]
            parts.append(block.hidden)
        return np.concatenate([*parts, self.blocks[-1].outputs])

    def digest(self) -> str:
        """SHA-256 of `indices` as 32-bit little-endian integers: 64 hexadecimal digits."""
        return hashlib.sha256(self.indices().astype("<i4").tobytes()).hexdigest()


def draw_plan(blocks: Sequence[BlockSizes], sample_size: int, sample: int) -> SamplingPlan:
    """Draw the units of one sampled network (docs/reference.md, "The draw").

    Parameters
    ----------
    blocks : sequence of BlockSizes
        In the order of the model.
    sample_size : int
        Units drawn of each layer; twice as many of the hidden units of an MLP.
    sample : int
        Number of the sample, which seeds the generator.

    Raises
    ------
    UsageError
        If a layer has fewer units than are to be drawn, or a number makes no sense.
    """
    if not blocks:
        raise UsageError("sampling: the model has no blocks; use --protocol exact")
    if sample_size < 1:
        raise UsageError(f"--sample-size {sample_size}: must be at least 1")
    if not 0 <= sample <= LARGEST_SEED:
        raise UsageError(f"sample {sample}: is a seed, from 0 to {LARGEST_SEED:,}")
    for number, sizes in enumerate(blocks):
        _check(number, sizes, sample_size)
    # This very generator is the definition: its stream is frozen, a newer one would be another.
    generator = np.random.RandomState(sample)

    def draw(k: int, n: int) -> Int64:
        return generator.choice(n, size=k, replace=False).astype(np.int64)

    drawn = [
        (
            draw(sample_size, sizes.inputs),
            draw(sample_size, sizes.attention),
            draw(sample_size, sizes.mlp_inputs),
            draw(2 * sample_size, sizes.hidden),
        )
        for sizes in blocks
    ]
    ends = [inputs for inputs, *_ in drawn[1:]] + [draw(sample_size, blocks[-1].outputs)]
    return SamplingPlan(
        sample,
        tuple(BlockPlan(*units, end) for units, end in zip(drawn, ends, strict=True)),
        tuple(sizes.attention for sizes in blocks),
    )


def sampling_plan(
    hidden_size: int,
    n_blocks: int,
    *,
    sample_size: int = 64,
    sample: int = 0,
    intermediate_size: int | None = None,
) -> SamplingPlan:
    """Draw the plan of a model whose blocks are alike, such as GPT-NeoX.

    Parameters
    ----------
    hidden_size, n_blocks : int
        As in ``config.json``.
    sample_size : int
        Units drawn of each layer; twice as many of the hidden units of an MLP.
    sample : int
        Number of the sample, which seeds the generator.
    intermediate_size : int, optional
        Hidden units of an MLP; four times `hidden_size` by default.

    Raises
    ------
    UsageError
        If a layer has fewer units than are to be drawn, or a number makes no sense.

    Examples
    --------
    >>> from neuromfa import sampling_plan
    >>> sampling_plan(128, 6, sample_size=32).blocks[0].inputs[:3].tolist()
    [40, 24, 86]
    """
    hidden = 4 * hidden_size if intermediate_size is None else intermediate_size
    sizes = BlockSizes(hidden_size, hidden_size, hidden_size, hidden, hidden_size)
    return draw_plan([sizes] * n_blocks, sample_size, sample)


def _check(number: int, sizes: BlockSizes, sample_size: int) -> None:
    wanted: Iterable[tuple[str, int, int]] = (
        ("input units", sizes.inputs, sample_size),
        ("attention dimensions", sizes.attention, sample_size),
        ("MLP input units", sizes.mlp_inputs, sample_size),
        ("hidden units", sizes.hidden, 2 * sample_size),
        ("outputs", sizes.outputs, sample_size),
    )
    for name, n, k in wanted:
        if k > n:
            raise UsageError(
                f"--sample-size {sample_size}: draws {k} of {n} {name} of block {number}; "
                "take a smaller sample"
            )
