"""The definitions in loops: the only oracle of the tests. Never made faster.

Short enough to be checked by eye against the definitions; sections are cited at each function.
"""

import math

import numpy as np


def distance(weight, factor=1.0):
    """Definitions, section 2: d = 1/|w|, one float64 division of the stored value.

    Where weights are rescaled (sections 2 and 6) the stored value is multiplied first, in float64.
    """
    size = abs(float(weight) * factor)  # the smallest subnormal numbers overflow to infinity
    return 1.0 / size if size else math.inf


def radius(weight, cutoff, factor=1.0):
    """Definitions, section 2: the radius of an edge, or the class of what is no edge in range."""
    weight = float(weight)
    if not math.isfinite(weight):
        return "nonfinite"
    if weight == 0:
        return "zero"
    d = distance(weight, factor)
    if d <= 1:
        return "below"
    if d > cutoff:
        return "above"
    return round(d)  # Python rounds half to even


def neighbour_counts(weights, cutoff, neuron_axis, factor=1.0):
    """Definitions, section 2: n_i(r) as counts[r - 1, i]; near rows: d <= 0.5, 0.5 < d <= 1.

    dropped: edges below the range, edges above it, zeros, values that are not finite.
    """
    weights = np.asarray(weights).astype(np.float64)
    n = weights.shape[neuron_axis]
    counts = np.zeros((round(cutoff), n), dtype=np.int64)
    near = np.zeros((2, n), dtype=np.int64)
    dropped = np.zeros(4, dtype=np.int64)
    classes = ["below", "above", "zero", "nonfinite"]
    for row in range(weights.shape[0]):
        for col in range(weights.shape[1]):
            i = (row, col)[neuron_axis]
            w = weights[row, col]
            r = radius(w, cutoff, factor)
            if r == "below":
                near[0 if distance(w, factor) <= 0.5 else 1, i] += 1
            if isinstance(r, str):
                dropped[classes.index(r)] += 1
            else:
                counts[r - 1, i] += 1
    return counts, near, dropped


def measure(counts, i):
    """Definitions, section 3: p_i(r) = N_i(r)/N_i(T), r = 1..R; the neuron counts itself."""
    n_total = 1 + sum(int(c) for c in counts[:, i])
    n_within, p = 1, []
    for r in range(len(counts)):
        n_within += int(counts[r, i])
        p.append(n_within / n_total)
    return p


def partition_function(counts, q, min_neighbours=10):
    """Definitions, section 3: Z_q(r), Z'_q(r), counted neurons, and how many have an edge at r."""
    n_radii, n = counts.shape
    counted = [i for i in range(n) if sum(int(c) for c in counts[:, i]) > min_neighbours]
    p = [measure(counts, i) for i in counted]
    Z = np.zeros((len(q), n_radii))
    Z_log = np.zeros((len(q), n_radii))
    for k in range(len(q)):
        for r in range(n_radii):
            Z[k, r] = math.fsum(p_i[r] ** q[k] for p_i in p)
            Z_log[k, r] = math.fsum(p_i[r] ** q[k] * math.log(p_i[r]) for p_i in p)
    observed = [sum(counts[r, i] > 0 for i in counted) for r in range(n_radii)]
    return Z, Z_log, len(counted), np.array(observed, dtype=np.int64)


def slope(x, y):
    """Definitions, section 4: ordinary least squares, equal weights; NaN where undefined."""
    if len(x) < 2:
        return math.nan
    x_mean = math.fsum(x) / len(x)
    y_mean = math.fsum(y) / len(y)
    xy = math.fsum((a - x_mean) * (b - y_mean) for a, b in zip(x, y, strict=True))
    return xy / math.fsum((a - x_mean) ** 2 for a in x)


def mass_exponents(Z, radii, q):
    """Definitions, section 4: tau(q), the slope of ln Z_q(r) on ln(r/r_max) over the radii."""
    x = [math.log(r / max(radii)) for r in radii]
    tau = []
    for k in range(len(q)):
        z = [Z[k, r - 1] for r in radii]
        tau.append(slope(x, [math.log(v) for v in z]) if all(v > 0 for v in z) else math.nan)
    return np.array(tau)


def spectrum(Z, Z_log, radii, q):
    """Definitions, section 4: alpha, f, alpha_0 (NaN if 0 is not in q) and width."""
    x = [math.log(r / max(radii)) for r in radii]
    tau = mass_exponents(Z, radii, q)
    alpha, f = [], []
    for k in range(len(q)):
        z = [Z[k, r - 1] for r in radii]
        ratios = [Z_log[k, r - 1] / v if v > 0 else math.nan for r, v in zip(radii, z, strict=True)]
        alpha.append(slope(x, ratios))
        f.append(q[k] * alpha[k] - tau[k])
    alpha_0 = alpha[list(q).index(0)] if 0 in q else math.nan
    return np.array(alpha), np.array(f), alpha_0, max(alpha) - min(alpha)


def fractal_dimension(counts, near=None, min_neighbours=10):
    """Definitions, section 5: slope of ln N_i(r) on ln r over the neuron's own radii."""
    n_radii, n = counts.shape
    values = np.full(n, math.nan)
    for i in range(n):
        at_radius = [0, *(int(c) for c in counts[:, i])]
        if near is not None:
            at_radius[0] += int(near[0, i])  # d <= 0.5: radius 0, counts but is no point
            at_radius[1] += int(near[1, i])
        x, y = [], []
        for r in range(1, n_radii + 1):
            if at_radius[r] > 0:
                x.append(math.log(r))
                y.append(math.log(1 + sum(at_radius[: r + 1])))
        if sum(at_radius) > min_neighbours and len(x) >= 2:
            values[i] = slope(x, y)
    return values


def forward_difference_spectrum(tau, q):
    """The authors' alpha and f, one value fewer than q: to compare with their stored results."""
    alpha = [(tau[k + 1] - tau[k]) / (q[k + 1] - q[k]) for k in range(len(q) - 1)]
    f = [q[k] * alpha[k] - tau[k] for k in range(len(q) - 1)]
    return np.array(alpha), np.array(f)


def root_mean_square(values):
    """Definitions, section 2: of all weights of a tensor, zeros included."""
    return math.sqrt(math.fsum(v * v for v in values) / len(values)) if values else 0.0


def degree_of_emergence(width, alpha_0, baseline_width, baseline_alpha_0):
    """Definitions, section 6."""
    return width / baseline_width * math.log(baseline_alpha_0 / alpha_0)


def node_strengths(weights, neuron_axis):
    """Definitions, section 6: the sum of abs(w) over a neuron's finite weights."""
    weights = np.asarray(weights).astype(np.float64)
    rows = weights.T if neuron_axis == 1 else weights
    return [math.fsum(abs(w) for w in row.tolist() if math.isfinite(w)) for row in rows]


def weibull_shape(weights, cutoff):
    """Definitions, section 6: slope of ln(-ln S(x)) on ln x at the borders between radii."""
    edges = [float(w) for w in weights if math.isfinite(w) and w != 0]
    x, y = [], []
    for longest in [1, *(min(r + 0.5, cutoff) for r in range(1, round(cutoff) + 1))]:
        stronger = 0
        for w in edges:
            r = radius(w, cutoff)
            stronger += r == "below" or (r != "above" and longest > 1 and r <= longest)
        if 0 < stronger < len(edges):
            x.append(-math.log(longest))
            y.append(math.log(-math.log(stronger / len(edges))))
    return slope(x, y)


def structure_distance(first, second):
    """Definitions, section 6: root mean square difference of two lists of D(q)."""
    squares = [(a - b) ** 2 for a, b in zip(first, second, strict=True)]
    return math.sqrt(math.fsum(squares) / len(squares))
