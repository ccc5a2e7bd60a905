"""Whole analyses: against the authors' values, the oracle, and themselves run in other ways."""

import json
import pickle
from pathlib import Path

import jsonschema
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import naive
import neuromfa
from neuromfa import BadInputError, Protocol, ResourceError, UnsupportedError, UsageError, analyse
from neuromfa.checkpoint import Checkpoint
from neuromfa.multifractal import moments
from neuromfa.units import tile_bytes

EXPECTED = Path(__file__).parent / "expected"
MODELS = EXPECTED / "tiny-neox"
CASES = json.loads((EXPECTED / "cases.json").read_text())
FULL = json.loads((EXPECTED / "tiny-neox.full.json").read_text())
ABSOLUTE, RELATIVE = 1e-11, 1e-9  # what the definitions promise against the authors' values


def assert_close(ours, theirs):
    theirs = np.array([float(v) for v in np.atleast_1d(theirs)])
    np.testing.assert_allclose(np.atleast_1d(ours), theirs, rtol=RELATIVE, atol=ABSOLUTE)


TINY = Path(__file__).parent / "expected" / "tiny-neox" / "step64"


def numbers(analysis):
    """Everything but the provenance, as text: equal text is equal to the bit."""
    return json.dumps({k: v for k, v in analysis.to_dict().items() if k != "provenance"})


def random_model(seed=0, dtype=np.float32):
    """Two-block Llama in miniature, with more neurons than a tile in one layer."""
    rng = np.random.default_rng(seed)
    hidden, inner = 48, 1100
    shapes = {"self_attn.q_proj": (hidden, hidden), "self_attn.k_proj": (16, hidden)}
    shapes |= {"self_attn.v_proj": (16, hidden), "self_attn.o_proj": (hidden, hidden)}
    shapes |= {f"mlp.{name}_proj": (inner, hidden) for name in ("gate", "up")}
    shapes |= {"mlp.down_proj": (hidden, inner)}
    return {
        f"model.layers.{block}.{name}.weight": rng.normal(0, 0.05, shape).astype(dtype)
        for block in range(2)
        for name, shape in shapes.items()
    }


@pytest.mark.parametrize("run", FULL["runs"], ids=lambda run: f"step{run['step']}")
def test_full_run_of_a_real_model_has_the_authors_values(run):
    analysis = analyse(MODELS / f"step{run['step']}", Protocol(cutoff=run["T"]))
    network = analysis.network
    assert analysis.architecture == "gpt_neox"
    assert analysis.coverage["unknown"] == []
    assert network.neurons == run["n_lists"]
    assert network.counted_neurons == run["n_selected"]
    assert network.edges == run["n_edges"]
    assert network.edges_in_range == run["n_edges_in_range"]
    assert network.edges_below == run["n_edges_distance_1"] + run["n_edges_distance_lt_1"]
    assert len(network.radii) == run["n_radii"]
    assert (network.radii[0], network.radii[-1]) == (run["r_min"], run["r_max"])
    assert_close(network.q, FULL["q"])
    assert_close(network.tau, run["tau"])
    # Their alpha_0 is one of two difference quotients that tie; ours is the derivative between.
    low, high = sorted((run["alpha"][29], run["alpha"][30]))
    assert low <= network.alpha_0 <= high
    assert network.jackknife["over"] == "blocks"
    assert network.jackknife["parts"] == 6
    assert [g.name for g in analysis.blocks] == [str(b) for b in range(6)]
    assert sum(g.neurons for g in analysis.blocks) == network.neurons


@pytest.mark.parametrize("step", [0, 3000])
def test_fractal_dimension_of_every_neuron_has_the_authors_value(step):
    stored = load_file(EXPECTED / "tiny-neox.full.nfd.safetensors")
    found = analyse(MODELS / f"step{step}", Protocol(cutoff=200), fractal_dimensions=True)
    ours = np.concatenate(list(found.fractal_dimensions.values()))
    assert_close(np.nan_to_num(ours), stored[f"T200/step{step}"])  # their zero is our NaN


@pytest.mark.parametrize("cutoff", CASES["thresholds"])
def test_file_of_loose_matrices_has_the_authors_values_layer_by_layer(cutoff):
    analysis = analyse(
        EXPECTED / "cases.safetensors", Protocol(cutoff=cutoff), fractal_dimensions=True
    )
    assert sorted(layer.name for layer in analysis.layers) == sorted(CASES["cases"])
    assert sorted(analysis.coverage["unknown"]) == sorted(CASES["cases"])
    for layer in analysis.layers:
        case = CASES["cases"][layer.name]
        run = case["results"][str(cutoff)]
        assert layer.tensors == (layer.name,)
        assert layer.neurons == case["shape"][1]
        assert layer.counted_neurons == run["n_selected"]
        assert layer.edges == run["n_edges"]
        assert layer.edges_in_range == run["n_edges_in_range"]
        assert len(layer.radii) == run["n_radii"]
        assert_close(layer.tau, run["tau"])
        low, high = sorted((run["alpha"][29], run["alpha"][30]))
        assert low <= layer.alpha_0 <= high
        dimensions = analysis.fractal_dimensions[layer.name]
        assert_close(np.nan_to_num(dimensions[case["neurons_with_edges"]]), run["nfd"])


def test_spectrum_agrees_with_the_oracle():
    weights = load_file(MODELS / "step64" / "model.safetensors")
    names = ("attention.query_key_value", "attention.dense")
    chosen = {n: weights[f"gpt_neox.layers.2.{n}.weight"][:200] for n in names}
    analysis = analyse(chosen)
    q = moments(Protocol())
    for layer in analysis.layers:
        counts, near, _ = naive.neighbour_counts(chosen[layer.name], 150, 1)
        Z, Z_log, counted, observed = naive.partition_function(counts, q, 10)
        radii = np.flatnonzero(observed) + 1
        alpha, f, alpha_0, width = naive.spectrum(Z, Z_log, radii, q)
        assert layer.counted_neurons == counted
        assert_close(layer.tau, naive.mass_exponents(Z, radii, q))
        assert_close(layer.alpha, alpha)
        assert_close(layer.f, f)
        assert_close(layer.alpha_0, alpha_0)
        assert_close(layer.width, width)
        dimension = np.array(naive.fractal_dimension(counts, near, 10))
        assert layer.fractal_dimension["mean"] == pytest.approx(np.nanmean(dimension), rel=1e-12)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, ml_dtypes.bfloat16])
def test_resources_never_change_a_bit(dtype, tmp_path):
    model = random_model(dtype=dtype)
    one = numbers(analyse(model, threads=1))
    least = 2 * tile_bytes(Protocol())
    for threads, memory in ((2, 512 << 20), (7, 512 << 20), (7, 5 * least), (3, least)):
        assert numbers(analyse(model, threads=threads, memory=memory)) == one
    if dtype is not ml_dtypes.bfloat16:  # safetensors writes no NumPy bfloat16
        save_file(model, tmp_path / "model.safetensors")
        from_file = analyse(tmp_path / "model.safetensors").to_dict()
        assert from_file["network"] == json.loads(one)["network"]


def test_a_group_is_the_sum_of_its_layers():
    analysis = analyse(random_model())
    for name in ("neurons", "counted_neurons", "edges", "edges_above", "zeros"):
        total = getattr(analysis.network, name)
        for groups in (analysis.layers, analysis.blocks, analysis.roles):
            assert sum(getattr(g, name) for g in groups) == total
    alone = analyse({k: v for k, v in random_model().items() if ".0." in k})
    assert alone.network.tau.tolist() == analysis.blocks[0].tau.tolist()


def test_a_layer_does_not_depend_on_the_others():
    weights = random_model()
    name = "model.layers.1.mlp.down_proj.weight"
    whole = analyse(weights).layers[-1]
    alone = analyse({name: weights[name]}).layers[0]
    assert whole.tensors == alone.tensors == (name,)
    assert whole.tau.tolist() == alone.tau.tolist()
    assert whole.radii.tolist() == alone.radii.tolist()


def test_content_hash_follows_the_weights_and_not_the_files(tmp_path):
    model = random_model()
    names = sorted(model)
    save_file({n: model[n] for n in names[:5]}, tmp_path / "a.safetensors")
    save_file({n: model[n] for n in names[5:]}, tmp_path / "b.safetensors")
    hashes = {analyse(s).provenance["content_hash"] for s in (model, tmp_path)}
    assert len(hashes) == 1
    model[names[0]][0, 0] += 1
    assert analyse(model).provenance["content_hash"] not in hashes


def test_nonfinite_weight_is_named_and_can_be_dropped():
    model = random_model()
    clean = analyse(model).network
    name = "model.layers.1.mlp.up_proj.weight"
    model[name][7, 3] = np.nan
    model[name][900, 1] = -np.inf
    with pytest.raises(BadInputError) as raised:
        analyse(model, threads=2)
    assert f"tensor {name} is nan at [7, 3]" in str(raised.value)
    assert "--nonfinite drop" in str(raised.value)
    dropped = analyse(model, Protocol(nonfinite="drop")).network
    assert dropped.nonfinite == 2
    assert dropped.edges == clean.edges - 2


def test_experts_together_or_apart_have_the_same_edges():
    rng = np.random.default_rng(3)
    prefix = "model.layers.0."
    model = {f"{prefix}self_attn.{p}_proj.weight": rng.normal(0, 0.1, (32, 32)) for p in "qkvo"}
    model[f"{prefix}block_sparse_moe.gate.weight"] = rng.normal(0, 0.1, (4, 32))
    for expert in range(4):
        for name, shape in {"w1": (40, 32), "w3": (40, 32), "w2": (32, 40)}.items():
            key = f"{prefix}block_sparse_moe.experts.{expert}.{name}.weight"
            model[key] = rng.normal(0, 0.1, shape)
    model = {k: v.astype(np.float32) for k, v in model.items()}
    joint = analyse(model)
    apart = analyse(model, Protocol(experts="separate"))
    assert joint.network.edges == apart.network.edges
    assert len(joint.layers) == 4
    assert len(apart.layers) == 3 + 2 * 4
    hidden = next(g for g in joint.roles if g.name == "mlp_hidden")
    assert hidden.neurons == 4 * 40
    of_experts = [g for g in apart.layers if g.name.startswith("0.mlp_hidden")]
    assert [g.neurons for g in of_experts] == [40] * 4
    assert sum(g.counted_neurons for g in of_experts) == hidden.counted_neurons


def test_progress_reaches_the_end_and_its_exception_stops_the_work():
    states = []
    analyse(random_model(), progress=states.append)
    assert states[-1].done_bytes == states[-1].total_bytes
    assert len([s for s in states if s.finished]) == 8

    def cancel(state):
        if state.finished:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        analyse(random_model(), progress=cancel)


def test_record_survives_pickling_and_json_and_obeys_its_schema(tmp_path):
    analysis = analyse(random_model(), fractal_dimensions=True)
    assert numbers(pickle.loads(pickle.dumps(analysis))) == numbers(analysis)
    record = json.loads(analysis.to_json())
    jsonschema.Draft202012Validator.check_schema(neuromfa.schema())
    jsonschema.validate(record, neuromfa.schema())
    back = neuromfa.Analysis.from_dict(record)
    assert back.to_json() == analysis.to_json()


def test_undefined_layers_are_null_with_a_reason_and_no_error():
    large = random_model()["model.layers.0.mlp.up_proj.weight"]
    weights = {"small": np.full((3, 4), 0.1, np.float32), "large": large}
    analysis = analyse(weights)
    small = next(layer for layer in analysis.layers if layer.name == "small")
    assert small.undefined == "no neuron has more than 10 edges with 1 < d <= cutoff"
    record = json.loads(analysis.to_json())
    jsonschema.validate(record, neuromfa.schema())
    assert next(g for g in record["layers"] if g["name"] == "small")["alpha_0"] is None
    assert analysis.network.undefined is None


def test_network_without_a_counted_neuron_is_undefined():
    network = analyse({"tiny": np.full((3, 4), 0.1, np.float32)}).network
    assert network.undefined == "no neuron has more than 10 edges with 1 < d <= cutoff"
    assert network.counted_neurons == 0


def test_network_without_an_edge_is_an_error():
    with pytest.raises(BadInputError, match="every weight is zero"):
        analyse({"a": np.zeros((30, 4), np.float32), "b": np.zeros((30, 4), np.float16)})


def test_moments_that_leave_float64_are_refused():
    with pytest.raises(UsageError, match="leaves the range of float64"):
        analyse(random_model(), Protocol(q=(-400.0, 0.0)))


def test_type_that_no_kernel_counts_is_named():
    model = {"w": np.zeros((4, 4), ml_dtypes.float8_e4m3fnuz)}
    with pytest.raises(UnsupportedError, match="tensor w is stored as float8_e4m3fnuz"):
        analyse(model)


def test_memory_that_cannot_do_is_refused_before_reading():
    with pytest.raises(ResourceError, match="raise --memory or lower --cutoff"):
        analyse(random_model(), memory=1000)


def test_remote_layers_are_read_ahead_in_order(monkeypatch):
    """Storage is a resource: where the files lie changes no bit, only what is read when."""
    expected = analyse(TINY)
    fetched = []
    real = Checkpoint.prefetch
    monkeypatch.setattr("neuromfa.read_ahead.is_remote", lambda _: True)
    monkeypatch.setattr("neuromfa.mapped_files.is_remote", lambda _: True)
    monkeypatch.setattr(Checkpoint, "prefetch", lambda s, t: (fetched.append(t), real(s, t)))
    found = analyse(TINY)
    assert fetched == [tensor for layer in found.layers for tensor in layer.tensors]
    assert numbers(found) == numbers(expected)
