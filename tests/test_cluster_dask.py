"""A Dask cluster of local processes: the same bits as here, also when its workers are killed."""

import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from safetensors.numpy import save_file

import neuromfa
from neuromfa.cluster import calls as calls_module
from neuromfa.cluster import connecting
from neuromfa.cluster.calls import Call, Cluster
from neuromfa.errors import ResourceError
from tiny_training import results_of, write_suite, write_training

distributed = pytest.importorskip("distributed", reason="distributed is not installed")

SHAPES = [(300, 40), (12, 2100), (64, 1700), (25, 31)] * 16
KILLS = 20


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    rng = np.random.default_rng(0)
    save_file(
        {f"map.{k}": rng.normal(0, 0.05, s).astype(np.float32) for k, s in enumerate(SHAPES)}, path
    )
    return path


@pytest.fixture(scope="module")
def here(model):
    return numbers(neuromfa.analyse(model, structure="simple").to_dict())


def numbers(record):
    record["content_hash"] = record.pop("provenance")["content_hash"]
    return json.dumps(record, sort_keys=True)


@pytest.fixture(scope="module")
def cluster():
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=True, dashboard_address="127.0.0.1:0"
    ) as found:
        yield found


@pytest.fixture
def workers(cluster):
    """Processes of the cluster after asking for some number of them."""

    def ask(count):
        cluster.scale(count)
        until = time.monotonic() + 60
        while not (len(cluster.workers) == len(pids(cluster)) == count):
            assert time.monotonic() < until
            time.sleep(0.05)

    return ask


def pids(cluster):
    nannies = [nanny for nanny in cluster.workers.values() if nanny.status.name == "running"]
    return [nanny.process.pid for nanny in nannies if nanny.process and nanny.process.pid]


@pytest.mark.parametrize("count", [1, 3, 8])
def test_any_number_of_workers_gives_the_same_bits(model, here, cluster, workers, count):
    workers(count)
    with connecting.connect(cluster=cluster.scheduler_address) as executor:
        there = neuromfa.analyse(model, structure="simple", executor=executor)
    assert numbers(there.to_dict()) == here
    assert 1 <= there.provenance["threads"] <= count


class Killer(threading.Thread):
    """Kills one living worker after another, at random moments while something is under way."""

    def __init__(self, cluster, seed):
        super().__init__(daemon=True)
        self.cluster, self.rng, self.killed = cluster, random.Random(seed), []
        self.under_way = threading.Event()

    def run(self):
        while len(self.killed) < KILLS:
            time.sleep(self.rng.uniform(0, 0.3))
            self.under_way.wait()
            if living := [pid for pid in pids(self.cluster) if pid not in self.killed]:
                self.killed.append(self.rng.choice(living))
                os.kill(self.killed[-1], signal.SIGKILL)


def test_workers_killed_at_random_change_no_bit(model, here, cluster, workers):
    workers(3)
    killer = Killer(cluster, seed=0)
    killer.start()
    with connecting.connect(cluster=cluster.scheduler_address) as executor:
        while len(killer.killed) < KILLS:
            killer.under_way.set()
            there = neuromfa.analyse(model, structure="simple", executor=executor)
            killer.under_way.clear()
            assert numbers(there.to_dict()) == here
    killer.join()
    assert len(set(killer.killed)) == KILLS


def test_what_kills_every_worker_is_named_and_the_rest_goes_on(model, here, cluster, workers):
    workers(3)

    def poison(checkpoint):
        if "map.7" in checkpoint.tensors:
            time.sleep(0.3)  # a nanny whose worker dies while it starts gives up
            os._exit(1)
        return checkpoint.digest(next(iter(checkpoint.tensors)))

    allowed, cluster.scheduler.allowed_failures = cluster.scheduler.allowed_failures, 0
    try:
        with (
            neuromfa.open_checkpoint(model) as checkpoint,
            connecting.connect(cluster=cluster.scheduler_address) as executor,
        ):
            calls = [Call(poison, (name,), 1) for name in checkpoint.tensors]
            found = []
            with pytest.raises(
                ResourceError, match=r"tensor map\.7: given up after 3 tries"
            ) as error:
                found.extend(Cluster(executor, checkpoint).answers(calls))
            assert "KilledWorker" in str(error.value)
    finally:
        cluster.scheduler.allowed_failures = allowed
    with connecting.connect(cluster=cluster.scheduler_address) as executor:  # which goes on
        there = neuromfa.analyse(model, structure="simple", executor=executor)
    assert numbers(there.to_dict()) == here


def test_a_lost_connection_is_said(model, cluster):
    def sleep(checkpoint):
        time.sleep(3)

    with neuromfa.open_checkpoint(model) as checkpoint:
        client = distributed.Client(cluster.scheduler_address, set_as_default=False)
        calls = [Call(sleep, (name,), 1 << 30) for name in list(checkpoint.tensors)[:3]]
        answers = Cluster(client.get_executor(pure=False), checkpoint).answers(calls)
        closing = threading.Timer(0.5, client.close)
        closing.start()
        with pytest.raises(ResourceError, match="the connection to the cluster is lost"):
            next(answers)
        closing.join()


def test_a_cluster_without_workers_is_given_up(model, monkeypatch):
    monkeypatch.setattr(calls_module, "NOBODY", 0.5)
    monkeypatch.setattr(calls_module, "PULSE", 0.1)
    with (
        distributed.LocalCluster(n_workers=0, dashboard_address="127.0.0.1:0") as empty,
        connecting.connect(cluster=empty.scheduler_address) as executor,
        pytest.raises(ResourceError, match="has had no workers for"),
    ):
        neuromfa.analyse(model, executor=executor)


def command(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "neuromfa", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.mark.parametrize("by", ["--cluster", "--scheduler-file"])
def test_command_line(model, here, cluster, tmp_path, by):
    place = cluster.scheduler_address
    if by == "--scheduler-file":
        place = tmp_path / "scheduler.json"
        place.write_text(json.dumps({"address": cluster.scheduler_address}))
    done = command("analyse", model, by, place, "--structure", "simple", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert numbers(json.loads(done.stdout)) == here


def test_suites_are_the_same_bytes(cluster, tmp_path):
    write_training(tmp_path / "tiny", (0, 8, 64))
    suite = write_suite(tmp_path, 'structure = "simple"\n[controls]\nreplicates = 1\n')
    neuromfa.run_suite(suite, output=tmp_path / "here")
    done = command(
        *("suite", "run", suite, "--output", tmp_path / "there", "--quiet"),
        *("--cluster", cluster.scheduler_address),
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert results_of(tmp_path / "there") == results_of(tmp_path / "here")


def test_nobody_answers(monkeypatch, tmp_path):
    monkeypatch.setattr(connecting, "PATIENCE", 0.3)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    said = []
    for place, sentence in (
        ({"cluster": address}, f"{address}: no Dask scheduler answers"),
        ({"cluster": "nonsense://x"}, "nonsense://x: no Dask scheduler answers"),
        ({"scheduler_file": tmp_path / "none.json"}, "not there after 0.3 seconds"),
    ):
        with (
            pytest.raises(ResourceError, match=re.escape(sentence)),
            connecting.connect(**place, say=said.append),
        ):
            pass
    assert said == [f"{tmp_path / 'none.json'} is not there yet; waiting for it"]
