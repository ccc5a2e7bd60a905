"""The authors' sampled procedure: their stored results, the oracle, records, emergence."""

import json
import math

import jsonschema
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

import naive_reference
import neuromfa
from neuromfa import ReferenceAnalysis, analyse_reference, reference_emergence
from neuromfa.errors import BadInputError, UsageError
from neuromfa.reference.differences import sum_in_order
from sampled_models import STORED, TINY, agrees, neox, state_dict, tiny, widened

RUN = STORED["runs"]["T150"]
ROUNDING = 1e-9
"""f within this of its largest value is a tie that the last bit decides."""


@pytest.mark.parametrize("network", RUN["networks"], ids=lambda n: f"{n['step']}.{n['sample']}")
def test_every_stored_network(network):
    sample = tiny(network["step"]).samples[network["sample"]]
    assert sample.sample == network["sample"]
    for name in ("tau", "alpha", "f", "width"):
        assert agrees(getattr(sample, name), network[name]), name
    assert sample.edges + sample.artificial_edges == network["n_edges"]
    assert sample.edges_in_range == network["n_edges_in_range"]
    assert sample.edges_below == network["n_edges_distance_lt_1"]
    assert sample.artificial_edges == network["n_edges_distance_1"]
    assert sample.counted_neurons == network["n_selected"]
    assert len(sample.fractal_dimension.values) == network["n_lists"]
    assert len(sample.radii) == network["n_radii"]
    assert (sample.radii[0], sample.radii[-1]) == (network["r_min"], network["r_max"])
    k = sample.alpha_0_index
    assert network["f"][k] >= max(network["f"]) - ROUNDING
    assert agrees(sample.alpha_0, network["alpha"][k])
    assert bool((sample.f > ROUNDING).any()) is network["any_f_gt_1e-9"]


def test_emergence_of_the_last_step():
    """With the ties taken as they were stored, and with our own within what the tie can move."""
    first, last = tiny(0), tiny(3000)
    at = STORED["steps"].index(3000)
    stored = RUN["filter_modes"]["0"]
    means = {}
    for step, analysis in ((0, first), (3000, last)):
        networks = [n for n in RUN["networks"] if n["step"] == step]
        taken = [s.alpha[n["alpha0_k"]] for s, n in zip(analysis.samples, networks, strict=True)]
        means[step] = np.mean(taken), analysis.statistics()["width_mean"]
        where = STORED["steps"].index(step)
        assert agrees(means[step][0], stored["alpha0_mean"][where])
        assert agrees(means[step][1], stored["width_mean"][where])
    E = means[3000][1] / means[0][1] * math.log(means[0][0] / means[3000][0])
    assert agrees(E, stored["E"][at])
    emergence = reference_emergence(last, first)
    assert emergence.degree == pytest.approx(stored["E"][at], abs=0.013)
    assert emergence.degree_derivative == pytest.approx(stored["E"][at], abs=0.013)
    own = [
        s.width / b.width * math.log(b.alpha_0 / s.alpha_0)
        for s, b in zip(last.samples, first.samples, strict=True)
    ]
    assert emergence.degrees.tolist() == own
    assert emergence.degree_mean == pytest.approx(np.mean(own), rel=1e-14)
    assert emergence.degree_sd == pytest.approx(np.std(own, ddof=1), rel=1e-14)
    assert reference_emergence(first, first).degree == 0


@pytest.mark.parametrize("step", [0, 3000])
@pytest.mark.parametrize("mode", ["0", "2"])
def test_filter_modes_that_rounding_leaves_alone(mode, step):
    stored, at = RUN["filter_modes"][mode], STORED["steps"].index(step)
    analysis = tiny(step)
    assert len(analysis.kept(int(mode))) == 10
    assert agrees(analysis.statistics(int(mode))["width_mean"], stored["width_mean"][at])


@settings(max_examples=6)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([(24, 1, 96), (13, 2, 30), (14, 1, 200)]),
    st.sampled_from([0.02, 0.1, 0.7]),
    st.sampled_from([20.0, 31.5]),
)
def test_agrees_with_the_oracle(seed, shape, scale, cutoff):
    """On weights with zeros, +-1 and ties; networks, spectra and dimensions from scratch."""
    D, L, I = shape  # noqa: E741
    rng = np.random.default_rng(seed)
    blocks = neox(rng, D, L, I=I, scale=scale)
    for matrix in (m for matrices in blocks for m in matrices):
        matrix[rng.random(matrix.shape) < 0.05] = rng.choice([0.0, 1.0, -1.0, 0.4, 2.0])
        matrix[:, rng.random(matrix.shape[1]) < 0.05] = 0
    found = analyse_reference(
        state_dict(blocks),
        sample_size=12,
        samples=2,
        cutoff=cutoff,
        dimension_cutoff=40.0,
        fractal_dimensions=True,
    )
    assert found.architecture == "gpt_neox"
    for sample in found.samples:
        plan = naive_reference.plan(D, I, L, S=12, sample=sample.sample)
        assert sample.plan_sha256 == naive_reference.digest(*plan, D)
        lists = naive_reference.lists(widened(blocks), *plan)
        assert sample.edges + sample.artificial_edges == sum(map(len, lists))
        dimensions = naive_reference.fractal_dimensions(lists, 40)
        assert agrees(sample.fractal_dimension.values, dimensions)
        expected = naive_reference.spectrum(lists, cutoff)
        if expected is None:
            assert sample.undefined
            continue
        tau, alpha, f, width, radii, counted = expected
        assert sample.radii.tolist() == radii
        assert sample.counted_neurons == counted
        for mine, stored in ((sample.tau, tau), (sample.alpha, alpha), (sample.f, f)):
            assert agrees(mine, stored)
        assert agrees(sample.width, width)


@given(st.integers(0, 2**32 - 1), st.sampled_from([3, 1025]), st.integers(0, 8))
@settings(max_examples=10)
def test_one_sum_is_made_in_the_order_of_the_neurons(seed, neurons, few):
    """It decides ties, so it is not that of the kernels, and must be the same but for rounding."""
    counts = np.random.default_rng(seed).integers(0, 3, (7, neurons)).astype(np.uint32)
    within = [1 + np.cumsum(of_neuron) for of_neuron in counts.T.astype(int)]
    measures = [w / w[-1] for w in within if w[-1] - 1 > few]
    expected = [math.fsum(float(p[r]) ** -0.1 for p in measures) for r in range(7)]
    found = sum_in_order(counts, -0.1, few)
    np.testing.assert_allclose(found, expected, rtol=1e-13)


def test_record_survives_json_and_fits_its_schema():
    for kept in (False, True):
        found = analyse_reference(
            TINY / "step64", sample_size=20, samples=2, fractal_dimensions=kept
        )
        record = json.loads(found.to_json())
        jsonschema.validate(record, neuromfa.schema("reference"))
        assert ("values" in record["samples"][0]["fractal_dimension"]) is kept
        assert ReferenceAnalysis.from_dict(record).to_dict() == record
    assert record["protocol"]["name"] == "reference"
    assert record["protocol"]["sample_size"] == 20
    assert record["alpha_0_mean"] == np.mean([s["alpha_0"] for s in record["samples"]])
    assert record["width_sd"] == np.std([s["width"] for s in record["samples"]], ddof=1)
    assert record["generalised"] is False
    assert record["provenance"]["content_hash"].startswith("xxh3_128:")


def test_records_of_others_are_refused():
    record = tiny(0).to_dict()
    with pytest.raises(BadInputError, match=r"schema version 2\.0"):
        ReferenceAnalysis.from_dict(record | {"schema_version": "2.0"})
    exact = neuromfa.analyse(TINY / "step0").to_dict()
    with pytest.raises(BadInputError, match="its protocol is exact"):
        ReferenceAnalysis.from_dict(exact | {"schema_version": "1.0"})


def test_identity_is_that_of_the_exact_analysis():
    exact = neuromfa.analyse(TINY / "step0").provenance
    assert tiny(0).provenance["content_hash"] == exact["content_hash"]


def test_threads_and_storage_change_no_bit(tmp_path):
    blocks = neox(np.random.default_rng(5), 30, 2)
    save_file(state_dict(blocks), tmp_path / "model.safetensors")
    transposed = {name: np.asfortranarray(matrix) for name, matrix in state_dict(blocks).items()}
    records = [
        analyse_reference(source, sample_size=12, samples=3, threads=threads).to_dict()["samples"]
        for source, threads in (
            (state_dict(blocks), 1),
            (state_dict(blocks), 3),
            (transposed, 2),
            (tmp_path, 2),
        )
    ]
    assert all(record == records[0] for record in records)


def test_settings_that_make_no_sense():
    for wrong, said in (
        ({"samples": 0}, "samples 0"),
        ({"sample_size": 2.5}, r"sample_size 2\.5"),
        ({"cutoff": 1.0}, "cutoff 1"),
        ({"dimension_cutoff": math.inf}, "dimension_cutoff inf"),
        ({"nonfinite": "ignore"}, "nonfinite 'ignore'"),
    ):
        with pytest.raises(UsageError, match=said):
            analyse_reference(TINY / "step0", **wrong)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_sampled_weight_that_is_not_finite(value):
    blocks = neox(np.random.default_rng(5), 12, 1)
    blocks[0][3][7, 30] = value
    weights = state_dict(blocks)
    with pytest.raises(BadInputError, match=rf"dense_4h_to_h.weight is {value} at \[7, 30\]"):
        analyse_reference(weights, sample_size=12, samples=30)
    found = analyse_reference(weights, sample_size=12, samples=30, nonfinite="drop")
    hit = [s.nonfinite for s in found.samples]
    assert set(hit) == {0, 1}  # all outputs and half of the hidden units are drawn each time
