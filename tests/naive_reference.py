"""The authors' sampled procedure in loops, for GPT-NeoX: the oracle of the room `reference`.

Written from the description in docs/reference.md alone, with a Mersenne twister of its own; see
naive.py for what both procedures share.
"""

import hashlib

import numpy as np

import naive

Q = [k / 10 for k in range(-30, 31)]


class MersenneTwister:
    """MT19937, seeded with one number in Knuth's way."""

    def __init__(self, seed):
        self.state = [seed]
        for i in range(1, 624):
            last = self.state[-1]
            self.state.append((1812433253 * (last ^ last >> 30) + i) & 0xFFFFFFFF)
        self.at = 624

    def next(self):
        if self.at == 624:
            m = self.state
            for i in range(624):
                y = (m[i] & 0x80000000) | (m[(i + 1) % 624] & 0x7FFFFFFF)
                m[i] = m[(i + 397) % 624] ^ y >> 1 ^ (0x9908B0DF if y & 1 else 0)
            self.at = 0
        y = self.state[self.at]
        self.at += 1
        y ^= y >> 11
        y ^= y << 7 & 0x9D2C5680
        y ^= y << 15 & 0xEFC60000
        return y ^ y >> 18

    def at_most(self, largest):
        mask = (1 << largest.bit_length()) - 1
        while (found := self.next() & mask) > largest:
            pass
        return found

    def choose(self, k, n):
        """The first k of a permutation of 0..n-1."""
        units = list(range(n))
        for i in range(n - 1, 0, -1):
            j = self.at_most(i)
            units[i], units[j] = units[j], units[i]
        return units[:k]


def plan(D, I, L, *, S, sample):  # noqa: E741  (the description's letters)
    """For each block the four draws, and at the end the outputs of the last."""
    twister = MersenneTwister(sample)
    blocks = []
    for _ in range(L):
        draws = [twister.choose(S, D) for _ in range(3)]
        blocks.append([*draws, twister.choose(2 * S, I)])
    return blocks, twister.choose(S, D)


def digest(blocks, last, D):
    numbers = []
    for n1, t, n4, n5 in blocks:
        numbers += n1 + t + [x + D for x in t] + [x + 2 * D for x in t] + t + n4 + n5
    packed = b"".join(x.to_bytes(4, "little") for x in numbers + last)
    return hashlib.sha256(packed).hexdigest()


def lists(weights, blocks, last):
    """Distances of every unit with an edge, in ascending order of the units' numbers.

    weights: for each block the four matrices [out, in] of float64.
    """
    D, I = weights[0][0].shape[1], weights[0][3].shape[1]  # noqa: E741
    edges = {}

    def connect(source, weight):
        if weight != 0:
            edges.setdefault(source, []).append(naive.distance(weight))

    for b, (n1, t, n4, n5) in enumerate(blocks):
        qkv, dense, up, down = weights[b]
        X = b * (6 * D + I)
        outputs = blocks[b + 1][0] if b + 1 < len(blocks) else last
        for row in [*t, *(x + D for x in t), *(x + 2 * D for x in t)]:
            for c in n1:
                connect(X + c, float(qkv[row, c]))
        for x in t:
            connect(X + D + x, 1.0)
            for _ in t:
                connect(X + D + x + D, 1.0)
                connect(X + D + x + 2 * D, 1.0)
        for sources, targets, matrix, first in (
            (t, n4, dense, 4 * D),
            (n4, n5, up, 5 * D),
            (n5, outputs, down, 6 * D),
        ):
            for row in targets:
                for c in sources:
                    connect(X + first + c, float(matrix[row, c]))
    return [edges[source] for source in sorted(edges)]


def counts_of(distances, cutoff):
    """Counts at each radius, and how many distances are at most 0.5 and 1."""
    counts = np.zeros((round(cutoff), len(distances)), dtype=np.int64)
    near = np.zeros((2, len(distances)), dtype=np.int64)
    for i, of_unit in enumerate(distances):
        for d in of_unit:
            if 1 < d <= cutoff:
                counts[round(d) - 1, i] += 1
            elif 0 < d <= 1:
                near[0 if d <= 0.5 else 1, i] += 1
    return counts, near


def spectrum(distances, cutoff):
    """tau, alpha, f, width, the radii, and how many units are counted; None without exponents."""
    counts, _ = counts_of(distances, cutoff)
    Z, _, counted, observed = naive.partition_function(counts, Q)
    radii = [r + 1 for r in range(len(observed)) if observed[r]]
    if not counted or len(radii) < 2:
        return None
    tau = naive.mass_exponents(Z, radii, Q)
    alpha, f = naive.forward_difference_spectrum(tau, Q)
    return tau, alpha, f, max(alpha) - min(alpha), radii, counted


def fractal_dimensions(distances, cutoff=200):
    """One number for each list, zero where undefined."""
    counts, near = counts_of(distances, cutoff)
    return np.nan_to_num(naive.fractal_dimension(counts, near), nan=0.0)
