"""Exponents, spectrum and jackknife: by pencil, and against the oracle."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import naive
from neuromfa.jackknife import jackknife
from neuromfa.multifractal import PartitionSums, mass_exponents, moments, spectrum
from neuromfa.protocol import Protocol

PROTOCOL = Protocol(cutoff=20)
AGREEMENT = {"rtol": 1e-9, "atol": 1e-11}  # two orders of summation of the same formula


def sums_of(counts, protocol=PROTOCOL):
    """Partition sums of neighbour counts [radii, neurons], by the oracle."""
    q = moments(protocol)
    Z, Z_log, counted, observed = naive.partition_function(counts, q, protocol.min_neighbours)
    return PartitionSums(
        q,
        np.array(Z),
        np.array(Z_log),
        np.array(observed),
        neurons=counts.shape[1],
        counted=counted,
        edges=int(counts.sum()),
    )


def random_counts(seed, neurons=30, radii=20, mean=3.0):
    return np.random.default_rng(seed).poisson(mean, (radii, neurons))


def test_power_law_measure_is_monofractal():
    # Every neuron has N(r) = r^2, so Z_q(r) = n (r/R)^(2q): tau = 2q, alpha = 2 and f = 0.
    squares = np.arange(1, 21) ** 2
    counts = np.repeat(np.diff(squares, prepend=1)[:, None], 7, axis=1)
    sums = sums_of(counts)
    exponents = mass_exponents(sums, PROTOCOL)
    # radius 1 has no edge, so it is no point of the fit
    assert exponents.radii.tolist() == list(range(2, 21))
    np.testing.assert_allclose(exponents.tau, 2 * sums.q, atol=1e-12)
    np.testing.assert_allclose(exponents.tau_stderr, 0, atol=1e-7)
    curve = spectrum(sums, exponents, PROTOCOL)
    np.testing.assert_allclose(curve.alpha, 2, rtol=1e-12)
    np.testing.assert_allclose(curve.f, 0, atol=1e-12)
    np.testing.assert_allclose(curve.generalised_dimension, 2, rtol=1e-12)
    np.testing.assert_allclose(curve.specific_heat, 0, atol=1e-10)
    assert curve.alpha_0 == pytest.approx(2)
    assert curve.width == pytest.approx(0, abs=1e-12)
    assert curve.concave is True


def test_two_kinds_of_neurons_give_a_width():
    # N(r) = r and N(r) = r^3: alpha_0 is the mean of 1 and 3; large q sees the first, small q the
    # second kind.
    one, three = (np.diff(np.arange(1, 21) ** k, prepend=1) for k in (1, 3))
    counts = np.stack([one, three], axis=1)
    sums = sums_of(counts)
    curve = spectrum(sums, mass_exponents(sums, PROTOCOL), PROTOCOL)
    assert curve.alpha_0 == pytest.approx(2, rel=1e-12)
    assert curve.alpha[-1] < 2 < curve.alpha[0]
    assert curve.concave is False  # nothing makes tau concave: see definitions, section 4


@given(st.integers(0, 999), st.sampled_from(["observed", "all"]))
def test_agrees_with_the_oracle(seed, radii):
    protocol = Protocol(cutoff=20, radii=radii)
    counts = random_counts(seed, mean=1.0)
    sums = sums_of(counts, protocol)
    exponents = mass_exponents(sums, protocol)
    expected = naive.mass_exponents(sums.Z, exponents.radii, sums.q)
    np.testing.assert_allclose(exponents.tau, expected, **AGREEMENT)
    curve = spectrum(sums, exponents, protocol)
    alpha, f, alpha_0, width = naive.spectrum(sums.Z, sums.Z_log, exponents.radii, sums.q)
    np.testing.assert_allclose(curve.alpha, alpha, **AGREEMENT)
    np.testing.assert_allclose(curve.f, f, **AGREEMENT)
    assert curve.alpha_0 == pytest.approx(alpha_0, rel=1e-9)
    assert curve.width == pytest.approx(width, rel=1e-9)


@given(st.integers(0, 999))
def test_identities(seed):
    sums = sums_of(random_counts(seed))
    exponents = mass_exponents(sums, PROTOCOL)
    curve = spectrum(sums, exponents, PROTOCOL)
    at_zero = sums.q == 0
    assert exponents.tau[at_zero] == 0
    assert curve.f[at_zero] == 0
    assert np.isnan(exponents.r2[at_zero]).all()
    if curve.concave:
        assert np.argmax(curve.f) == np.flatnonzero(at_zero)[0]
    # alpha is the derivative of tau
    np.testing.assert_allclose(
        curve.alpha[1:-1], np.gradient(exponents.tau, sums.q)[1:-1], rtol=0.02, atol=2e-3
    )


def test_moments_hold_zero_once_and_alpha_0_does_not_need_it_asked_for():
    with_zero = Protocol(cutoff=20, q=(-1.0, 0.0, 1.0))
    without = Protocol(cutoff=20, q=(-1.0, 1.0))
    assert moments(with_zero).tolist() == moments(without).tolist() == [-1.0, 0.0, 1.0]
    sums = sums_of(random_counts(1), without)
    curves = [spectrum(sums, mass_exponents(sums, p), p) for p in (with_zero, without)]
    assert curves[0].alpha_0 == curves[1].alpha_0
    assert curves[0].width == pytest.approx(curves[1].width)  # the ends are the same


@pytest.mark.parametrize(
    ("counts", "reason"),
    [
        (np.zeros((20, 3), int), "no neuron has more than 10 edges with 1 < d <= cutoff"),
        (np.eye(20, 3, dtype=int) * 10, "no neuron has more than 10 edges with 1 < d <= cutoff"),
        (
            np.vstack([np.full((1, 3), 11), np.zeros((19, 3), int)]),
            "a slope needs two radii, and counted neurons have edges at 1",
        ),
    ],
)
def test_undefined_has_a_reason(counts, reason):
    sums = sums_of(counts)
    exponents = mass_exponents(sums, PROTOCOL)
    curve = spectrum(sums, exponents, PROTOCOL)
    assert exponents.undefined == reason
    assert np.isnan(exponents.tau).all()
    assert np.isnan(curve.alpha_0)
    assert curve.concave is None


def test_two_radii_are_enough_and_leave_no_standard_error():
    counts = np.zeros((20, 3), int)
    counts[[3, 8]] = [[5, 6, 9], [7, 8, 9]]
    exponents = mass_exponents(sums_of(counts), PROTOCOL)
    assert exponents.radii.tolist() == [4, 9]
    assert np.isfinite(exponents.tau).all()
    assert np.isnan(exponents.tau_stderr).all()


@given(st.integers(0, 99), st.integers(1, 29))
def test_sums_add_and_subtract(seed, split):
    counts = random_counts(seed)
    left, right = sums_of(counts[:, :split]), sums_of(counts[:, split:])
    whole = left + right
    expected = sums_of(counts)
    np.testing.assert_allclose(whole.Z, expected.Z, rtol=1e-13)
    assert (whole.neurons, whole.counted, whole.edges) == (30, expected.counted, expected.edges)
    assert (whole.observed == expected.observed).all()
    back = whole - right
    np.testing.assert_allclose(back.Z, left.Z, rtol=1e-12)
    assert (back.observed == left.observed).all()
    empty = PartitionSums.empty(whole.q, 20)
    assert ((empty + whole).Z == whole.Z).all()


def test_jackknife_is_the_textbook_formula():
    parts = [sums_of(random_counts(seed)) for seed in range(5)]
    total = sum(parts[1:], parts[0])
    found = jackknife(
        total,
        {str(k): part for k, part in enumerate([*parts, PartitionSums.empty(total.q, 20)])},
        PROTOCOL,
    )
    alphas = []
    for k in range(5):
        rest = sums_of(np.hstack([random_counts(seed) for seed in range(5) if seed != k]))
        alphas.append(spectrum(rest, mass_exponents(rest, PROTOCOL), PROTOCOL).alpha_0)
    expected = np.sqrt(4 / 5 * np.sum((np.array(alphas) - np.mean(alphas)) ** 2))
    assert found.left_out == ("0", "1", "2", "3", "4")
    np.testing.assert_allclose(found.alpha_0, alphas, **AGREEMENT)
    assert found.alpha_0_stderr == pytest.approx(expected, rel=1e-9)
    assert found.tau_stderr[total.q == 0] == 0
    assert found.width_stderr > 0


def test_jackknife_needs_two_parts_that_count():
    part = sums_of(random_counts(0))
    empty = PartitionSums.empty(part.q, 20)
    assert jackknife(part, {"one": part}, PROTOCOL) is None
    assert jackknife(part, {"one": part, "empty": empty}, PROTOCOL) is None
