"""Neighbourhoods of several hops against SciPy's Dijkstra on the whole layered network."""

import itertools
import json
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse.csgraph import dijkstra

import naive
import neuromfa
from neuromfa.graphs.chain import stages
from neuromfa.graphs.path_search import PathSearch
from neuromfa.graphs.products import OnProcessors
from neuromfa.network import classify
from neuromfa_kernels.hops import count_paths, extend_paths

MODEL = Path(__file__).parent / "expected" / "tiny-neox" / "step3000"
BLOCK = {
    "attention_output": "attention.dense",
    "mlp_input": "mlp.dense_h_to_4h",
    "mlp_hidden": "mlp.dense_4h_to_h",
    "attention_input": "attention.query_key_value",
}


def matrix(checkpoint, layer):
    """Weights [neurons, outputs] of a layer of the small model."""
    block, role = layer.split(".")
    return checkpoint.read(f"gpt_neox.layers.{block}.{BLOCK[role]}.weight").T.astype(np.float64)


def dijkstra_counts(matrices, cutoff):
    """Definitions, section 7: units at each radius, by SciPy on the graph of all layers."""
    sizes = [matrices[0].shape[0], *(m.shape[1] for m in matrices)]
    firsts = np.concatenate([[0], np.cumsum(sizes)])
    blocks = [[None] * len(sizes) for _ in sizes]
    for k, weights in enumerate(matrices):
        with np.errstate(divide="ignore"):
            d = 1.0 / np.abs(weights)
        blocks[k][k + 1] = sp.coo_array(np.where((d > 1) & (d <= cutoff), d, 0))
    for k, size in enumerate(sizes):
        blocks[k][k] = sp.coo_array((size, size))
    graph = sp.csr_array(sp.block_array(blocks))
    ways = dijkstra(graph, indices=np.arange(sizes[0]))[:, firsts[1] :]
    counts = np.zeros((round(cutoff), sizes[0]), np.int64)
    for i, row in enumerate(ways):
        for length in row[row <= cutoff]:
            counts[round(length) - 1, i] += 1  # Python rounds half to even
    return counts


@pytest.mark.parametrize("cutoff", [12.5, 40.0, 150.0])
@pytest.mark.parametrize(
    ("start", "hops", "through"),
    [
        ("0.attention_output", 2, ["0.mlp_input"]),
        ("0.attention_output", 3, ["0.mlp_input", "0.mlp_hidden"]),
        ("2.mlp_input", 3, ["2.mlp_hidden", "3.attention_input"]),
        ("5.mlp_input", 3, ["5.mlp_hidden"]),
    ],
)
def test_counts_equal_dijkstra(start, hops, through, cutoff):
    protocol = neuromfa.Protocol(cutoff=cutoff)
    with neuromfa.open_checkpoint(MODEL) as checkpoint:
        network = classify(checkpoint.tensors, protocol=protocol, config=checkpoint.config)
        first = next(layer for layer in network.layers if layer.name == start)
        path = stages(network.layers, first, hops, topology="paper_chain", parallel=True)
        assert [stage.layer.name for stage in path[1:]] == through
        matrices = [matrix(checkpoint, name) for name in (start, *through)]
        place = OnProcessors(cutoff, 2)
        search = PathSearch(checkpoint, protocol, [place], 2, 1 << 28)
        every = np.arange(first.neurons)
        found = search.counts(path, every, 100, place).counts  # several blocks of targets
        some = np.array([3, 4, 90, 127])
        few = search.counts(path, some, 1024, place).counts
    np.testing.assert_array_equal(found, dijkstra_counts(matrices, cutoff))
    np.testing.assert_array_equal(few, found[:, some])
    assert found.sum() > 0


def leads(one, other, *, parallel):
    """Whether outputs of a layer are neurons of another, along residual connections."""
    (block, role), (later, reader) = (name.split(".") for name in (one, other))
    if role == "mlp_input":
        return (block, reader) == (later, "mlp_hidden")
    if role == "attention_input" or reader not in ("attention_input", "mlp_input"):
        return False
    if block == later:
        return (role, reader) == ("attention_output", "mlp_input") and not parallel
    return int(later) > int(block)


def residual_counts(weights, start, hops, *, parallel, cutoff):
    """Definitions, section 7, along residual connections: every way of each number of edges."""
    lengths = {}
    for name, w in weights.items():
        with np.errstate(divide="ignore"):
            d = 1.0 / np.abs(w)
        lengths[name] = np.where((d > 1) & (d <= cutoff), d, np.inf)
    ways = {start: lengths[start]}
    shortest = dict(ways)
    for _ in range(hops - 1):
        longer = {}
        for one, other in itertools.product(ways, lengths):
            if leads(one, other, parallel=parallel):
                sums = np.array([(way[:, None] + lengths[other]).min(axis=0) for way in ways[one]])
                longer[other] = np.minimum(longer.get(other, np.inf), sums)
        ways = longer
        for name, found in ways.items():
            shortest[name] = np.minimum(shortest.get(name, np.inf), found)
    counts = np.zeros((round(cutoff), len(weights[start])), np.int64)
    for found in shortest.values():
        for i, row in enumerate(found):
            for length in row[row <= cutoff]:
                counts[round(length) - 1, i] += 1
    return counts, set(shortest)


@pytest.mark.parametrize("parallel", [False, True])
@pytest.mark.parametrize(
    ("start", "hops"),
    [("1.attention_output", 2), ("3.attention_output", 4), ("4.mlp_input", 3), ("3.mlp_hidden", 4)],
)
def test_residual_paths_equal_all_sums(start, hops, parallel):
    cutoff = 60.0
    protocol = neuromfa.Protocol(cutoff=cutoff)
    with neuromfa.open_checkpoint(MODEL) as checkpoint:
        network = classify(checkpoint.tensors, protocol=protocol, config=checkpoint.config)
        weights = {x.name: matrix(checkpoint, x.name) for x in network.layers}
        weights[start] = weights[start][:24]  # some neurons
        expected, reached = residual_counts(weights, start, hops, parallel=parallel, cutoff=cutoff)
        first = next(layer for layer in network.layers if layer.name == start)
        path = stages(network.layers, first, hops, topology="residual", parallel=parallel)
        assert {stage.layer.name for stage in path} == reached
        place = OnProcessors(cutoff, 2)
        search = PathSearch(checkpoint, protocol, [place], 2, 1 << 28)
        found = search.counts(path, np.arange(24), 1024, place).counts
    np.testing.assert_array_equal(found, expected)


def test_residual_analysis_says_what_it_took():
    names = ["4.attention_output"]
    found = neuromfa.analyse_hops(MODEL, 2, layers=names, topology="residual")
    assert found.protocol["topology"] == "residual"
    assert found.protocol["parallel_blocks"] is True  # as its configuration says
    assert found.paths[names[0]] == ("4.attention_output", "5.attention_input", "5.mlp_input")
    jsonschema.validate(found.to_dict(), neuromfa.schema("hops"))
    last = neuromfa.analyse_hops(MODEL, 2, layers=["5.mlp_hidden"], topology="residual")
    assert "fewer than 2 ahead" in last.warnings[-1]
    chain = neuromfa.analyse_hops(MODEL, 2, layers=names)
    assert chain.protocol["parallel_blocks"] is None
    assert chain.network.edges_in_range != found.network.edges_in_range


@pytest.mark.parametrize("split", ["gate_up_cat", "gate_up_interleaved"])
def test_a_tensor_of_gate_and_up_is_two(split, tmp_path):
    rng = np.random.default_rng(0)
    gate, up = (rng.normal(0, 0.3, (6, 4)) for _ in range(2))
    down = rng.normal(0, 0.3, (4, 6))
    together = np.concatenate([gate, up])
    if split == "gate_up_interleaved":
        together[0::2], together[1::2] = gate, up
    registry = tmp_path / "own.toml"
    registry.write_text(
        '[family.own]\nblocks = ["layers.{block}."]\n[family.own.block]\n'
        f'"mlp.gate_up" = {{ role = "mlp_input", split = "{split}" }}\n'
        '"mlp.(gate|up)" = "mlp_input"\n"mlp.down" = "mlp_hidden"\n'
    )
    protocol = neuromfa.Protocol(min_neighbours=0)

    def analysed(**tensors):
        state = {f"layers.0.mlp.{name}.weight": w for name, w in tensors.items()}
        found = neuromfa.analyse_hops(state, 2, protocol, architectures=registry)
        return {k: v for k, v in found.layers[0].to_dict().items() if k != "tensors"}

    assert analysed(gate_up=together, down=down) == analysed(gate=gate, up=up, down=down)


def test_one_hop_is_the_analysis():
    ours, theirs = neuromfa.analyse_hops(MODEL, 1), neuromfa.analyse(MODEL)
    plain = [group.to_dict() for group in theirs.layers]
    assert [group.to_dict() for group in ours.layers] == plain
    np.testing.assert_allclose(ours.network.tau, theirs.network.tau, rtol=1e-12, atol=1e-12)


def test_exponents_are_those_of_the_counts():
    analysis = neuromfa.analyse_hops(MODEL, 2, layers=["1.attention_output"])
    (group,) = analysis.layers
    with neuromfa.open_checkpoint(MODEL) as checkpoint:
        names = ("1.attention_output", "1.mlp_input")
        counts = dijkstra_counts([matrix(checkpoint, name) for name in names], 150.0)
    q = (-3.0, 0.0, 2.0)
    Z, Z_log, counted, observed = naive.partition_function(counts, q)
    radii = np.flatnonzero(observed) + 1
    at = [int(np.argmin(abs(group.q - k))) for k in q]
    np.testing.assert_array_equal(group.radii, radii)
    np.testing.assert_allclose(group.tau[at], naive.mass_exponents(Z, radii, q), atol=1e-9)
    alpha, *_ = naive.spectrum(Z, Z_log, radii, q)
    np.testing.assert_allclose(group.alpha[at], alpha, atol=1e-9)
    assert group.counted_neurons == counted
    assert group.edges_in_range == counts.sum()
    assert analysis.protocol["topology"] == "paper_chain"
    assert analysis.protocol["hops"] == 2
    assert analysis.paths["1.attention_output"] == ("1.attention_output", "1.mlp_input")
    jsonschema.Draft202012Validator.check_schema(neuromfa.schema("hops"))
    jsonschema.validate(json.loads(analysis.to_json()), neuromfa.schema("hops"))
    with pytest.raises(jsonschema.ValidationError, match="'hops' was expected"):
        jsonschema.validate(analysis.to_dict() | {"kind": "graph"}, neuromfa.schema("hops"))


def test_resources_change_no_bit():
    def record(**resources):
        found = neuromfa.analyse_hops(MODEL, 3, layers=["0.*"], **resources).to_dict()
        return {k: v for k, v in found.items() if k != "provenance"}

    first = record(threads=1)
    assert record(threads=3) == first
    assert record(threads=2, memory=6_600_000) == first
    assert "fewer than 3 ahead" in " ".join(first["warnings"])


def test_a_share_says_how_far_it_may_be_off():
    names = ["0.mlp_hidden", "3.mlp_hidden"]
    protocol = neuromfa.Protocol(radii="all")
    exact = neuromfa.analyse_hops(MODEL, 2, protocol, layers=names)
    assert exact.intervals == {}
    held = 0
    for seed in range(10):
        sample = neuromfa.analyse_hops(MODEL, 2, protocol, layers=names, share=0.2, seed=seed)
        assert sample.network.neurons == 2 * 103
        assert sample.protocol["seed"] == seed
        jsonschema.validate(sample.to_dict(), neuromfa.schema("hops"))
        for found, wanted in zip(
            (sample.network, *sample.layers), (exact.network, *exact.layers), strict=True
        ):
            span = sample.intervals[found.name]["alpha_0"]
            assert span["low"] < found.alpha_0 < span["high"]
            held += span["low"] <= wanted.alpha_0 <= span["high"]
    assert held >= 27  # of 30, where 28 or 29 are expected
    with pytest.raises(neuromfa.UsageError, match="depends on the draw"):
        neuromfa.analyse_hops(MODEL, 2, share=0.2)
    with pytest.raises(neuromfa.UsageError, match="share 0"):
        neuromfa.analyse_hops(MODEL, 2, share=0)


def test_gate_and_up_lead_to_the_same_units():
    rng = np.random.default_rng(0)
    shapes = {"gate_proj": (6, 4), "up_proj": (6, 4), "down_proj": (4, 6)}
    state = {
        f"model.layers.0.mlp.{name}.weight": rng.normal(0, 0.3, shape)
        for name, shape in shapes.items()
    }
    gate, up, down = state.values()
    protocol = neuromfa.Protocol(min_neighbours=0)
    with neuromfa.open_checkpoint(state) as checkpoint:
        network = classify(checkpoint.tensors, protocol=protocol, config={"model_type": "llama"})
        path = stages(network.layers, network.layers[0], 2, topology="paper_chain", parallel=False)
        place = OnProcessors(protocol.cutoff, 1)
        search = PathSearch(checkpoint, protocol, [place], 1, 1 << 26)
        found = search.counts(path, np.arange(4), 3, place).counts
    first = naive.neighbour_counts(np.concatenate([gate, up]), 150.0, 1)[0]
    expected = first.copy()
    for i in range(4):
        for j in range(4):
            ways = [
                naive.distance(w[m, i]) + naive.distance(down[j, m])
                for w in (gate, up)
                for m in range(6)
                if naive.distance(w[m, i]) > 1 and naive.distance(down[j, m]) > 1
            ]
            if min(ways) <= 150:
                expected[round(min(ways)) - 1, i] += 1
    np.testing.assert_array_equal(found, expected)


def test_tensors_stored_in_out_and_dropped_weights():
    rng = np.random.default_rng(1)
    up, down = rng.normal(0, 0.3, (5, 9)), rng.normal(0, 0.3, (9, 5))
    linear = {
        "model.layers.0.mlp.up_proj.weight": up.T.copy(),
        "model.layers.0.mlp.down_proj.weight": down.T.copy(),
    }
    conv = {
        "h.0.attn.c_attn.weight": np.ones((5, 15)),
        "h.0.attn.c_proj.weight": np.ones((5, 5)),
        "h.0.mlp.c_fc.weight": up,
        "h.0.mlp.c_proj.weight": down,
    }
    protocol = neuromfa.Protocol(min_neighbours=0)
    counts = []
    for state in (linear, conv):
        found = neuromfa.analyse_hops(state, 2, protocol, layers=["0.mlp_input"])
        assert found.paths["0.mlp_input"] == ("0.mlp_input", "0.mlp_hidden")
        counts.append(found.layers[0].to_dict() | {"tensors": None})
    assert counts[0] == counts[1]
    assert counts[0]["edges_in_range"] == dijkstra_counts([up, down], 150.0).sum()
    holed = down.copy()
    holed[3, 2] = np.nan
    dropping = neuromfa.Protocol(min_neighbours=0, nonfinite="drop")
    found = neuromfa.analyse_hops(
        conv | {"h.0.mlp.c_proj.weight": holed}, 2, dropping, layers=["0.mlp_input"]
    )
    without = down.copy()
    without[3, 2] = 0
    assert found.layers[0].edges_in_range == dijkstra_counts([up, without], 150.0).sum()


def test_mixtures_of_experts_are_refused():
    names = [f"experts.{e}.{w}" for e in (0, 1) for w in ("gate_proj", "up_proj", "down_proj")]
    state = {
        f"model.layers.0.mlp.{name}.weight": np.ones((4, 6) if "down" in name else (6, 4))
        for name in names
    } | {"model.layers.0.mlp.gate.weight": np.ones((2, 4))}
    with pytest.raises(neuromfa.UnsupportedError, match=r"mixtures of experts|which output is"):
        neuromfa.analyse_hops(state, 2)
    assert neuromfa.analyse_hops(state, 1).network.neurons


def test_refusals():
    with pytest.raises(neuromfa.UsageError, match="hops 0"):
        neuromfa.analyse_hops(MODEL, 0)
    with pytest.raises(neuromfa.UsageError, match="no layer is called x"):
        neuromfa.analyse_hops(MODEL, 2, layers=["x"])
    with pytest.raises(neuromfa.ResourceError, match="paths from 128 neurons"):
        neuromfa.analyse_hops(MODEL, 2, layers=["0.attention_output"], memory=2 << 20)
    unknown = {
        "model.layers.0.mlp.up_proj.weight": np.ones((12, 4)),
        "model.layers.0.mlp.down_proj.weight": np.ones((4, 6)),
    }
    with pytest.raises(neuromfa.UnsupportedError, match=r"12 outputs and 0\.mlp_hidden 6"):
        neuromfa.analyse_hops(unknown, 2)
    with pytest.raises(neuromfa.UsageError, match="topology 'x': must be paper_chain or residual"):
        neuromfa.analyse_hops(MODEL, 2, topology="x")
    broken = {
        "model.layers.0.mlp.up_proj.weight": np.full((6, 4), 0.1),
        "model.layers.0.mlp.down_proj.weight": np.full((4, 6), np.nan),
    }
    with pytest.raises(neuromfa.BadInputError, match=r"down_proj\.weight is nan"):
        neuromfa.analyse_hops(broken, 2, layers=["0.mlp_input"])


@settings(max_examples=80)
@given(
    shape=st.tuples(st.integers(1, 20), st.integers(1, 12), st.integers(1, 20)),
    seed=st.integers(0, 2**20),
    cutoff=st.sampled_from([2.0, 2.5, 9.0, 128.0, 150.0]),
)
def test_the_product_equals_all_sums(shape, seed, cutoff):
    rng = np.random.default_rng(seed)
    s, m, j = shape

    def distances(rows, columns):
        scale = rng.choice([0.5, 1.0, 1 + 2**-52, 20.0, 200.0], (rows, columns))
        found = np.nextafter(1.0, 2.0) + rng.exponential(1.0, (rows, columns)) * scale
        found[rng.random((rows, columns)) < 0.2] = np.nextafter(1.0, 2.0)
        found[found > cutoff] = np.inf
        return found

    ways, lengths = distances(s, m), distances(m, j)
    ways[rng.random((s, m)) < 0.1] = max(cutoff - 1, 1.5)
    sums = (ways[:, :, None] + lengths[None]).min(axis=1)
    for threads in (1, 3):
        found = extend_paths(ways, lengths, cutoff=cutoff, threads=threads)
        np.testing.assert_array_equal(found <= cutoff, sums <= cutoff)
        np.testing.assert_array_equal(found[sums <= cutoff], sums[sums <= cutoff])
    counts = np.zeros((s, round(cutoff)), np.uint32).T
    count_paths(found, cutoff=cutoff, into=counts)
    radii = [[round(x) for x in row if x <= cutoff] for row in sums]
    expected = [[row.count(r) for row in radii] for r in range(1, round(cutoff) + 1)]
    np.testing.assert_array_equal(counts, expected)


def test_the_door():
    ways, lengths = np.full((2, 3), 2.0), np.full((3, 4), 2.0)
    for wrong, error, message in (
        ((ways.astype(np.float32), lengths), TypeError, "ways: is float32"),
        ((ways, lengths.T), ValueError, "contiguous"),
        ((ways, np.full((2, 4), 2.0)), ValueError, "lead to 3 units and lengths from 2"),
        ((ways * 0, lengths), ValueError, "ways: must be above 1/2"),
        ((ways, lengths * np.nan), ValueError, "lengths: must be above 1/2"),
    ):
        with pytest.raises(error, match=message):
            extend_paths(*wrong, cutoff=9.0)
    with pytest.raises(ValueError, match=r"must be \(9, 2\)"):
        count_paths(ways, cutoff=9.0, into=np.zeros((9, 2), np.uint32))
    with pytest.raises(TypeError, match="into: is int64"):
        count_paths(ways, cutoff=9.0, into=np.zeros((2, 9), np.int64).T)
