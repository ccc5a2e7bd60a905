"""Controls and null models against weights that really were changed."""

import json
from pathlib import Path

import numpy as np
import pytest

from neuromfa import Controls, Protocol, UsageError, analyse, measure_controls
from neuromfa.emergence import altered

TINY = Path(__file__).parent / "expected" / "tiny-neox"
PROTOCOL = Protocol(cutoff=60, q=(-2.0, -1.0, 0.0, 1.0, 2.0))


def model(seed, scale=0.03, dtype=np.float16, neurons=40):
    rng = np.random.default_rng(seed)
    return {
        f"model.layers.{block}.mlp.{name}.weight": (
            scale * (1 + block) * rng.standard_t(5, (64, neurons))
        ).astype(dtype)
        for block in range(3)
        for name in ("gate_proj", "up_proj", "down_proj")
    }


def fitted(analysis):
    return {
        (kind, g.name): {"alpha_0": g.alpha_0, "width": g.width, "undefined": g.undefined}
        for kind, g in analysis.groups()
        if kind != "layers"
    }


def rescaled(tensors, others):
    """Float64 tensors with the root mean squares of others."""
    rms = {
        k: [np.sqrt(np.mean(x[k].astype(np.float64) ** 2)) for x in (tensors, others)]
        for k in tensors
    }
    return {k: w.astype(np.float64) * (rms[k][1] / rms[k][0]) for k, w in tensors.items()}


@pytest.fixture(scope="module")
def controls():
    return measure_controls(model(1), model(0, 0.02), PROTOCOL, replicates=3, seed=7)


@pytest.mark.parametrize("name", ["scale", "scale_free"])
def test_rescaling_is_that_of_stored_products(controls, name):
    current, baseline = model(1), model(0, 0.02)
    tensors = rescaled(baseline, current) if name == "scale" else rescaled(current, baseline)
    for key, expected in fitted(analyse(tensors, PROTOCOL)).items():
        found = controls.group(*key)[name]
        assert found["undefined"] is None
        # a root mean square may differ in its last bit, and then some weight by a radius
        assert found["alpha_0"] == pytest.approx(expected["alpha_0"], rel=1e-6)
        assert found["width"] == pytest.approx(expected["width"], rel=1e-6)


def test_value_has_the_bits_of_the_analysis(controls):
    for key, expected in fitted(analyse(model(1), PROTOCOL)).items():
        for of in ("alpha_0", "width"):
            assert controls.group(*key)["shuffled"][of]["value"] == expected[of]


def test_shuffled_and_gaussian_are_like_weights_that_were():
    current, rng, n = model(2, neurons=80), np.random.default_rng(0), 30
    found = measure_controls(current, current, PROTOCOL, replicates=n).group("network", "network")
    for name in ("shuffled", "gaussian"):
        drawn = []
        for _ in range(n):
            tensors = {k: w.astype(np.float64) for k, w in current.items()}
            if name == "shuffled":
                tensors = {
                    k: rng.permutation(w.ravel()).reshape(w.shape) for k, w in tensors.items()
                }
            else:
                tensors = {k: rng.normal(w.mean(), w.std(), w.shape) for k, w in tensors.items()}
            drawn.append(analyse(tensors, PROTOCOL).network.alpha_0)
        error = np.hypot(np.std(drawn, ddof=1), found[name]["alpha_0"]["sd"]) / np.sqrt(n)
        assert found[name]["alpha_0"]["mean"] == pytest.approx(np.mean(drawn), abs=4 * error)
        assert found[name]["alpha_0"]["sd"] == pytest.approx(np.std(drawn, ddof=1), rel=0.6)


def test_statistics_of_the_replicates(controls):
    for group in controls.groups:
        for name in ("shuffled", "gaussian"):
            for of in ("alpha_0", "width"):
                values, found = group[name]["replicates"][of], group[name][of]
                assert len(set(values)) == 3
                assert found["mean"] == pytest.approx(np.mean(values))
                assert found["sd"] == pytest.approx(np.std(values, ddof=1))
                assert found["z"] == pytest.approx((found["value"] - found["mean"]) / found["sd"])


def test_resources_change_no_bit():
    tensors = model(1, neurons=2100), model(0, neurons=2100)
    settings = {"replicates": 2, "seed": 1}
    first = measure_controls(*tensors, PROTOCOL, threads=1, memory=3 << 20, **settings)
    second = measure_controls(*tensors, PROTOCOL, threads=3, **settings)
    assert first.to_json() == second.to_json()


def test_kept_pools_change_no_bit(controls, monkeypatch):
    monkeypatch.setattr(altered, "KEPT", 0)
    again = measure_controls(model(1), model(0, 0.02), PROTOCOL, replicates=3, seed=7)
    assert again.to_json() == controls.to_json()


def test_seeds_change_the_draws_only(controls):
    other = measure_controls(model(1), model(0, 0.02), PROTOCOL, replicates=3, seed=8)
    for a, b in zip(controls.groups, other.groups, strict=True):
        assert a["scale"] == b["scale"]
        assert a["shuffled"]["replicates"] != b["shuffled"]["replicates"]


def test_record_survives_its_json(controls):
    record = json.loads(controls.to_json())
    assert Controls.from_dict(record).to_json() == controls.to_json()
    assert (record["seed"], record["replicates"]) == (7, 3)
    assert record["content_hash"] == analyse(model(1), PROTOCOL).provenance["content_hash"]


def test_relative_distances_see_no_scale():
    protocol = Protocol(distance="relative")
    current, baseline = model(1), model(0, 0.001)
    found = measure_controls(current, baseline, protocol, replicates=0)
    for key, expected in fitted(analyse(baseline, protocol)).items():
        assert found.group(*key)["scale"] == expected
    for key, expected in fitted(analyse(current, protocol)).items():
        assert found.group(*key)["scale_free"] == expected
        assert np.isnan(found.group(*key)["shuffled"]["alpha_0"]["mean"])


def test_a_tensor_that_begins_as_zeros():
    current, baseline = model(1), model(0)
    name = "model.layers.1.mlp.down_proj.weight"
    baseline[name] = np.zeros_like(baseline[name])
    found = measure_controls(current, baseline, PROTOCOL, replicates=0)
    empty = {**rescaled({k: w for k, w in current.items() if k != name}, baseline)}
    empty[name] = np.zeros(current[name].shape)
    expected = fitted(analyse(empty, PROTOCOL))["roles", "mlp_hidden"]
    got = found.group("roles", "mlp_hidden")["scale_free"]
    assert got["alpha_0"] == pytest.approx(expected["alpha_0"], rel=1e-6)


def test_other_models_are_refused():
    with pytest.raises(UsageError, match=r"layer 0\.mlp_input is not the same in both"):
        measure_controls(model(1), model(1, neurons=39), PROTOCOL)
    for settings in ({"seed": -1}, {"replicates": 0.5}):
        with pytest.raises(UsageError, match="must be a whole number, not negative"):
            measure_controls(model(1), model(0), PROTOCOL, **settings)


def test_controls_of_a_trained_model():
    found = measure_controls(TINY / "step3000", TINY / "step0", replicates=4).group(
        "network", "network"
    )
    # definitions, weight scale: alpha_0 and width under each control
    for name, alpha_0, width in (("scale", 0.878, 0.482), ("scale_free", 1.280, 0.870)):
        assert found[name]["alpha_0"] == pytest.approx(alpha_0, abs=6e-4)
        assert found[name]["width"] == pytest.approx(width, abs=6e-4)
    shuffled = found["shuffled"]
    assert shuffled["alpha_0"]["mean"] == pytest.approx(0.9235, abs=5e-4)
    assert shuffled["width"]["mean"] == pytest.approx(0.458, abs=0.01)
    assert shuffled["width"]["z"] > 10  # the trained network is wider than its shuffled weights
