"""The monitor: what it measures, keeps and logs, and that the training is as without it."""

import gc
import logging
import subprocess
import sys
import weakref
from pathlib import Path

import pytest

import neuromfa
from neuromfa.errors import BadInputError, NeuromfaError, UsageError
from neuromfa.training import assemble_training, live_weights, monitor

torch = pytest.importorskip("torch")
import live_training as small  # noqa: E402  (needs torch)

ROOT = Path(__file__).parent.parent
NUMBERS = {"alpha_0", "alpha_0_stderr", "width", "width_stderr", "emergence", "emergence_stderr"}
MONITORED = {f"neuromfa/{name}" for name in NUMBERS | {"seconds", "overhead"}}


def groups(analysis):
    return [(kind, group.to_dict()) for kind, group in analysis.groups()]


def test_first_last_and_every_so_many_steps_are_analysed():
    logged = {}
    module = small.model()
    with neuromfa.Monitor(module, every=3, log=lambda n, step: logged.update({step: n})) as watch:
        small.train(module, watch, steps=7)
    assert list(logged) == [0, 3, 6, 7]
    assert all(numbers.keys() == MONITORED for numbers in logged.values())
    assert not watch.reasons


def test_steps_may_be_seen_late_twice_or_from_the_middle():
    watch = neuromfa.Monitor(small.model(), every=10)
    seen = [step for step in (13, 13, 14, 19, 22, 22, 23, 47, 50, 51) if watch.step(step)]
    assert seen == [13, 22, 47, 50]
    assert watch.step(50) == watch.step(51) == {}
    watch.close()
    assert watch._last == 51
    assert watch.step(60) == {}


def test_numbers_are_those_of_the_network(tmp_path):
    module = small.model()
    first = neuromfa.analyse(module)
    watch = neuromfa.Monitor(module, tmp_path, every=100)
    small.train(module, watch)
    last = neuromfa.analyse(module)
    numbers = watch.step(7, due=True)
    assert numbers["neuromfa/alpha_0"] == last.network.alpha_0
    assert numbers["neuromfa/width_stderr"] == last.network.jackknife["width_stderr"]
    course = neuromfa.measure_emergence({"0": first, "7": last})
    point = course.groups[0].points[-1]
    assert numbers["neuromfa/emergence"] == point["E"] != 0
    assert numbers["neuromfa/emergence_stderr"] == point["E_stderr"] > 0
    assert 0 < numbers["neuromfa/overhead"] <= 1
    assert numbers["neuromfa/seconds"] < watch.seconds
    watch.close()
    found = neuromfa.read_suite(tmp_path)
    assert [entry.step for entry in found.series("Sequential")] == [0, 7]
    assert groups(found.analysis(found.entries[-1])) == groups(last)
    kept = found.emergence["Sequential"]["groups"][0]["points"][-1]
    assert (kept["E"], kept["label"]) == (point["E"], "step7")


def test_a_report_is_made_of_it(tmp_path):
    pytest.importorskip("jinja2")
    pytest.importorskip("vl_convert")
    module = small.model()
    with neuromfa.Monitor(module, tmp_path / "run", every=3, name="small") as watch:
        small.train(module, watch)
    page = tmp_path / "page.html"
    command = [sys.executable, "-m", "neuromfa", "report", str(tmp_path / "run"), "-o", str(page)]
    subprocess.run(command, check=True, capture_output=True)
    assert "small" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize("settings", [{}, {"layers": 2, "seed": 5}, {"structure": "full"}])
def test_training_is_the_same_with_it(tmp_path, settings):
    plain = small.train(small.model())
    watched = small.model()
    versions = [p._version for p in small.model().parameters()]
    with neuromfa.Monitor(watched, tmp_path, every=2, **settings) as watch:
        watch.step(-1)
        assert [p._version for p in watched.parameters()] == versions
        assert all(p.grad is None and p.requires_grad for p in watched.parameters())
        assert small.train(watched, watch) == plain
    assert len(neuromfa.read_suite(tmp_path).entries) == 6
    assert not watch.reasons


def test_nothing_of_the_model_is_kept(tmp_path):
    module = small.model()
    watch = neuromfa.Monitor(module, tmp_path)
    watch.step(0)
    gc.collect()
    tensors = sum(issubclass(type(o), torch.Tensor) for o in gc.get_objects())
    for step in (1, 2):
        watch.step(step, due=True)
    gc.collect()
    assert sum(issubclass(type(o), torch.Tensor) for o in gc.get_objects()) == tensors
    parameter = weakref.ref(module[0].up.weight)
    watch.close()
    del module
    gc.collect()
    assert parameter() is None


def test_failing_analyses_are_told_once_for_each_reason(tmp_path, caplog):
    module = small.model()
    watch = neuromfa.Monitor(module, tmp_path, every=1, log=lambda *_: None)
    assert watch.step(0)
    good = module[1].up.weight.detach().clone()
    with torch.no_grad():
        module[1].up.weight[2, 3] = torch.nan
    with caplog.at_level(logging.WARNING):
        assert watch.step(1) == watch.step(2) == {}
    assert len(caplog.records) == 1
    assert "step 1 was not analysed" in caplog.text
    assert "1.up.weight" in caplog.text
    assert list(watch.reasons.values()) == [2]
    with torch.no_grad():
        module[1].up.weight.copy_(good * 1.1)
    assert watch.step(3)["neuromfa/emergence"] != 0
    watch.close()
    entries = neuromfa.read_suite(tmp_path).entries
    assert [entry.state for entry in entries] == ["done", "failed", "failed", "done"]
    assert "1.up.weight" in entries[1].error


def test_whatever_raises_is_no_harm(tmp_path, monkeypatch, caplog):
    module = small.model()
    plain = small.train(small.model())

    def broken(*_, **__):
        raise MemoryError("none left")

    monkeypatch.setattr(monitor, "analyse_live", broken)
    with neuromfa.Monitor(module, tmp_path, every=1) as watch:
        assert small.train(module, watch) == plain
    assert watch.reasons == {"MemoryError: none left": 8}
    assert len(caplog.records) == 1
    assert {e.state for e in neuromfa.read_suite(tmp_path).entries} == {"failed"}


def test_a_log_or_a_disk_that_fails_does_not_stop_the_other(tmp_path, caplog):
    taken = tmp_path / "taken"
    taken.write_text("")
    logged = []
    with neuromfa.Monitor(small.model(), taken, log=lambda n, _: logged.append(n)) as watch:
        watch.step(0)
        watch.step(1, due=True)
    assert [numbers.keys() for numbers in logged] == [MONITORED] * 2
    assert list(watch.reasons.values()) == [2]

    def log(*_):
        raise ConnectionError("no network")

    with neuromfa.Monitor(small.model(), tmp_path / "run", log=log) as watch:
        assert watch.step(0)
    assert list(watch.reasons) == ["ConnectionError: no network"]
    assert neuromfa.read_suite(tmp_path / "run").entries[0].state == "done"


def test_nothing_is_kept_before_its_baseline(tmp_path, monkeypatch):
    """Or emergence would be counted from another one there."""
    start = neuromfa.analyse(small.model(seed=4))
    keep, room = monitor.RunDirectory.keep, []

    def full(self, revision, *arguments, **rest):
        if not room:
            raise OSError("the disk is full")
        keep(self, revision, *arguments, **rest)

    monkeypatch.setattr(monitor.RunDirectory, "keep", full)
    with neuromfa.Monitor(small.model(), tmp_path, baseline=start) as watch:
        for step in range(3):
            assert watch.step(step, due=True)["neuromfa/emergence"] != 0
            assert not (tmp_path / "suite.json").exists()
        room.append("some")
        watch.step(3, due=True)
    assert watch.reasons == {"OSError: the disk is full": 3}
    found = neuromfa.read_suite(tmp_path)
    assert {entry.revision for entry in found.entries} == {"baseline", "step3"}
    assert found.baseline("Sequential").revision == "baseline"


def test_interrupts_are_not_held_back(monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(monitor, "analyse_live", interrupted)
    with pytest.raises(KeyboardInterrupt):
        neuromfa.Monitor(small.model()).step(0)


def test_a_subset_is_drawn_once_and_said(tmp_path):
    module = small.model(blocks=5)
    whole = {group.name: group.to_dict() for group in neuromfa.analyse(module).layers}
    drawn = {}
    for seed in range(4):
        place = tmp_path / str(seed)
        with neuromfa.Monitor(module, place, layers=3, seed=seed) as watch:
            assert watch.step(0)
            assert watch.step(1, due=True)["neuromfa/emergence"] == 0
        found = neuromfa.read_suite(place)
        analysis = found.analysis(found.entries[0])
        for layer in analysis.layers:
            assert layer.to_dict() == whole[layer.name]
        assert analysis.warnings[-1].endswith(f"3 of 10 layers, drawn with seed {seed}")
        names = [name for part in analysis.coverage.values() for name in part]
        assert sorted(names) == sorted(module.state_dict())
        assert list(analysis.coverage["excluded"].values()).count(live_weights.SUBSET) == 7
        training = found.log[0]
        assert (training["event"], training["layers"], training["seed"]) == ("training", 3, seed)
        drawn[seed] = tuple(layer.name for layer in analysis.layers)
    assert len(set(drawn.values())) > 1
    subset = live_weights.Subset(3, 0)
    again = live_weights.analyse_live(module, neuromfa.Protocol(), subset)
    assert tuple(layer.name for layer in again.layers) == drawn[0]
    subset = live_weights.Subset(99, 0)
    everything = live_weights.analyse_live(module, neuromfa.Protocol(), subset)
    assert {group.name: group.to_dict() for group in everything.layers} == whole


def test_layers_that_need_others_bring_them():
    """The experts of a block that stores them flat are told apart by their router."""
    tensors = {}
    for block in range(3):
        name = f"transformer.blocks.{block}.ffn"
        tensors[f"{name}.router.layer.weight"] = torch.randn(4, 16) / 50
        for part in ("w1", "v1", "w2"):
            tensors[f"{name}.experts.mlp.{part}"] = torch.randn(4 * 24, 16) / 50

    class Flat(torch.nn.Module):
        config = type("Config", (), {"to_dict": lambda self: {"model_type": "dbrx"}})()

        def state_dict(self):
            return tensors

    protocol = neuromfa.Protocol(experts="separate")
    whole = neuromfa.analyse(Flat(), protocol)
    known = {group.name: group.to_dict() for group in whole.layers}
    assert len(known) == 3 * (1 + 4 + 4)  # the router's, and two of each expert
    for seed in range(6):
        found = live_weights.analyse_live(Flat(), protocol, live_weights.Subset(1, seed))
        assert all(layer.to_dict() == known[layer.name] for layer in found.layers)
        assert len(found.layers) in (1, 9)
        assert f"{len(found.layers)} of 27 layers" in found.warnings[-1]


def test_a_given_baseline_is_what_emergence_is_counted_from(tmp_path):
    start = neuromfa.analyse(small.model(seed=4))
    module = small.model()
    with neuromfa.Monitor(module, tmp_path, baseline=start) as watch:
        numbers = watch.step(0)
    course = neuromfa.measure_emergence({"a": start, "b": neuromfa.analyse(module)})
    assert numbers["neuromfa/emergence"] == course.groups[0].points[-1]["E"] != 0
    found = neuromfa.read_suite(tmp_path)
    assert found.baseline("Sequential").revision == "baseline"
    point = found.emergence["Sequential"]["groups"][0]["points"][0]
    assert (point["label"], point["E"]) == ("step0", numbers["neuromfa/emergence"])


def test_a_baseline_of_another_network_gives_no_emergence(caplog):
    start = neuromfa.analyse(small.model(blocks=2))
    watch = neuromfa.Monitor(small.model(), baseline=start)
    numbers = watch.step(0)
    assert "neuromfa/emergence" not in numbers
    assert "neuromfa/alpha_0" in numbers
    assert "other layers" in caplog.text


def test_a_resumed_training_goes_on_in_its_directory(tmp_path):
    module = small.model()
    with neuromfa.Monitor(module, tmp_path, every=2) as watch:
        small.train(module, watch, steps=4)
    resumed = neuromfa.Monitor(module, tmp_path, every=2)
    small.train(module, steps=2)
    numbers = resumed.step(6)
    assert numbers["neuromfa/emergence"] != 0
    resumed.close()
    found = neuromfa.read_suite(tmp_path)
    assert [entry.step for entry in found.entries] == [0, 2, 4, 6]
    assert found.baseline("Sequential").step == 0
    point = found.emergence["Sequential"]["groups"][0]["points"][-1]
    assert point["E"] == numbers["neuromfa/emergence"]


def test_a_directory_holds_one_training(tmp_path, caplog):
    with neuromfa.Monitor(small.model(), tmp_path) as watch:
        watch.step(0)
    before = (tmp_path / "suite.json").read_bytes()
    for settings in ({"layers": 2}, {"name": "other"}, {"protocol": neuromfa.Protocol(cutoff=90)}):
        caplog.clear()
        with neuromfa.Monitor(small.model(), tmp_path, **settings) as watch:
            assert watch.step(0)  # still logged
        assert next(iter(settings)) in caplog.text.replace("model", "name")
        assert "choose another directory" in caplog.text
    assert (tmp_path / "suite.json").read_bytes() == before


def test_a_killed_training_is_put_together_afterwards(tmp_path):
    watch = neuromfa.Monitor(small.model(), tmp_path)
    for step in range(3):
        watch.step(step, due=True)
    with pytest.raises(UsageError, match="another run"):
        assemble_training(tmp_path)
    watch._stack.close()  # as the system does
    assert len(neuromfa.read_suite(tmp_path).entries) == 2
    assert len(assemble_training(tmp_path).entries) == 3
    with pytest.raises(BadInputError, match="holds no training"):
        assemble_training(tmp_path / "none")


def test_dear_analyses_become_rarer(monkeypatch):
    now = [0.0]
    found = neuromfa.analyse(small.model())
    monkeypatch.setattr(monitor.time, "perf_counter", lambda: now[0])

    def dear(*_, **__):
        now[0] += 10
        return found

    monkeypatch.setattr(monitor, "analyse_live", dear)
    watch = neuromfa.Monitor(small.model(), every=50, max_overhead=0.1)
    analysed = []
    for step in range(420):
        if watch.step(step):
            analysed.append(step)
            assert step == 0 or watch.overhead <= 0.1
        now[0] += 1
    assert analysed == [0, 200, 300, 400]
    watch.close()
    assert watch._last == 419


@pytest.mark.parametrize("wrap", ["compiled", "nested", "parallel"])
def test_wrappers_change_nothing(wrap):
    plain = small.model()
    wrapped = small.model()
    if wrap == "compiled":
        wrapped = torch.compile(wrapped, backend="eager")
    elif wrap == "nested":
        wrapped[1] = torch.compile(wrapped[1], backend="eager")
        wrapped = torch.compile(wrapped, backend="eager")
    else:
        wrapped = torch.nn.DataParallel(wrapped)
    assert list(wrapped.state_dict()) != list(plain.state_dict())
    one, other = neuromfa.analyse(plain), neuromfa.analyse(wrapped)
    assert groups(one) == groups(other)
    assert one.provenance["content_hash"] == other.provenance["content_hash"]
    assert one.source == other.source == "Sequential"
    assert one.coverage == other.coverage


RANKS = """
import os
import sys
import torch, neuromfa
import live_training as small
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

def work(rank, world, kind, folder):
    store = f"file://{folder}/store"
    torch.distributed.init_process_group("gloo", store, rank=rank, world_size=world)
    module, settings = small.model(), {}
    if kind == "replicas":
        module = DistributedDataParallel(module)
    else:
        for part in (*module, module):
            fully_shard(part)
        settings = {"layers": 2, "max_overhead": 0.999}
    calls = []
    log = lambda numbers, step: calls.append((step, numbers["neuromfa/alpha_0"]))
    with neuromfa.Monitor(module, f"{folder}/run", every=2, log=log, **settings) as watch:
        for step in range(4):
            watch.step(step)
            module(torch.ones(2, 16)).sum().backward()
    assert not watch.reasons, watch.reasons
    assert [step for step, _ in calls] == ([] if rank else [0, 2, 3]), calls
    torch.distributed.barrier()
    # Freeing the wrapper may wait forever: for a thread of gloo, which waits for the interpreter.
    os._exit(0)

if __name__ == "__main__":
    torch.set_num_threads(1)
    world = int(sys.argv[1])
    torch.multiprocessing.spawn(work, (world, *sys.argv[2:]), nprocs=world)
"""


@pytest.mark.parametrize(("world", "kind"), [(1, "replicas"), (2, "replicas"), (2, "shards")])
def test_rank_0_tells_what_all_ranks_would(tmp_path, world, kind):
    if not torch.distributed.is_available():
        pytest.skip("this torch has no torch.distributed")
    script = tmp_path / "ranks.py"
    script.write_text(RANKS)
    path = [str(ROOT / part) for part in ("engine", "kernels", "tests")]
    done = subprocess.run(
        [sys.executable, str(script), str(world), kind, str(tmp_path)],
        env={"PYTHONPATH": ":".join(path), "PATH": "", "GLOO_SOCKET_IFNAME": "lo"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    found = neuromfa.read_suite(tmp_path / "run")
    assert [entry.step for entry in found.entries] == [0, 2, 3]
    subset = live_weights.Subset(2, 0) if kind == "shards" else None
    plain = live_weights.analyse_live(small.model(), neuromfa.Protocol(), subset)
    kept = found.analysis(found.entries[0])
    assert groups(kept) == groups(plain)
    assert kept.provenance["content_hash"] == plain.provenance["content_hash"]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"every": 0}, "every 0"),
        ({"layers": 0}, "layers 0"),
        ({"max_overhead": 1.5}, "max_overhead 1.5"),
        ({"threds": 3}, "threds"),
    ],
)
def test_settings_that_make_no_sense_are_refused_at_once(settings, sentence):
    with pytest.raises(UsageError, match=sentence):
        neuromfa.Monitor(small.model(), **settings)


def test_a_baseline_under_another_protocol_is_refused_at_once():
    start = neuromfa.analyse(small.model(), neuromfa.Protocol(cutoff=100))
    with pytest.raises(UsageError, match="another protocol"):
        neuromfa.Monitor(small.model(), baseline=start)


@pytest.mark.parametrize("name", ["HuggingFaceMonitor", "LightningMonitor"])
def test_an_absent_trainer_is_named(name):
    package = {"HuggingFaceMonitor": "transformers", "LightningMonitor": "lightning"}[name]
    code = (
        "import sys\n"
        "for name in ('transformers', 'lightning', 'pytorch_lightning'):\n"
        "    sys.modules[name] = None\n"
        "import neuromfa.training\n"
        f"try:\n    neuromfa.training.{name}\n"
        "except neuromfa.NeuromfaError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert f"pip install {package}" in done.stdout
    assert issubclass(neuromfa.ResourceError, NeuromfaError)
