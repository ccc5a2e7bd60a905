"""The command line as a user runs it: what is printed where, and with which exit code."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from safetensors.numpy import save_file

import neuromfa

MODEL = Path(__file__).parent / "expected" / "tiny-neox" / "step64"


def neuromfa_cli(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "neuromfa", *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1", **environment},
        check=False,
    )


def test_json_goes_to_standard_output_and_nothing_else():
    done = neuromfa_cli("analyse", MODEL, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    record = json.loads(done.stdout)
    jsonschema.validate(record, neuromfa.schema())
    assert record["network"]["neurons"] == 5376
    assert record["source"] == str(MODEL)


def test_american_spelling_and_table():
    done = neuromfa_cli("analyze", MODEL)
    assert (done.returncode, done.stderr) == (0, "")
    for text in ("gpt_neox", "alpha_0", "width", "role mlp_hidden", "block 5", "5,376"):
        assert text in done.stdout
    assert "\x1b" not in done.stdout  # no colours where there is no terminal


def test_settings_reach_the_protocol():
    done = neuromfa_cli(
        "analyse", MODEL, "--json", "--cutoff", "99.5", "--q", "-1,0,2.5", "--min-neighbours", "3",
        "--radii", "all", "--experts", "separate", "--nonfinite", "drop", "--include", "head",
        "--include", "embedding", "--distance", "relative", "--relative-scale", "20",
        "--threads", "1", "--memory", "64M",
    )  # fmt: skip
    record = json.loads(done.stdout)
    assert record["protocol"] == {
        "cutoff": 99.5,
        "min_neighbours": 3,
        "q": [-1.0, 0.0, 2.5],
        "radii": "all",
        "experts": "separate",
        "nonfinite": "drop",
        "include": ["embedding", "head"],
        "distance": "relative",
        "relative_scale": 20.0,
    }
    assert record["network"]["q"] == [-1.0, 0.0, 2.5]
    assert record["network"]["radii"] == list(range(1, 101))
    assert {g["name"] for g in record["roles"]} >= {"head", "embedding"}
    assert record["provenance"]["threads"] == 1


def test_quiet_prints_nothing_and_output_writes_files(tmp_path):
    done = neuromfa_cli(
        "analyse", MODEL, "--quiet", "--output", tmp_path / "out", "--fractal-dimensions",
        "--plot", tmp_path / "figure.svg",
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert neuromfa.read_analysis(tmp_path / "out").network.neurons == 5376
    assert (tmp_path / "out" / "fractal_dimensions.parquet").exists()
    assert (tmp_path / "figure.svg").read_text().startswith("<svg")


def test_plan_reads_no_weight(tmp_path):
    weights = {"w": np.full((40, 20), np.nan, np.float32)}
    save_file(weights, tmp_path / "w.safetensors")
    done = neuromfa_cli("plan", tmp_path / "w.safetensors", "--json")
    record = json.loads(done.stdout)
    assert done.returncode == 0
    assert (record["weights"], record["weight_bytes"], record["neurons"]) == (800, 3200, 20)
    assert [layer["name"] for layer in record["layers"]] == ["w"]
    text = neuromfa_cli("plan", MODEL).stdout
    assert "1,179,648 weights" in text


def test_architectures():
    families = json.loads(neuromfa_cli("architectures", "--json").stdout)
    assert any("gpt_neox" in row["model_types"] for row in families)
    rows = json.loads(neuromfa_cli("architectures", "llama", "--json").stdout)
    assert {row["role"] for row in rows} >= {"attention_input", "mlp_hidden"}
    assert "mlp_hidden" in neuromfa_cli("architectures", "llama").stdout
    assert neuromfa_cli("architectures", "no-such-family").returncode == 5


def test_doctor():
    done = neuromfa_cli("doctor")
    assert (done.returncode, done.stderr) == (0, "")
    assert "equal to the float64 definition" in done.stdout.replace("\n", " ")
    assert all(c["ok"] for c in json.loads(neuromfa_cli("doctor", "--json").stdout))


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["analyse", "nowhere/at/all"], 5, "nowhere/at/all"),
        (["analyse", MODEL, "--cutoff", "0.5"], 2, "cutoff 0.5: must be above 1"),
        (["analyse", MODEL, "--q", "1,0"], 2, "q: the moments must be strictly increasing"),
        (["analyse", MODEL, "--q", "three"], 2, "--q three: write FIRST:LAST:STEP"),
        (["analyse", MODEL, "--q", "nan:1:1"], 2, "needs first <= last"),
        (["analyse", MODEL, "--memory", "lots"], 2, "--memory lots: write a number of bytes"),
        (["analyse", MODEL, "--memory", "1k"], 6, "raise --memory"),
        (["analyse", MODEL, "--threads", "0"], 2, "threads 0: must be at least 1"),
        (["analyse", MODEL, "--fractal-dimensions"], 2, "with --output"),
        (["analyse", MODEL, "--plot", "figure.txt"], 2, "ends in .png, .pdf, .svg"),
        (["analyse", MODEL, "--output", "/proc/nothing"], 6, "cannot be written"),
        (["analyse", MODEL, "--architectures", "no.toml"], 5, "no.toml"),
        (["analyse"], 2, "Missing argument"),
        (["analyse", MODEL, "--radii", "some"], 2, "'some' is not one of"),
        (["unknown"], 2, "No such command"),
    ],
)
def test_one_sentence_and_exit_code(arguments, code, sentence):
    done = neuromfa_cli(*arguments)
    assert (done.returncode, sentence in done.stderr) == (code, True), done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    if "Usage: " not in done.stderr:  # what click itself refuses
        assert done.stderr.startswith("neuromfa: error: ")
        assert done.stderr.count("\n") == 1


def test_debug_shows_the_traceback():
    assert "Traceback" in neuromfa_cli("analyse", "nowhere", "--debug").stderr


def test_finished_layers_are_kept_when_a_later_one_fails(tmp_path):
    rng = np.random.default_rng(0)
    weights = {f"w{k}": rng.normal(0, 0.1, (40, 20)).astype(np.float32) for k in range(4)}
    weights["w3"][5, 7] = np.inf
    save_file(weights, tmp_path / "w.safetensors")
    done = neuromfa_cli("analyse", tmp_path / "w.safetensors", "--output", tmp_path / "out")
    assert done.returncode == 5
    assert "tensor w3 is inf at [5, 7]" in done.stderr
    assert "3 finished layers are in" in done.stderr
    kept = json.loads((tmp_path / "out" / "layers.partial.json").read_text())
    assert [layer["name"] for layer in kept["layers"]] == ["w0", "w1", "w2"]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["layers.partial.json"]


def test_version():
    assert neuromfa_cli("--version").stdout.strip() == f"neuromfa, version {neuromfa.__version__}"
