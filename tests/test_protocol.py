"""The protocol refuses what makes no sense and keeps what it is given."""

import pytest

from neuromfa.errors import UsageError
from neuromfa.protocol import Protocol, q_grid


def test_default_grid_is_the_papers_and_holds_zero_exactly():
    q = Protocol().q
    assert len(q) == 61
    assert (q[0], q[30], q[60]) == (-3.0, 0.0, 3.0)
    assert q == tuple(round(k / 10, 1) for k in range(-30, 31))


def test_grid_of_any_step():
    assert q_grid(0, 1, 0.25) == (0.0, 0.25, 0.5, 0.75, 1.0)
    assert q_grid(2, 2, 1) == (2.0,)


@pytest.mark.parametrize("arguments", [(1, 0, 0.1), (0, 1, 0), (0, 1, -1), (0, float("inf"), 1)])
def test_senseless_grid(arguments):
    with pytest.raises(UsageError, match="needs first <= last and a positive step"):
        q_grid(*arguments)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"cutoff": 1.0}, "cutoff 1: must be above 1 and at most 4000"),
        ({"cutoff": 4001}, "cutoff 4001: must be above 1 and at most 4000"),
        ({"cutoff": float("nan")}, "cutoff nan: must be above 1 and at most 4000"),
        ({"q": ()}, "q: the list is empty"),
        ({"q": (1.0, 1.0)}, "q: the moments must be strictly increasing"),
        ({"q": (0.0, float("inf"))}, "q: every moment must be finite"),
        ({"min_neighbours": -1}, "min_neighbours -1: must be a whole number"),
        ({"radii": "some"}, "radii 'some': must be one of observed, all"),
        ({"experts": "none"}, "experts 'none': must be one of joint, separate"),
        ({"distance": "log"}, "distance 'log': must be one of inverse, relative"),
        ({"relative_scale": 50}, "relative_scale 50: only for distance relative"),
        ({"distance": "relative", "relative_scale": 0}, "relative_scale 0: must be positive"),
        ({"include": ("norm",)}, "include norm: can be convolution, embedding, head, position"),
    ],
)
def test_senseless_settings(settings, sentence):
    with pytest.raises(UsageError) as raised:
        Protocol(**settings)
    assert sentence in str(raised.value)


def test_largest_radius_is_the_cutoff_rounded_half_to_even():
    assert [Protocol(cutoff=t).n_radii for t in (150, 150.5, 151.5, 1.5)] == [150, 150, 152, 2]


def test_record_is_plain():
    record = Protocol(include=("head", "embedding", "head")).to_dict()
    assert record["include"] == ["embedding", "head"]
    assert isinstance(record["q"], list)


def test_a_relative_distance_states_its_scale():
    assert Protocol().to_dict()["relative_scale"] is None
    assert Protocol(distance="relative").to_dict()["relative_scale"] == 50.0
    assert Protocol(distance="relative", relative_scale=8).relative_scale == 8.0
