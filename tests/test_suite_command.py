"""Suites from the command line, and killed at random points."""

import json
import random
import signal
import subprocess
import sys

import pytest

import neuromfa
from tiny_training import results_of, write_suite, write_training

STEPS = (0, 8, 64)
SETTINGS = '[protocol]\nq = "-2:2:1"\n[controls]\nreplicates = 2\n'
KILLS = 20
SERVER = """
import os, pathlib, signal, sys, time
import neuromfa.suites.running as running
import neuromfa_kernels.cpu, pyarrow.parquet, scipy.stats

def run(suite, output):
    try:
        running.run_suite(suite, output=output, threads=2)
    except BaseException as error:
        print(error, file=sys.stderr)
        os._exit(1)
    os._exit(0)

for line in sys.stdin:
    suite, output, files, delay = line.split()
    child = os.fork() or run(suite, output)
    files, ended = int(files), 0
    while not ended:
        time.sleep(0.001)
        ended, status = os.waitpid(child, os.WNOHANG)
        if not ended and 0 <= files <= sum(1 for _ in pathlib.Path(output).rglob("*")):
            time.sleep(float(delay))
            os.kill(child, signal.SIGKILL)
            files = -1
    print(status, flush=True)
"""
"""Starts runs at once: each is a process of its own, with everything imported and nothing done. One
is killed a while after it has made so many files, if that is not negative."""


def suite_cli(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "neuromfa", "suite", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def training(tmp_path):
    write_training(tmp_path / "tiny", STEPS)
    (tmp_path / "losses.csv").write_text(
        "model,step,task,metric,value\n"
        + "".join(f"tiny,{s},text,loss,{9 - s / 9}\n" for s in STEPS)
    )
    path = write_suite(tmp_path, SETTINGS)
    path.write_text(path.read_text() + '[[scores]]\nfiles = ["losses.csv"]\n')
    return path


def test_killed_at_random_points(training, tmp_path):
    points, choice = [], random.Random(20)
    with subprocess.Popen(
        [sys.executable, "-c", SERVER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    ) as server:

        def run(output, files=-1, delay=0.0):
            """Run the suite, killed a while after there are so many files; tell how it ended."""
            server.stdin.write(f"{training} {output} {files} {delay}\n")
            return int(server.stdout.readline())

        assert run(tmp_path / "whole") == 0
        whole = results_of(tmp_path / "whole")
        for kill in range(KILLS):
            output = tmp_path / f"killed-{kill}"
            status = run(output, choice.randrange(len(whole)), choice.uniform(0, 0.05))
            points.append(len(results_of(output)) if status == signal.SIGKILL else None)
            assert run(output) == 0
            assert results_of(output) == whole
        server.stdin.close()
    assert len({*points} - {None}) > 2, points  # it was killed early, in the middle, late


def test_run_status_and_results(training, tmp_path):
    pending = json.loads(suite_cli("status", training, "--json").stdout)
    assert [(e["revision"], e["state"]) for e in pending] == [
        (f"step{step}", "pending") for step in STEPS
    ]
    done = suite_cli("run", training, "--threads", "1", "--memory", "64M")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("done") == 3
    assert suite_cli("status", training).stdout == done.stdout
    assert len(neuromfa.read_suite(tmp_path / "suite-results").series("tiny")) == 3
    quiet = suite_cli("run", training, "--quiet", "--output", tmp_path / "other")
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (0, "", "")
    assert results_of(tmp_path / "other") == results_of(tmp_path / "suite-results")


def test_parts(training, tmp_path):
    for part in ("1/2", "2/2"):
        done = suite_cli("run", training, "--shard", part, "--output", tmp_path / part[0])
        assert (done.returncode, done.stderr) == (0, "")
    merged = suite_cli("merge", training, tmp_path / "1", tmp_path / "2")
    assert (merged.returncode, merged.stderr) == (0, "")
    suite_cli("run", training, "--output", tmp_path / "whole", "--quiet")
    assert results_of(tmp_path / "suite-results") == results_of(tmp_path / "whole")


def test_a_failing_checkpoint(training, tmp_path):
    (tmp_path / "tiny" / "step8" / "model.safetensors").write_text("none")
    done = suite_cli("run", training)
    assert done.returncode == 3
    first, last = done.stderr.splitlines()
    assert first.startswith("tiny@step8: ")
    assert last.startswith("neuromfa: error: ")
    assert "1 of 3 checkpoints failed" in last
    assert done.stdout.count("done") == 2
    again = suite_cli("status", training, "--json")
    assert again.returncode == 0
    assert [e["state"] for e in json.loads(again.stdout)] == ["done", "failed", "done"]


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["run", "none.toml"], 5, "none.toml: No such file"),
        (["run", "SUITE", "--shard", "0/2"], 2, "shard 0/2: write i/n with i from 1 to n"),
        (["run", "SUITE", "--shard", "half"], 2, "--shard half: write I/N"),
        (["run", "SUITE", "--threads", "0"], 2, "threads 0: must be at least 1"),
        (["run", "SUITE", "--output", "/proc/nothing"], 6, "cannot be written"),
        (["merge", "SUITE"], 3, "3 of 3 checkpoints are not done yet"),
        (["merge", "SUITE", "nowhere"], 5, "nowhere: holds no part of a suite"),
        (["walk"], 2, "No such command"),
    ],
)
def test_exit_codes(training, arguments, code, sentence):
    done = suite_cli(*(training if a == "SUITE" else a for a in arguments))
    assert (done.returncode, sentence in done.stderr) == (code, True), done.stderr
    assert "Traceback" not in done.stderr
