"""Suites: what is analysed, what is not analysed again, and what becomes of what fails."""

import json
import os
import shutil

import jsonschema
import numpy as np
import pytest

import neuromfa
from neuromfa.emergence.controls import measure_controls
from neuromfa.emergence.course import measure_emergence
from neuromfa.suites import procedures, work
from neuromfa.suites.running import merge_suite, run_shard, suite_status
from tiny_training import results_of, weights, write_checkpoint, write_suite, write_training

STEPS = (0, 8, 64)
SETTINGS = """
[protocol]
q = "-2:2:1"
[controls]
replicates = 2
"""


@pytest.fixture
def training(tmp_path):
    """A suite file over three checkpoints of a model."""
    write_training(tmp_path / "tiny", STEPS)
    return write_suite(tmp_path, SETTINGS)


@pytest.fixture
def computed(monkeypatch):
    """What is computed from now on, in order."""
    done = []

    def watch(module, name, kind):
        real = getattr(module, name)

        def called(checkpoint, *arguments, **options):
            done.append((kind, os.path.basename(checkpoint.source)))  # noqa: PTH119
            return real(checkpoint, *arguments, **options)

        monkeypatch.setattr(module, name, called)

    watch(procedures, "analyse", "analysis")
    watch(work, "measure_controls", "controls")
    watch(work, "read_content_hash", "hash")
    return done


def states(entries):
    return {entry.revision: entry.state for entry in entries}


def test_results_are_those_of_single_analyses(training, tmp_path):
    found = neuromfa.run_suite(training)
    assert found.directory == tmp_path / "suite-results"
    assert (found.name, found.models) == ("suite", ("tiny",))
    assert [(e.revision, e.step, e.state) for e in found.series("tiny")] == [
        (f"step{step}", step, "done") for step in STEPS
    ]
    assert found.baseline("tiny").revision == "step0"
    protocol = neuromfa.Protocol(q=(-2, -1, 0, 1, 2))
    assert found.protocol == protocol.to_dict()
    series, controls = {}, {}
    for entry in found.entries:
        alone = neuromfa.analyse(tmp_path / entry.source, protocol)
        kept = found.analysis(entry)
        for (kind, mine), (other, its) in zip(alone.groups(), kept.groups(), strict=True):
            assert (kind, mine.to_dict()) == (other, its.to_dict())
        jsonschema.validate(kept.to_dict(), neuromfa.schema())
        assert kept.source == entry.source == f"tiny/{entry.revision}"
        assert not {"seconds", "finished", "threads"} & kept.provenance.keys()
        assert alone.provenance["content_hash"] == entry.content_hash
        series[entry.revision] = kept
        places = (tmp_path / entry.source, tmp_path / "tiny" / "step0")
        controls[entry.revision] = measure_controls(*places, protocol, replicates=2)
        assert found.controls(entry)["groups"] == controls[entry.revision].to_dict()["groups"]
    expected = measure_emergence(series, controls=controls)
    assert found.emergence == {"tiny": expected.to_dict()}
    assert found.association is None
    assert found.scores() is None
    assert {event["event"] for event in found.log} == {"analysis", "controls"}


def test_the_table_and_the_cube_hold_the_same_numbers(training):
    found = neuromfa.run_suite(training)
    rows = found.table().to_pylist()
    cube = found.cube()
    groups = list(zip(cube["kind"], cube["group"], strict=True))
    assert cube["tau"].shape == (3, len(groups), 5)
    assert cube["step"].tolist() == list(STEPS)
    assert np.isnan(cube["tokens"]).all()
    assert not np.isnan(cube["tau"][:, 0]).any()
    for at, entry in enumerate(found.series("tiny")):
        analysis = found.analysis(entry)
        for kind, group in analysis.groups():
            column = groups.index((kind, group.name))
            for name in ("tau", "alpha", "f", "generalised_dimension", "r2", "width"):
                value = getattr(group, name)
                assert np.array_equal(cube[name][at, column], value, equal_nan=True)
            (row,) = (
                row
                for row in rows
                if (row["revision"], row["kind"], row["group"], row["quantity"])
                == (entry.revision, kind, group.name, "width")
            )
            assert (row["step"], row["key"], row["value"]) == (entry.step, entry.key, group.width)
            stderr = (group.jackknife or {}).get("width_stderr")
            assert row["stderr"] == stderr
    course = found.emergence["tiny"]["groups"][0]["points"]
    of_network = [r for r in rows if r["kind"] == "network" and r["quantity"] == "E"]
    assert [(r["value"], r["stderr"]) for r in of_network] == [
        (p["E"], p["E_stderr"]) for p in course
    ]
    scale = [r["value"] for r in rows if r["kind"] == "network" and r["quantity"] == "E_scale"]
    assert scale == [p["controls"]["scale"]["E"] for p in course]
    assert course[-1]["E"] not in (None, 0)


def test_what_is_finished_is_not_computed_again(training, tmp_path, computed):
    neuromfa.run_suite(training)
    results, log = results_of(tmp_path / "suite-results"), tmp_path / "suite-results" / "log.jsonl"
    assert computed == [(kind, f"step{s}") for s in STEPS for kind in ("analysis", "controls")]
    computed.clear()
    before = log.read_bytes()
    neuromfa.run_suite(training, threads=1)
    assert computed == []  # not even read
    assert log.read_bytes() == before
    for step in STEPS:
        os.utime(tmp_path / "tiny" / f"step{step}" / "model.safetensors", (1, 1))
    neuromfa.run_suite(training)
    assert computed == [("hash", f"step{step}") for step in STEPS]  # touched: read, and known
    computed.clear()
    shutil.copytree(tmp_path / "tiny", tmp_path / "elsewhere")
    shutil.rmtree(tmp_path / "tiny")
    (tmp_path / "elsewhere").rename(tmp_path / "tiny")
    neuromfa.run_suite(training)
    assert {kind for kind, _ in computed} == {"hash"}
    assert results_of(tmp_path / "suite-results") == results


def test_other_settings_are_other_results(training, tmp_path, computed):
    neuromfa.run_suite(training)
    first = results_of(tmp_path / "suite-results")
    computed.clear()
    text = training.read_text()
    training.write_text(text.replace("[protocol]", "[protocol]\ncutoff = 99"))
    other = neuromfa.run_suite(training)
    assert other.protocol["cutoff"] == 99
    assert len(computed) == 6
    assert not {e.key for e in other.entries} & {
        e["key"] for e in json.loads(first["suite.json"])["entries"]
    }
    computed.clear()
    training.write_text(text.replace("replicates = 2", "replicates = 3"))
    third = neuromfa.run_suite(training)
    assert computed == [("controls", f"step{step}") for step in STEPS]
    assert third.controls(third.entries[0])["replicates"] == 3
    training.write_text(text)
    computed.clear()
    neuromfa.run_suite(training)
    assert computed == []
    assert first.items() <= results_of(tmp_path / "suite-results").items()


def test_other_weights_are_analysed(training, tmp_path, computed):
    before = neuromfa.run_suite(training)
    computed.clear()
    shutil.rmtree(tmp_path / "tiny" / "step8")
    write_checkpoint(tmp_path / "tiny" / "step8", weights(9))
    after = neuromfa.run_suite(training)
    assert computed == [(kind, "step8") for kind in ("hash", "analysis", "controls")]
    changed = [a.key != b.key for a, b in zip(after.entries, before.entries, strict=True)]
    assert changed == [False, True, False]


def test_another_configuration_is_another_analysis(training, tmp_path, computed):
    neuromfa.run_suite(training)
    computed.clear()
    (tmp_path / "tiny" / "step8" / "config.json").write_text('{"model_type": "nobody knows"}')
    neuromfa.run_suite(training)
    assert ("analysis", "step8") in computed


def test_a_stored_result_that_is_not_whole_is_made_again(training, tmp_path, computed):
    found = neuromfa.run_suite(training)
    results = results_of(found.directory)
    computed.clear()
    first, second, third = (
        found.directory / "analyses" / f"{entry.key}.json" for entry in found.entries
    )
    first.write_bytes(first.read_bytes()[:1000])
    second.write_bytes(third.read_bytes())
    third.unlink()
    controls = found.directory / "controls" / f"{found.entries[1].controls_key}.json"
    controls.write_bytes(controls.read_bytes()[:100])
    neuromfa.run_suite(training)
    assert [name for kind, name in computed if kind == "controls"] == ["step8"]
    assert [name for kind, name in computed if kind == "analysis"] == ["step0", "step8", "step64"]
    assert results_of(found.directory) == results


def test_a_failing_checkpoint_does_not_stop_the_others(training, tmp_path):
    whole = neuromfa.run_suite(training, output=tmp_path / "whole")
    file = tmp_path / "tiny" / "step8" / "model.safetensors"
    kept = file.read_bytes()
    file.write_bytes(kept[:-10])
    with pytest.raises(neuromfa.PartialError, match=r"1 of 3 checkpoints failed.*tiny@step8") as e:
        neuromfa.run_suite(training)
    assert str(tmp_path / "suite-results") in str(e.value)
    found = neuromfa.read_suite(tmp_path / "suite-results")
    assert states(found.entries) == {"step0": "done", "step8": "failed", "step64": "done"}
    assert [e.revision for e in found.series("tiny")] == ["step0", "step64"]
    assert "model.safetensors" in found.entries[1].error
    assert found.emergence["tiny"]["labels"] == ["step0", "step64"]
    with pytest.raises(neuromfa.UsageError, match="tiny@step8: is failed and has no analysis"):
        found.analysis(found.entries[1])
    file.write_bytes(kept)
    neuromfa.run_suite(training)
    assert results_of(found.directory) == results_of(whole.directory)


def test_nothing_but_failures(training, tmp_path):
    for step in STEPS:
        (tmp_path / "tiny" / f"step{step}" / "model.safetensors").unlink()
    (tmp_path / "losses.csv").write_text("model,step,task,metric,value\ntiny,0,text,loss,3\n")
    training.write_text(training.read_text() + '[[scores]]\nfiles = ["losses.csv"]\n')
    with pytest.raises(neuromfa.PartialError, match="3 of 3 checkpoints failed"):
        neuromfa.run_suite(training)
    found = neuromfa.read_suite(tmp_path / "suite-results")
    assert found.series("tiny") == ()
    assert found.table().num_rows == 0
    assert found.cube()["tau"].shape == (0, 0, 0)
    assert found.emergence["tiny"].keys() == {"undefined"}
    assert found.scores()["checkpoint_revision"].to_pylist() == ["step0"]
    rows = found.association["associations"]["rows"]
    assert all(row[found.association["associations"]["columns"].index("n")] == 0 for row in rows)


def test_without_its_baseline_a_model_has_no_emergence(training, tmp_path):
    shutil.rmtree(tmp_path / "tiny" / "step0")
    write_checkpoint(tmp_path / "tiny" / "step0", weights(0) | {"x": np.full((3, 4), np.nan)})
    with pytest.raises(neuromfa.PartialError, match="1 of 3 checkpoints failed"):
        neuromfa.run_suite(training)
    found = neuromfa.read_suite(tmp_path / "suite-results")
    assert found.baseline("tiny") is None
    undefined = found.emergence["tiny"]["undefined"]
    assert undefined.startswith("the baseline step0 is failed: ")
    assert "nan" in undefined.lower()
    assert [e.controls_key for e in found.entries] == [None] * 3
    assert [e.error is None for e in found.entries] == [False, True, True]
    parts = [tmp_path / name for name in "abc"]  # each of which looks at the baseline itself
    for number, output in enumerate(parts, 1):
        with pytest.raises(neuromfa.PartialError):
            run_shard(training, (number, 3), output=output)
    with pytest.raises(neuromfa.PartialError, match="1 of 3 checkpoints failed"):
        merge_suite(training, parts, output=tmp_path / "merged")
    assert results_of(tmp_path / "merged") == results_of(found.directory)


def test_networks_that_do_not_compare_have_no_controls(training, tmp_path):
    shutil.rmtree(tmp_path / "tiny" / "step8")
    write_checkpoint(tmp_path / "tiny" / "step8", {"w": np.full((40, 30), 0.02, np.float32)})
    with pytest.raises(neuromfa.PartialError, match=r"tiny@step8 \(controls: "):
        neuromfa.run_suite(training)
    found = neuromfa.read_suite(tmp_path / "suite-results")
    assert states(found.entries) == {"step0": "done", "step8": "done", "step64": "done"}


def test_equal_weights_count_once(tmp_path):
    write_training(tmp_path / "tiny", (0, 8))
    shutil.copytree(tmp_path / "tiny" / "step0", tmp_path / "tiny" / "step1")
    write_training(tmp_path / "twin", (0, 16))
    path = write_suite(tmp_path, SETTINGS, "tiny twin")
    path.write_text(path.read_text().replace('["tiny/step*"]', '["tiny/step*"]\nbaseline="step1"'))
    found = neuromfa.run_suite(path)
    zero, one, eight, other, sixteen = found.entries
    assert (one.state, one.duplicate_of, one.key) == ("duplicate", "tiny@step0", zero.key)
    assert (other.state, other.duplicate_of, other.key) == ("done", "tiny@step0", zero.key)
    assert {e.state for e in (zero, eight, sixteen)} == {"done"}
    assert {e.duplicate_of for e in (zero, eight, sixteen)} == {None}
    assert [e.revision for e in found.series("tiny")] == ["step0", "step8"]
    assert found.baseline("tiny") == zero
    assert found.emergence["tiny"]["labels"] == ["step0", "step8"]
    assert found.emergence["tiny"]["baseline"] == "step0"
    assert found.emergence["twin"]["labels"] == ["step0", "step16"]
    assert found.analysis(one).source == "tiny/step0"
    assert len(list((found.directory / "analyses").iterdir())) == 3
    assert set(found.table()["revision"].to_pylist()) == {"step0", "step8", "step16"}


def test_links_to_one_file_are_not_read_twice(training, tmp_path, computed):
    (tmp_path / "tiny" / "step9").mkdir()
    for name in ("model.safetensors", "config.json"):
        (tmp_path / "tiny" / "step9" / name).symlink_to(tmp_path / "tiny" / "step8" / name)
    found = neuromfa.run_suite(training)
    assert states(found.entries)["step9"] == "duplicate"
    assert [name for _, name in computed if name == "step9"] == []


@pytest.mark.parametrize("apart", [False, True])
def test_parts_put_together_are_the_whole(training, tmp_path, apart):
    whole = neuromfa.run_suite(training, output=tmp_path / "whole")
    parts = [tmp_path / (f"part{n}" if apart else "parts") for n in (1, 2)]
    second = run_shard(training, (2, 2), output=parts[1])
    assert states(second) == {"step8": "done"}
    with pytest.raises(neuromfa.PartialError, match="2 of 3 checkpoints are not done yet"):
        merge_suite(training, parts[1:], output=tmp_path / "merged" if apart else parts[0])
    first = run_shard(training, (1, 2), output=parts[0])
    assert states(first) == {"step0": "done", "step64": "done"}
    output = tmp_path / "merged" if apart else parts[0]
    merged = merge_suite(training, parts if apart else (), output=output)
    assert results_of(output) == results_of(whole.directory)
    assert states(merged.entries) == states(suite_status(training, output=output))
    merge_suite(training, parts, output=output)
    assert len(merged.log) == 6
    with pytest.raises(neuromfa.UsageError, match="shard 3/2: write i/n with i from 1 to n"):
        run_shard(training, (3, 2))
    with pytest.raises(neuromfa.BadInputError, match="holds no part of a suite"):
        merge_suite(training, [tmp_path / "tiny"], output=output)


class Enough(Exception):
    """What a caller raises who wants to stop."""


def test_an_exception_from_the_callback_stops_the_run(training, tmp_path):
    whole = neuromfa.run_suite(training, output=tmp_path / "whole")
    seen = []

    def stop_at(count):
        def callback(state):
            seen.append(state)
            if len(seen) == count:
                raise Enough

        seen.clear()
        return callback

    for count in (1, 5, 9, 13):
        with pytest.raises(Enough):
            neuromfa.run_suite(training, progress=stop_at(count))
        assert "failed" not in states(suite_status(training)).values()
    neuromfa.run_suite(training, progress=stop_at(None))
    last = seen[-1]
    assert (last.done, last.total, last.entry.revision) == (3, 3, "step64")
    assert (last.stage, last.error) == ("end", None)
    assert results_of(tmp_path / "suite-results") == results_of(whole.directory)


def test_one_run_at_a_time(training):
    def again(_state):
        with pytest.raises(neuromfa.UsageError, match="another run of this suite is at work"):
            neuromfa.run_suite(training)
        with pytest.raises(neuromfa.UsageError, match="another run of this suite is at work"):
            run_shard(training, (1, 2))

    neuromfa.run_suite(training, progress=again)


def test_a_journal_that_ends_in_half_a_line(training, tmp_path, computed):
    found = neuromfa.run_suite(training)
    results, log = results_of(found.directory), found.directory / "log.jsonl"
    log.write_bytes(log.read_bytes()[:-30])  # of the controls of step64, which are there
    (found.directory / "analyses" / ".half.json.0123abcd").write_text("{")
    (found.directory / "suite.json").unlink()
    with pytest.raises(neuromfa.BadInputError, match="holds no finished suite; give the output"):
        neuromfa.read_suite(found.directory)
    computed.clear()
    neuromfa.run_suite(training)
    assert computed == []
    assert results_of(found.directory) == results
    assert [event["event"] for event in found.log].count("controls") == 3


def test_the_reference_protocol(tmp_path):
    write_training(tmp_path / "tiny", STEPS)
    settings = '[protocol]\nkind = "reference"\nsample_size = 12\nsamples = 3\n'
    found = neuromfa.run_suite(write_suite(tmp_path, settings))
    assert found.record["protocol_kind"] == "reference"
    first, *_, last = (found.analysis(entry) for entry in found.entries)
    jsonschema.validate(last.to_dict(), neuromfa.schema("reference"))
    protocol = neuromfa.ReferenceProtocol(sample_size=12, samples=3)
    alone = neuromfa.analyse_reference(tmp_path / "tiny" / "step64", protocol)
    assert [s.to_dict() for s in last.samples] == [s.to_dict() for s in alone.samples]
    course = found.emergence["tiny"]
    expected = neuromfa.reference_emergence(last, first)
    assert (course["baseline"], course["points"][-1]["degree"]) == ("step0", expected.degree)
    cube = found.cube()
    assert cube["group"].tolist() == ["0", "1", "2"]
    assert np.array_equal(cube["alpha"][-1, 2, :-1], last.samples[2].alpha)
    assert np.isnan(cube["alpha"][-1, 2, -1])
    (row,) = (
        row
        for row in found.table().to_pylist()
        if (row["revision"], row["quantity"]) == ("step64", "E")
    )
    assert row["value"] == expected.degree
    assert row["stderr"] == pytest.approx(expected.degree_sd / np.sqrt(3), rel=1e-12)


def test_scores_are_joined(training, tmp_path, monkeypatch):
    rows = ["model,step,task,metric,value"]
    rows += [f"small,{step},held_out,loss,{5 - step / 100}" for step in (0, 8, 99)]
    (tmp_path / "losses.csv").write_text("\n".join(rows))
    text = training.read_text()
    scores = '\n[[scores]]\nfiles = ["loss*.csv"]\naliases = { small = "tiny" }\n'
    training.write_text(text + scores)
    found = neuromfa.run_suite(training)
    table = found.scores().to_pylist()
    assert [(r["step"], r["checkpoint_model"], r["checkpoint_revision"]) for r in table] == [
        (0, "tiny", "step0"), (8, "tiny", "step8"), (99, None, None),
    ]  # fmt: skip
    assert found.association["join"]["scores_joined"] == 2
    columns = found.association["associations"]["columns"]
    measures = {r[columns.index("measure")] for r in found.association["associations"]["rows"]}
    assert measures >= {"E", "E_scale", "alpha_0", "width"}
    training.write_text(text + scores.replace('"tiny"', '"huge"'))
    with pytest.raises(neuromfa.UsageError, match="alias small: no checkpoint of huge"):
        neuromfa.run_suite(training)
    training.write_text(text + scores.replace("loss*", "gain*"))
    with pytest.raises(neuromfa.BadInputError, match=r"scores gain\*.csv fits nothing"):
        neuromfa.run_suite(training)
    monkeypatch.setattr("neuromfa.suites.scoring.find_spec", lambda _: None)
    with pytest.raises(neuromfa.ResourceError, match=r"pip install 'neuromfa\[suite\]'"):
        neuromfa.run_suite(training)
    training.write_text(text)
    assert neuromfa.run_suite(training).scores() is None


def test_revisions_of_a_hub_model(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    repository = tmp_path / "hub" / "models--EleutherAI--pythia-70m"
    (repository / "refs").mkdir(parents=True)
    for step in (0, 8):
        (repository / "refs" / f"step{step}").write_text(commit := f"{step:040x}")
        write_checkpoint(repository / "snapshots" / commit, weights(step))
    path = tmp_path / "suite.toml"
    path.write_text(
        'controls = false\n[[model]]\nhub = "EleutherAI/pythia-70m"\n'
        'revisions = ["step*", "step16", "main"]\n'
    )
    with pytest.raises(neuromfa.PartialError, match="2 of 4 checkpoints failed"):
        neuromfa.run_suite(path)
    found = neuromfa.read_suite(tmp_path / "suite-results")
    assert [(e.model, e.revision, e.tokens, e.commit, e.state) for e in found.entries] == [
        ("pythia-70m", "step0", 0, f"{0:040x}", "done"),
        ("pythia-70m", "step8", 8 * 2_097_152, f"{8:040x}", "done"),
        ("pythia-70m", "step16", 16 * 2_097_152, None, "failed"),
        ("pythia-70m", "main", 143_000 * 2_097_152, None, "failed"),
    ]
    assert "hf download EleutherAI/pythia-70m --revision step16" in found.entries[2].error
    assert found.analysis(found.entries[1]).source == "EleutherAI/pythia-70m@step8"


def test_a_suite_made_in_python(tmp_path):
    write_training(tmp_path / "tiny", (0, 8))
    suite = neuromfa.Suite(
        name="mine",
        models=(neuromfa.SuiteModel(name="tiny", checkpoints=("tiny/step*",)),),
        controls=None,
        structure=None,
        root=tmp_path,
    )
    with pytest.raises(neuromfa.UsageError, match="suite mine: has no output"):
        neuromfa.run_suite(suite)
    found = neuromfa.run_suite(suite, output=tmp_path / "out")
    assert [e.controls_key for e in found.entries] == [None, None]
    assert not (tmp_path / "out" / "controls").exists()
    assert found.emergence["tiny"]["groups"][0]["points"][1]["controls"] is None


def test_directories_without_a_suite(tmp_path):
    with pytest.raises(neuromfa.BadInputError, match="holds no finished suite; give the output"):
        neuromfa.read_suite(tmp_path)
    (tmp_path / "suite.json").write_text("{}")
    with pytest.raises(neuromfa.BadInputError, match="schema version None"):
        neuromfa.read_suite(tmp_path)
