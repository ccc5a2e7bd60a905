"""The verbs graph and network, as a person types them."""

import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import networkx as nx
import pyarrow.parquet as pq
import pytest

import neuromfa

MODEL = str(Path(__file__).parent / "expected" / "tiny-neox" / "step64")


def run(*words, code=0):
    done = subprocess.run(
        [sys.executable, "-m", "neuromfa", *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stderr
    return done.stdout if code == 0 else done.stderr


@pytest.fixture
def karate(tmp_path):
    path = tmp_path / "karate.graphml"
    nx.write_graphml(nx.karate_club_graph(), path)
    return path


def test_a_graph_is_analysed(karate, tmp_path):
    out, plot = tmp_path / "out", tmp_path / "spectrum.png"
    printed = run("graph", karate, "--against", karate, "--output", out, "--plot", plot)
    assert "structure distance 0.0000" in printed
    assert "karate.graphml" in printed
    assert plot.read_bytes().startswith(b"\x89PNG")
    record = json.loads((out / "graph.json").read_text())
    expected = neuromfa.analyse_graph(nx.karate_club_graph())
    assert record["tau"] == expected.tau.tolist()
    assert neuromfa.GraphAnalysis.from_dict(record).alpha_0 == expected.alpha_0
    assert pq.read_table(out / "spectrum.parquet").num_rows == 201
    dimensions = pq.read_table(out / "node_dimensions.parquet").column("node_dimension")
    assert dimensions.to_pylist() == expected.node_dimensions.tolist()
    jsonschema.validate(record, neuromfa.schema("graph"))


def test_a_graph_has_a_report(karate, tmp_path):
    run("graph", karate, "--sources", "20", "--output", tmp_path, "--quiet")
    written = run("report", tmp_path, "-o", tmp_path / "a.html", "--figures", tmp_path,
                  "--format", "svg")  # fmt: skip
    text = (tmp_path / "a.html").read_text()
    assert written.strip().endswith("a.html")
    assert "<h1>karate.graphml</h1>" in text
    assert "Scientific Reports 11, 22964 (2021)" in text
    for name in ("spectrum", "generalised-dimensions", "fits", "dimensions"):
        assert f'id="{name}"' in text
        assert (tmp_path / f"{name}.svg").read_text().startswith("<svg")
    run("report", tmp_path / "graph.json", "-o", tmp_path / "b.html")
    assert (tmp_path / "b.html").read_text() == text
    one_radius = tmp_path / "one"
    nx.write_graphml(nx.complete_graph(5), tmp_path / "five.graphml")
    run("graph", tmp_path / "five.graphml", "--output", one_radius, "--quiet")
    run("report", one_radius, "-o", tmp_path / "c.html")
    assert "a slope needs two radii" in (tmp_path / "c.html").read_text()
    (one_radius / "graph.json").write_text("{}")
    assert "graph record: is None" in run("report", one_radius, code=5)


def test_options_reach_the_protocol(karate):
    options = {
        "--q": "-2:2:0.5",
        "--digits": "1",
        "--sources": "20",
        "--seed": "3",
        "--share": "0.9",
        "--radii": "1:6",
        "--differences": "forward",
    }
    words = [word for pair in options.items() for word in pair]
    record = json.loads(run("graph", karate, "--weighted", "--json", *words))
    protocol = neuromfa.GraphProtocol(
        q=neuromfa.q_grid(-2, 2, 0.5), weighted=True, digits=1, sources=20, seed=3, share=0.9,
        radii=(1, 6), differences="forward",
    )  # fmt: skip
    expected = neuromfa.analyse_graph(nx.karate_club_graph(), protocol)
    assert record["protocol"] == protocol.to_dict()
    assert record["measured"] == 20
    assert record["interval"]["alpha_0"] == expected.interval["alpha_0"]
    assert max(record["radii"]) <= 6


def test_errors_are_sentences(karate, tmp_path):
    assert "no such file" in run("graph", tmp_path / "a.csv", code=5)
    assert "--radii 3: write FIRST:LAST" in run("graph", karate, "--radii", "3", code=2)
    assert "must lie in -15:15" in run("graph", karate, "--q", "-20:20:1", code=2)
    error = run("graph", karate, "--memory", "5K", code=6)
    assert "a search in 34 nodes takes 6,800 bytes" in error
    assert "raise --memory" in error


def test_a_network_is_written(tmp_path):
    path = tmp_path / "edges.parquet"
    printed = run("network", MODEL, "--layer", "0.mlp_*", "--min-weight", "0.1", "--output", path)
    table = pq.read_table(path)
    assert f"{table.num_rows:,} edges" in printed
    assert min(map(abs, table.column("weight").to_pylist())) >= 0.1
    assert set(table.column("layer").to_pylist()) == {"0.mlp_input", "0.mlp_hidden"}
    assert "ends in .parquet or .csv" in run("network", MODEL, "--output", "x.txt", code=2)


def test_hops_of_a_model(tmp_path):
    path = tmp_path / "hops.json"
    words = ("hops", MODEL, "--layer", "0.mlp_input", "--q", "-1:1:1", "--output", path)
    printed = run(*words)
    assert "2 hops along paper_chain" in printed
    record = json.loads(path.read_text())
    expected = neuromfa.analyse_hops(
        MODEL, 2, neuromfa.Protocol(q=(-1.0, 0.0, 1.0)), layers=["0.mlp_input"]
    )
    assert record["layers"] == expected.to_dict()["layers"]
    printed = json.loads(run(*words[:-2], "--hops", "1", "--json"))
    assert printed["protocol"]["hops"] == 1
    assert "±" in run(*words[:-2], "--share", "0.3", "--seed", "2", "--radii", "all")
    assert "hops 0" in run(*words, "--hops", "0", code=2)
