"""What is wrong or questionable in the authors' procedure, and what the protocol does about it.

The numbers are those of docs/reference.md, "Defects". Each has a test here, and `test_the_table`
holds the page to that. Where a defect has nothing to answer to here, the docstring says why.
"""

import json
import math
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

import naive_reference
import neuromfa
from neuromfa import Protocol, analyse, analyse_reference, reference_emergence
from neuromfa.errors import BadInputError, UsageError
from neuromfa.reference.differences import forward_spectrum
from neuromfa.reference.emergence import degree_of_emergence
from neuromfa.reference.samples import TOLERANCE
from neuromfa_kernels import count_neighbours, radius_table
from sampled_models import STORED, TINY, agrees, neox, state_dict, tiny, widened

EXPECTED = TINY.parent
CASES = json.loads((EXPECTED / "cases.json").read_text(encoding="utf-8"))
NETWORKS = STORED["runs"]["T150"]["networks"]


def counts_of(weights, cutoff):
    table = radius_table(np.float64, cutoff)
    return count_neighbours(np.asarray(weights, np.float64), table, neuron_axis=1).counts


def of_lists(distances, cutoff=150.0):
    """Spectrum of hand-made lists of distances."""
    counts, _ = naive_reference.counts_of(distances, cutoff)
    return forward_spectrum(counts.astype(np.uint32), Protocol(cutoff=cutoff))


@pytest.fixture(scope="module")
def cases():
    with neuromfa.open_checkpoint(EXPECTED / "cases.safetensors") as checkpoint:
        yield {name: np.array(checkpoint.read(name), np.float64) for name in checkpoint.tensors}


def small(seed=1, D=24, L=1, **settings):
    """A small random model and its analysis by 12 units."""
    blocks = neox(np.random.default_rng(seed), D, L)
    defaults = {"sample_size": 12, "samples": 2, "fractal_dimensions": True}
    return blocks, analyse_reference(state_dict(blocks), **(defaults | settings))


def test_b1_alpha_0_is_a_tie():
    """Either quotient beside q = 0 may win; the record has the derivative, which lies between."""
    for network in NETWORKS:
        sample = tiny(network["step"]).samples[network["sample"]]
        assert sample.alpha_0_index in (29, 30)
        assert abs(sample.f[29]) < TOLERANCE
        assert abs(sample.f[30]) < TOLERANCE
        low, high = sorted(sample.alpha[29:31])
        assert low < sample.alpha_0_derivative < high
        assert agrees(sample.alpha_0, network["alpha"][sample.alpha_0_index])


def test_b2_forward_alpha_with_the_left_q_and_tau():
    sample, q = tiny(0).samples[0], Protocol().q
    for k in range(60):
        assert sample.alpha[k] == (sample.tau[k + 1] - sample.tau[k]) / (q[k + 1] - q[k])
        assert sample.f[k] == q[k] * sample.alpha[k] - sample.tau[k]
    assert len(sample.alpha) == len(q) - 1


def test_b3_measures_do_not_add_up_to_one(cases):
    """tau(0) = 0; tau need not be concave, and then f is positive, which the record shows."""
    assert all(abs(s.tau[30]) < 1e-12 for s in tiny(0).samples)
    stored = CASES["cases"]["edges.bf16"]["results"]["150"]
    found = forward_spectrum(counts_of(cases["edges.bf16"], 150.0), Protocol())
    assert found.index == stored["alpha0_k"] == 17
    assert found.f.max() > TOLERANCE
    record = tiny(0).to_dict()["samples"][0]
    assert record["f_max"] == max(record["f"]) <= TOLERANCE


def test_b4_filters_that_rounding_decides():
    """As published without a tolerance; beside it with one, and then nothing is dropped here."""
    for step in (0, 3000):
        analysis = tiny(step)
        rows = {(r["mode"], r["tolerance"]): r for r in analysis.filters()}
        assert set(rows) == {(0, 0), (1, 0), (1, TOLERANCE), (2, 0), (3, 0), (3, TOLERANCE)}
        for mode in (1, 3):
            noise = [s.sample for s in analysis.samples if not (s.f > 0).any()]
            assert rows[mode, 0]["kept"] == noise
            assert rows[mode, TOLERANCE]["kept"] == list(range(10))
    none = replace(tiny(0), samples=())
    assert all(math.isnan(value) for value in none.statistics().values())
    assert math.isnan(degree_of_emergence(math.nan, 1.0, first=(1.0, 1.0)))


def test_b5_mode_2_keeps_what_is_equal_to_its_limit():
    sample = tiny(0).samples[0]
    first = np.zeros(60)
    for step, kept in ((0.01, True), (np.nextafter(0.01, 1), False)):
        other = replace(sample, alpha=np.where(np.arange(60) == 20, step, first), f=first)
        assert other.passes(2) is kept
        assert other.passes(3) is kept
        assert other.passes(0)
        assert other.passes(1)


def test_b6_radii_are_the_union_over_counted_neurons():
    """One strong weight adds a radius of its own; the record lists the radii."""
    blocks, before = small()
    plan, _ = naive_reference.plan(24, 96, 1, S=12, sample=0)
    n1, t, _, _ = plan[0]
    blocks[0][0][t[0], n1[0]] = 0.5
    after = analyse_reference(state_dict(blocks), sample_size=12, samples=1).samples[0]
    assert set(after.radii.tolist()) - set(before.samples[0].radii.tolist()) == {2}


def test_b7_fit_quality_of_every_q():
    """The authors give it for the last q only; that one is theirs."""
    for network in NETWORKS:
        sample = tiny(network["step"]).samples[network["sample"]]
        assert math.sqrt(sample.r2[-1]) == pytest.approx(network["last_q_r"], rel=1e-12)
        assert sample.tau_stderr[-1] == pytest.approx(network["last_q_stderr"], rel=1e-11)
        assert np.isfinite(np.delete(sample.r2, 30)).all()


def test_b8_distances_are_float64_before_they_are_rounded():
    for dtype, radius in ((np.float32, 1), (np.float16, 2), (ml_dtypes.bfloat16, 1)):
        weight = np.full((11, 1), 2 / 3).astype(dtype)
        assert np.flatnonzero(counts_of(weight, 150.0)[:, 0]).tolist() == [radius - 1]


def test_b9_edges_out_of_range_are_reported():
    blocks, _ = small()
    blocks[0][1][:] = 2.0
    blocks[0][2][:] = 1e-4
    sample = analyse_reference(state_dict(blocks), sample_size=12, samples=1).samples[0]
    assert sample.edges_below == 12 * 12
    assert sample.edges_above >= 24 * 12
    assert sample.edges == sample.edges_in_range + sample.edges_below + sample.edges_above


def test_b10_counted_neurons_are_reported():
    _, found = small(cutoff=10.0)
    for sample in found.samples:
        assert 0 < sample.counted_neurons < sample.neurons == 60


@pytest.mark.parametrize("name", CASES["degenerate"])
def test_b11_undefined_is_said_and_nothing_crashes(name):
    case = CASES["degenerate"][name]
    found = of_lists(case["lists"], float(case["T"]))
    tau = np.array(case["tau"], np.float64)
    if not len(tau) or np.isnan(tau).any():
        assert found.fit.undefined
        assert found.index is None
        assert math.isnan(found.alpha_0)
    else:
        assert agrees(found.tau, tau)
        assert agrees(found.width, case["width"])


def test_b11_in_a_record():
    analysis = analyse_reference(TINY / "step0", sample_size=3, samples=2)
    record = json.loads(analysis.to_json())
    assert record["alpha_0_mean"] is None
    assert all(s["alpha_0"] is s["alpha_0_index"] is None for s in record["samples"])
    assert "no neuron has more than 10 edges" in record["samples"][0]["undefined"]
    emergence = json.loads(reference_emergence(analysis, analysis).to_json())
    assert emergence["degree"] is None
    assert "sample 0 has no exponents" in emergence["undefined"]


def test_b12_emergence_has_a_spread_and_a_named_baseline():
    found = reference_emergence(tiny(3000), tiny(0))
    assert found.baseline.endswith("step0")
    assert found.source.endswith("step3000")
    assert len(found.degrees) == 10
    assert found.degree_sd > 0
    assert found.degree != found.degree_mean  # a ratio of means is no mean of ratios
    other = reference_emergence(tiny(3000), tiny(64))
    assert other.degree != found.degree
    assert math.isnan(degree_of_emergence(1.0, -0.5, first=(1.0, 0.5)))


def test_b13_rows_of_queries_keys_and_values_as_published():
    """t, t + D, t + 2D, although GPT-NeoX interleaves them by heads; others by true layout."""
    blocks, found = small()
    assert "as published" in found.layout["attention_input"][0]
    lists = naive_reference.lists(widened(blocks), *naive_reference.plan(24, 96, 1, S=12, sample=0))
    assert agrees(found.samples[0].tau, naive_reference.spectrum(lists, 150)[0])
    # test_reference_layouts.py holds the other architectures to their layout


def test_b14_artificial_units_are_zeros_in_the_lists():
    _, found = small(L=2)
    values = found.samples[0].fractal_dimension.values
    assert len(values) == 2 * 8 * 12
    for block in (0, 96):
        assert (values[block + 12 : block + 48] == 0).all()
    assert found.samples[0].fractal_dimension.artificial == 2 * 36
    assert found.samples[0].artificial_edges == 2 * (12 + 2 * 12 * 12)


def test_b15_the_chain_is_sequential_as_published():
    """The MLP reads what the attention gives, also where the model computes both side by side."""
    config = json.loads((TINY / "step0" / "config.json").read_text(encoding="utf-8"))
    assert config["use_parallel_residual"] is True
    blocks, _ = small()
    plan, _ = naive_reference.plan(24, 96, 1, S=12, sample=0)
    n1, _, n4, _ = plan[0]
    unread = min(set(n1) - set(n4))
    other = [[m.copy() for m in matrices] for matrices in blocks]
    other[0][2][:, unread] = 7.0  # an MLP input that is a block input only
    records = [
        analyse_reference(state_dict(b), sample_size=12, samples=1).to_dict()["samples"]
        for b in (blocks, other)
    ]
    assert records[0] == records[1]


def test_b16_samples_of_different_sizes_are_not_mixed():
    larger = analyse_reference(TINY / "step3000", sample_size=64)
    with pytest.raises(UsageError, match=r"protocol differs \(sample_size\)"):
        reference_emergence(larger, tiny(0))
    whole = analyse(TINY / "step0").network.alpha_0
    assert tiny(0).statistics()["alpha_0_mean"] < 0.8 * whole


def test_b17_neurons_without_an_edge_leave_no_place_in_the_lists():
    """As published; in the exact protocol positions are indices and the value is NaN."""
    blocks, before = small()
    plan, _ = naive_reference.plan(24, 96, 1, S=12, sample=0)
    gone = sorted(plan[0][0])[3]
    blocks[0][0][:, gone] = 0
    after = analyse_reference(
        state_dict(blocks), sample_size=12, samples=1, fractal_dimensions=True
    ).samples[0]
    values = before.samples[0].fractal_dimension.values
    assert after.fractal_dimension.values.tolist() == np.delete(values, 3).tolist()
    assert after.fractal_dimension.lists == 95
    assert after.zeros == 36
    exact = analyse(state_dict(blocks), fractal_dimensions=True)
    dimensions = exact.fractal_dimensions["0.attention_input"]
    assert np.flatnonzero(np.isnan(dimensions)).tolist() == [gone]


def test_b18_sizes_and_names_are_those_of_the_checkpoint():
    """A bare model has no prefix, and hidden units need not be four times as many."""
    blocks = neox(np.random.default_rng(3), 24, 1, I=50)
    named, bare = (
        analyse_reference(state_dict(blocks, prefix), sample_size=12, samples=2)
        for prefix in ("gpt_neox.", "")
    )
    assert named.sizes["hidden"] == [50]
    assert named.to_dict()["samples"] == bare.to_dict()["samples"]
    plan = naive_reference.plan(24, 50, 1, S=12, sample=1)
    assert named.samples[1].plan_sha256 == naive_reference.digest(*plan, 24)


def test_b19_neurons_are_inputs_only():
    """Five kinds of units read something; the outputs of the last block do not, and have no list.

    The fan-in of outputs is never looked at: exchanging outputs changes nothing.
    """
    blocks, found = small()
    assert found.samples[0].neurons == 5 * 12
    _, last = naive_reference.plan(24, 96, 1, S=12, sample=0)
    blocks[0][3][last] = blocks[0][3][last[::-1]]
    after = analyse_reference(state_dict(blocks), sample_size=12, samples=1).samples[0]
    assert after.tau.tolist() == found.samples[0].tau.tolist()


def test_b20_bfloat16_is_read():
    blocks = neox(np.random.default_rng(3), 24, 1, dtype=ml_dtypes.bfloat16)
    wide = [[m.astype(np.float32) for m in matrices] for matrices in blocks]
    records = [
        analyse_reference(state_dict(b), sample_size=12, samples=2).to_dict()["samples"]
        for b in (blocks, wide)
    ]
    assert records[0] == records[1]


def test_b21_zeros_stand_for_undefined_in_published_lists_only():
    _, found = small()
    inner = found.samples[0].fractal_dimension
    values = inner.values
    assert inner.mean == values.mean()
    assert inner.median == np.median(values)
    assert inner.min == 0
    defined = values[values != 0]
    assert inner.defined == len(defined) < inner.lists == len(values)
    assert inner.defined_mean == pytest.approx(defined.mean(), rel=1e-14)
    assert inner.defined_mean > inner.mean


def test_b22_dimensions_have_bounds_of_their_own():
    """0 < d <= 200, each neuron over its own radii."""
    _, near = small(cutoff=20.0)
    _, far = small(cutoff=150.0)
    for a, b in zip(near.samples, far.samples, strict=True):
        values = b.fractal_dimension.values
        assert a.fractal_dimension.values.tolist() == values.tolist()
        assert a.tau.tolist() != b.tau.tolist()
    assert near.protocol["dimension_cutoff"] == 200
    blocks, _ = small()
    lists = naive_reference.lists(widened(blocks), *naive_reference.plan(24, 96, 1, S=12, sample=0))
    assert agrees(
        far.samples[0].fractal_dimension.values, naive_reference.fractal_dimensions(lists)
    )


def test_b23_radii_are_whole_numbers():
    """The authors' two ways of rounding differ for decimals; there is no setting for those."""
    assert "digits" not in tiny(0).protocol
    assert all(isinstance(r, int) for r in tiny(0).to_dict()["samples"][0]["radii"])
    with pytest.raises(TypeError, match="digits"):
        analyse_reference(TINY / "step0", digits=1)


def test_b24_the_procedure_can_be_imported_and_run():
    assert sys.modules["neuromfa.reference.procedure"].analyse_reference is analyse_reference
    assert len(tiny(0).samples) == 10


def test_b25_sizes_come_from_the_model_and_not_from_a_list(tmp_path):
    sizes = tiny(0).sizes
    config = json.loads((TINY / "step0" / "config.json").read_text(encoding="utf-8"))
    assert sizes["inputs"] == [config["hidden_size"]] * config["num_hidden_layers"]
    assert sizes["hidden"] == [config["intermediate_size"]] * config["num_hidden_layers"]
    save_file(state_dict(neox(np.random.default_rng(1), 24, 2)), tmp_path / "model.safetensors")
    for name, value in (("hidden_size", 128), ("num_hidden_layers", 6)):
        record = {"model_type": "gpt_neox", name: value}
        (tmp_path / "config.json").write_text(json.dumps(record))
        with pytest.raises(BadInputError, match=f"config.json says {name} {value}"):
            analyse_reference(tmp_path, sample_size=12)


def test_b26_no_numbers_of_units_are_shifted():
    """Nothing to answer to: units are known by layer and index; no numbers of graph nodes exist.

    What could go wrong, that a block is read with the units of another, is tried here.
    """
    blocks, found = small(L=3)
    for sample in found.samples:
        plan = naive_reference.plan(24, 96, 3, S=12, sample=sample.sample)
        lists = naive_reference.lists(widened(blocks), *plan)
        assert sample.edges + sample.artificial_edges == sum(map(len, lists))
        assert agrees(sample.tau, naive_reference.spectrum(lists, 150)[0])


def test_b27_any_revision_is_analysed_under_its_own_name(tmp_path):
    """Nothing to answer to: no list of steps is built in, so none is missing or renamed."""
    folder = shutil.copytree(TINY / "step64", tmp_path / "step140000")
    assert analyse_reference(folder, sample_size=12, samples=1).source.endswith("step140000")


def test_b28_one_number_of_samples_for_spectra_and_dimensions():
    _, found = small(samples=7)
    assert [s.sample for s in found.samples] == list(range(7))
    assert all(s.fractal_dimension.lists == 96 for s in found.samples)
    assert found.protocol["samples"] == 7


def test_b29_results_carry_their_settings():
    """No cache: a record that was made in another way is refused, and says in what it differs."""
    other = analyse_reference(TINY / "step0", sample_size=32, cutoff=200.0, samples=9)
    with pytest.raises(UsageError, match=r"protocol differs \(samples, cutoff\)"):
        reference_emergence(tiny(3000), other)


def test_b30_checkpoints_are_paired_by_name():
    """E is asked of two named analyses; their order in a list means nothing."""
    found = {step: reference_emergence(tiny(step), tiny(0)).degree for step in (3000, 0, 64)}
    assert found[0] == 0 < found[64] < found[3000]


def test_b31_nothing_is_read_from_the_name_of_a_model(tmp_path):
    """Nothing to answer to: no size is parsed from a name, and no area is taken over alpha."""
    folder = shutil.copytree(TINY / "step64", tmp_path / "pythia-1.4b-step1000")
    found = analyse_reference(folder, sample_size=32)
    assert found.sizes["inputs"] == [128] * 6
    assert found.to_dict()["samples"] == tiny(64).to_dict()["samples"]


def test_the_table():
    """The page names every defect once, and each has its test here."""
    page = (Path(__file__).parent.parent / "docs" / "reference.md").read_text(encoding="utf-8")
    rows = [int(n) for n in re.findall(r"^\| B(\d+) \|", page, re.MULTILINE)]
    assert rows == list(range(1, 32))
    tested = {int(m[1]) for name in globals() if (m := re.match(r"test_b(\d+)_", name))}
    assert tested == set(rows)
