"""Small GPT-NeoX models for the tests of the reference protocol, and the bundled real one."""

import json
from functools import cache
from pathlib import Path

import numpy as np

from neuromfa import analyse_reference

TINY = Path(__file__).parent / "expected" / "tiny-neox"
STORED = json.loads((TINY.parent / "tiny-neox.S32.json").read_text(encoding="utf-8"))
"""The authors' own results for 32 units of each layer."""
NAMES = (
    "attention.query_key_value",
    "attention.dense",
    "mlp.dense_h_to_4h",
    "mlp.dense_4h_to_h",
)


def agrees(mine, stored):
    """Within what rounding may move: 1e-11 + 1e-9 |x|."""
    difference = np.abs(np.asarray(mine) - np.asarray(stored))
    return bool((difference <= 1e-11 + 1e-9 * np.abs(stored)).all())


@cache
def tiny(step, **settings):
    """Analysis of a step of the bundled model with the authors' settings for 32 units."""
    return analyse_reference(TINY / f"step{step}", sample_size=32, **settings)


def neox(rng, D=24, L=2, *, I=None, scale=0.1, dtype=np.float32):  # noqa: E741
    """For each block the four matrices [out, in], normally distributed."""
    I = 4 * D if I is None else I  # noqa: E741
    shapes = ((3 * D, D), (D, D), (I, D), (D, I))
    return [
        [(scale * rng.standard_normal(shape)).astype(dtype) for shape in shapes] for _ in range(L)
    ]


def state_dict(blocks, prefix="gpt_neox."):
    """Those matrices under the names of a checkpoint."""
    return {
        f"{prefix}layers.{b}.{name}.weight": matrix
        for b, matrices in enumerate(blocks)
        for name, matrix in zip(NAMES, matrices, strict=True)
    }


def widened(blocks):
    return [[matrix.astype(np.float64) for matrix in matrices] for matrices in blocks]
