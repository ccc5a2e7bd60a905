"""Hypothesis strategies: weights that hurt, protocols and lists of q."""

import ml_dtypes
import numpy as np
from hypothesis import strategies as st

from neuromfa.protocol import Protocol

DTYPES = (
    np.dtype(np.float64),
    np.dtype(np.float32),
    np.dtype(np.float16),
    np.dtype(ml_dtypes.bfloat16),
    np.dtype(ml_dtypes.float8_e4m3fn),
    np.dtype(ml_dtypes.float8_e5m2),
)
CUTOFFS = (1.25, 2.0, 2.5, 3.0, 10.0, 128.0, 150.0, 150.5, 200.0)
NEURONS = (1, 2, 3, 31, 32, 33, 64, 65)
NEURONS_AT_TILES = (1023, 1024, 1025)
EDGES = (1, 2, 10, 11, 12, 13, 40, 97)


def awkward_values(dtype, cutoff):
    """Values at the borders of the classes and radii, one step to either side, and the extremes."""
    dtype = np.dtype(dtype)
    limits = ml_dtypes.finfo(dtype)
    ties = [1 / (r + 0.5) for r in range(int(min(cutoff, 12)) + 1)]
    exact = [1.0, 2.0, 0.5, 1 / cutoff, 1 / round(cutoff), *ties]
    # bfloat16 does not represent 1/cutoff: the step is taken in the stored type, after the cast
    at = np.array(exact).astype(dtype)
    step = at * np.asarray(limits.eps, dtype=dtype)
    ends = np.array([limits.smallest_subnormal, limits.smallest_normal, limits.max], dtype=dtype)
    values = np.concatenate([at, at + step, at - step, ends, np.zeros(1, dtype)]).astype(dtype)
    values = values[np.isfinite(values)]
    return np.concatenate([values, -values])


@st.composite
def weights(draw, *, dtypes=DTYPES, cutoff=150.0, nonfinite=False, neurons=NEURONS, edges=EDGES):
    """A matrix [edges, neurons] of one stored type: normal weights, zeros, ties, borders, extremes.

    With `nonfinite`, NaN and (where the type has it) infinities appear as well.
    """
    dtype = np.dtype(draw(st.sampled_from(dtypes)))
    shape = draw(st.sampled_from(edges)), draw(st.sampled_from(neurons))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    scale = draw(st.sampled_from((1e-4, 0.02, 0.1, 0.7)))
    with np.errstate(all="ignore"):
        matrix = (scale * rng.standard_normal(shape)).astype(dtype)
        pool = awkward_values(dtype, cutoff)
    awkward = rng.random(shape) < draw(st.sampled_from((0.0, 0.1, 0.9)))
    matrix[awkward] = rng.choice(pool, size=int(awkward.sum()))
    matrix[rng.random(shape) < draw(st.sampled_from((0.0, 0.2, 1.0)))] = 0
    if nonfinite:
        wrong = np.array([np.nan, np.inf, -np.inf]).astype(dtype)
        wrong = wrong[~np.isfinite(wrong)]
        at = rng.random(shape) < draw(st.sampled_from((0.02, 0.3)))
        matrix[at] = rng.choice(wrong, size=int(at.sum()))
    return matrix


def cutoffs():
    """Largest distances: whole, half, just above 1, and any in between."""
    return st.sampled_from(CUTOFFS) | st.floats(1.01, 250.0)


def q_lists(*, min_size=1, max_size=7):
    """Strictly increasing moments within what float64 can hold for any measure here."""
    moment = st.sampled_from((-3.0, -1.0, 0.0, 1.0, 3.0)) | st.floats(-5.0, 5.0)
    # + 0.0 turns -0.0 into 0.0, which would otherwise be a second zero
    return st.lists(
        moment.map(lambda q: q + 0.0), min_size=min_size, max_size=max_size, unique=True
    ).map(lambda q: tuple(sorted(q)))


def protocols():
    """Every setting of a protocol, within the limits it states."""
    return st.builds(
        Protocol,
        cutoff=cutoffs(),
        min_neighbours=st.integers(0, 20),
        q=q_lists(),
        radii=st.sampled_from(("observed", "all")),
        experts=st.sampled_from(("joint", "separate")),
        nonfinite=st.sampled_from(("error", "drop")),
        distance=st.sampled_from(("inverse", "relative")),
    )
