"""The analysis of a graph in loops over NetworkX's distances: the oracle. Never made faster."""

import math
from itertools import pairwise

import networkx as nx
import numpy as np

import naive


def hop_counts(graph, node):
    """Definitions, section 7: other nodes within 1, 2, ... hops, up to the eccentricity."""
    distances = nx.single_source_shortest_path_length(graph, node)
    furthest = max(distances.values())
    return [sum(0 < d <= r for d in distances.values()) for r in range(1, furthest + 1)]


def hop_measures(graph, nodes):
    """u_i(r) for r = 1..diameter, of the nodes that reach another."""
    within = [counts for node in nodes if (counts := hop_counts(graph, node))]
    diameter = max(map(len, within))
    measures = [
        [counts[min(r, len(counts)) - 1] / counts[-1] for r in range(1, diameter + 1)]
        for counts in within
    ]
    return list(range(1, diameter + 1)), measures


def lengths_from(graph, node, digits):
    """Rounded lengths of shortest paths to every node that is reached, itself included."""
    found = nx.single_source_dijkstra_path_length(graph, node)
    return {name: round(d * 10**digits) / 10**digits for name, d in found.items()}


def length_measures(graph, nodes, digits):
    """u_i(r) for every positive distance r, of the nodes that reach another."""
    found = [lengths_from(graph, node, digits) for node in nodes]
    found = [lengths for lengths in found if len(lengths) > 1]
    radii = sorted({d for lengths in found for d in lengths.values() if d > 0})
    n = graph.number_of_nodes()
    measures = [[sum(d <= r for d in lengths.values()) / n for r in radii] for lengths in found]
    return radii, measures


def partition_function(measures, q):
    """Z_q(r) and the direct sums of u^q ln u, [n_q, radii]."""
    radii = range(len(measures[0]))
    Z = [[math.fsum(u[r] ** k for u in measures) for r in radii] for k in q]
    Z_log = [[math.fsum(u[r] ** k * math.log(u[r]) for u in measures) for r in radii] for k in q]
    return np.array(Z), np.array(Z_log)


def exponents(radii, measures, q):
    """tau and the analytic alpha."""
    Z, Z_log = partition_function(measures, q)
    x = [math.log(r / radii[-1]) for r in radii]
    tau = [naive.slope(x, [math.log(z) for z in row]) for row in Z]
    alpha = [naive.slope(x, list(a / z)) for a, z in zip(Z_log, Z, strict=True)]
    return np.array(tau), np.array(alpha)


def hop_dimension(graph, node):
    """Slope of ln M_i(r) on ln r over the node's own radii."""
    counts = hop_counts(graph, node)
    return naive.slope(
        [math.log(r) for r in range(1, len(counts) + 1)], [math.log(m) for m in counts]
    )


def length_dimension(graph, node, digits):
    """Definitions, section 7: the node counts itself and what is at distance 0."""
    lengths = list(lengths_from(graph, node, digits).values())
    radii = sorted({d for d in lengths if d > 0})
    within = [sum(d <= r for d in lengths) for r in radii]
    return naive.slope([math.log(r) for r in radii], [math.log(m) for m in within])


def flower(u, v, generation):
    """Rozenfeld's (u,v)-flower: every edge becomes two paths, of u and of v edges."""
    edges, nodes = [(0, 1)], 2
    for _ in range(generation):
        longer = []
        for a, b in edges:
            for length in (u, v):
                path = [a, *range(nodes, nodes + length - 1), b]
                nodes += length - 1
                longer += list(pairwise(path))
        edges = longer
    return nx.Graph(edges)


def flower_dimension(u, v, q):
    """D(q) of a large flower, u <= v, in closed form.

    A node born k generations before the last has degree 2^k and, within r, r^d times as many
    nodes as one of degree 2, where d = ln(u + v)/ln u. Summed over nodes, q-th powers are carried
    by the many small nodes up to q_c, and by the few hubs beyond.
    """
    w = u + v
    if q <= math.log2(w) - 1:
        return math.log(w) / math.log(u)
    return (1 + 1 / q) * math.log(w / 2) / math.log(u)
