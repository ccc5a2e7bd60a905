"""Figures show what was fitted; what cannot be drawn is refused before the work."""

from pathlib import Path

import numpy as np
import pytest

from neuromfa import ResourceError, UsageError, analyse
from neuromfa.reports import pictures


@pytest.fixture(scope="module")
def analysis():
    rng = np.random.default_rng(0)
    return analyse({f"h.{b}.w": rng.normal(0, 0.05, (60, 30)).astype(np.float32) for b in range(3)})


@pytest.mark.parametrize(
    ("ending", "start"), [(".png", b"\x89PNG"), (".pdf", b"%PDF"), (".svg", b"<svg")]
)
def test_every_format(analysis, tmp_path, ending, start):
    path = tmp_path / f"figure{ending}"
    pictures.plot(analysis, path)
    assert path.read_bytes().startswith(start)
    assert list(tmp_path.iterdir()) == [path]


def test_the_figure_is_drawn_from_the_numbers(analysis, tmp_path):
    pictures.plot(analysis, tmp_path / "figure.svg")
    text = (tmp_path / "figure.svg").read_text()
    assert "f(α)" in text
    assert "ln Z_q(r)" in text
    assert "var(--" not in text
    again = tmp_path / "again.svg"
    pictures.plot(analysis, again)
    assert again.read_text() == text


def test_fits_pass_through_their_points(analysis):
    # the line that is drawn is the one that was fitted: residuals are as small as r2 says
    network = analysis.network
    x = np.log(network.radii / network.radii[-1])
    lines = network.intercept[:, None] + network.tau[:, None] * x
    y = analysis.log_partition_function
    rss, total = ((y - lines) ** 2).sum(1), ((y - y.mean(1, keepdims=True)) ** 2).sum(1)
    known = ~np.isnan(network.r2)
    np.testing.assert_allclose(1 - rss[known] / total[known], network.r2[known], rtol=1e-9)


def test_refusals(analysis, tmp_path, monkeypatch):
    with pytest.raises(UsageError, match=r"figure.gif: a figure's name ends in .png, .pdf, .svg"):
        pictures.check(Path("figure.gif"))
    empty = analyse({"w": np.full((3, 4), 0.1, np.float32)})
    with pytest.raises(UsageError, match="nothing to draw; no neuron has more than 10 edges"):
        pictures.plot(empty, tmp_path / "figure.png")
    monkeypatch.setattr(pictures, "find_spec", lambda _: None)
    with pytest.raises(ResourceError, match=r"pip install 'neuromfa\[report\]'"):
        pictures.check(Path("figure.png"))
