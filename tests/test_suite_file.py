"""Suite files: what is in them, where their paths lead, and a sentence for every mistake."""

import dataclasses
import re
from pathlib import Path

import pytest

import neuromfa
from neuromfa.reference.settings import ReferenceProtocol
from neuromfa.suites.suite import Named, Suite, SuiteModel
from neuromfa.suites.suite_file import read_suite_file
from tiny_training import write_training

COMPLETE = """
name = "a run"
output = "found"
allow_pickle = true
strict = true
architectures = "families.toml"
structure = "full"

[protocol]
kind = "exact"
cutoff = 99
q = "-1:1:0.5"
min_neighbours = 3
radii = "all"
experts = "separate"
nonfinite = "drop"
include = ["head"]
distance = "relative"
relative_scale = 40.0

[controls]
seed = 7
replicates = 3

[[model]]
name = "tiny"
checkpoints = ["tiny/step*", { path = "tiny/last", step = 900, tokens = 12 }]
baseline = "step10"

[[model]]
hub = "org/big-model"
revisions = ["main", "stage1-step9000-tokens38B"]

[[scores]]
files = ["scores/*.csv"]
aliases = { "old-tiny" = "tiny" }
"""


def suite_file(folder, text):
    path = folder / "suite.toml"
    path.write_text(text)
    return path


def test_everything_that_a_file_can_say(tmp_path):
    suite = read_suite_file(suite_file(tmp_path, COMPLETE))
    assert suite == Suite(
        name="a run",
        output=tmp_path / "found",
        opening={
            "allow_pickle": True,
            "strict": True,
            "architectures": tmp_path / "families.toml",
        },
        structure="full",
        protocol=neuromfa.Protocol(
            cutoff=99,
            q=(-1, -0.5, 0, 0.5, 1),
            min_neighbours=3,
            radii="all",
            experts="separate",
            nonfinite="drop",
            include=("head",),
            distance="relative",
            relative_scale=40.0,
        ),
        controls={"seed": 7, "replicates": 3},
        models=(
            SuiteModel(
                name="tiny",
                checkpoints=("tiny/step*", Named(name="tiny/last", step=900, tokens=12)),
                baseline="step10",
            ),
            SuiteModel(
                name="big-model",
                hub="org/big-model",
                checkpoints=("main", "stage1-step9000-tokens38B"),
            ),
        ),
        scores=({"files": ["scores/*.csv"], "aliases": {"old-tiny": "tiny"}},),
        root=tmp_path,
    )


def test_a_small_file_has_defaults(tmp_path):
    suite = read_suite_file(suite_file(tmp_path, '[[model]]\nname = "m"\ncheckpoints = ["x"]'))
    assert suite.name == "suite"
    assert suite.output == tmp_path / "suite-results"
    assert suite.protocol == neuromfa.Protocol()
    assert suite.controls == {"seed": 0, "replicates": 10}
    assert suite.structure == "simple"


def test_the_reference_protocol(tmp_path):
    text = '[protocol]\nkind = "reference"\nsample_size = 32\n'
    path = suite_file(tmp_path, text + '[[model]]\nname = "m"\ncheckpoints = ["x"]')
    suite = read_suite_file(path)
    assert suite.protocol == ReferenceProtocol(sample_size=32)
    assert suite.controls is None
    assert suite.structure is None


def test_checkpoints_come_in_the_order_of_training(tmp_path):
    write_training(tmp_path / "tiny", [10, 0, 2, 100])
    write_training(tmp_path / "tiny" / "more", [30])
    (tmp_path / "tiny" / "step-notes.txt").write_text("no checkpoint")
    path = suite_file(tmp_path, COMPLETE.replace('"tiny/step*"', '"tiny/step*", "tiny/*/step*"'))
    suite = read_suite_file(path)
    entries = suite.entries()
    assert [(e.model, e.revision, e.step, e.tokens, e.source) for e in entries] == [
        ("tiny", "step0", 0, None, "tiny/step0"),
        ("tiny", "step2", 2, None, "tiny/step2"),
        ("tiny", "step10", 10, None, "tiny/step10"),
        ("tiny", "step30", 30, None, "tiny/more/step30"),
        ("tiny", "step100", 100, None, "tiny/step100"),
        ("tiny", "last", 900, 12, "tiny/last"),
        (
            *("big-model", "stage1-step9000-tokens38B", 9000, 38_000_000_000),
            "org/big-model@stage1-step9000-tokens38B",
        ),
        ("big-model", "main", None, None, "org/big-model@main"),
    ]
    assert {e.state for e in entries} == {"pending"}
    assert {m: e.revision for m, e in suite.baselines().items()} == {
        "tiny": "step10",
        "big-model": "stage1-step9000-tokens38B",
    }
    assert suite.place(entries[1]) == str(tmp_path / "tiny" / "step2")
    assert suite.place(entries[-1]) == "org/big-model@main"


def test_a_checkpoint_that_is_listed_twice_is_one(tmp_path):
    write_training(tmp_path / "tiny", [0])
    said = '{ path = "./tiny/step0/", tokens = 5 }'
    for order in (f'"tiny/*", {said}', f'{said}, "tiny/*"'):
        path = suite_file(tmp_path, f'[[model]]\nname = "m"\ncheckpoints = [{order}]')
        (entry,) = read_suite_file(path).entries()
        assert (entry.step, entry.tokens, entry.source) == (0, 5, "tiny/step0")


def test_revisions_in_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    refs = tmp_path / "models--org--m" / "refs"
    refs.mkdir(parents=True)
    for name in ("main", "step1000", "step20"):
        (refs / name).write_text("0" * 40)
    text = '[[model]]\nhub = "org/m"\nrevisions = ["step*"]'
    entries = read_suite_file(suite_file(tmp_path, text)).entries()
    assert [(e.revision, e.step) for e in entries] == [("step20", 20), ("step1000", 1000)]


def test_the_examples_of_the_page(tmp_path):
    page = (Path(__file__).parent.parent / "docs" / "suites.md").read_text(encoding="utf-8")
    smallest, complete = re.findall(r"^```toml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    write_training(tmp_path, (0, 8))
    entries = read_suite_file(suite_file(tmp_path, smallest)).entries()
    assert [entry.step for entry in entries] == [0, 8]
    write_training(tmp_path / "runs" / "ours", [0])
    (tmp_path / "runs" / "ours" / "step0").rename(tmp_path / "runs" / "ours" / "checkpoint-500")
    suite = read_suite_file(suite_file(tmp_path, complete))
    assert suite.protocol == neuromfa.Protocol()
    assert [(e.name, e.step) for e in suite.entries()] == [
        ("ours@checkpoint-500", 500),
        ("ours@final", 20000),
        *((f"pythia-70m-deduped@step{step}", step) for step in (0, 512, 1000)),
        ("pythia-70m-deduped@main", 143000),
    ]
    for field in dataclasses.fields(suite):  # the example shows every key
        if field.name not in ("root", "opening"):
            assert getattr(suite, field.name) is not None
    assert suite.opening.keys() == {"allow_pickle", "strict", "architectures"}


ONE = '[[model]]\nname = "m"\ncheckpoints = ["x"]\n'


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "has no models; write a table [[model]] for each"),
        ("nmae = 'x'\n" + ONE, "the file: unknown key nmae; known are name, output,"),
        (ONE + "step = 1", "[[model]] 1: unknown key step; known are name, checkpoints, hub,"),
        (
            ONE + "[protocol]\ncutof = 3",
            "[protocol] of kind exact: unknown key cutof; known are cutoff, q, min_neighbours",
        ),
        (
            ONE + '[protocol]\nkind = "reference"\nq = [1]',
            "[protocol] of kind reference: unknown key q; known are sample_size, samples, cutoff",
        ),
        (ONE + '[protocol]\nkind = "near"', "kind 'near': must be exact or reference"),
        (ONE + '[protocol]\ncutoff = "far"', "cutoff 'far': must be a number"),
        (ONE + "[protocol]\ncutoff = true", "cutoff True: must be a number"),
        (ONE + "[protocol]\ncutoff = 0.5", "[protocol]: cutoff 0.5: must be above 1"),
        (ONE + '[protocol]\nq = "x"', "[protocol]: q x: write FIRST:LAST:STEP"),
        (ONE + '[protocol]\nq = [0, "x"]', "[protocol]: could not convert string to float"),
        (ONE + "[controls]\nsed = 1", "[controls]: unknown key sed; known are seed, replicates"),
        (
            ONE + '[controls]\nseed = 1\n[protocol]\nkind = "reference"',
            "[controls]: the reference protocol has none",
        ),
        ('structure = "much"\n' + ONE, "structure 'much': must be simple, full or false"),
        (
            'structure = "full"\n' + ONE + '[protocol]\nkind = "reference"',
            "structure full: the reference protocol has none",
        ),
        (
            ONE + '[[scores]]\nfile = "x"',
            "unknown key file; known are files, aliases",
        ),
        (ONE + '[[scores]]\naliases = { a = "b" }', "[[scores]] 1: has no files"),
        (ONE + '[[scores]]\nfiles = "x"', "files 'x': must be a list"),
        (ONE + "[[scores]]\nfiles = [1]", "must be a list of paths"),
        (ONE + '[[scores]]\nfiles = ["x"]\naliases = { a = 1 }', "a 1: must be text"),
        ('[[model]]\ncheckpoints = ["x"]', "[[model]] 1: has no name"),
        ('[[model]]\nname = ""\ncheckpoints = ["x"]', "[[model]] 1: name is empty"),
        ('[[model]]\nname = "m"', "[[model]] 1: has no checkpoints"),
        ('[[model]]\nhub = "o/m"', "[[model]] 1: has no revisions"),
        (ONE + 'revisions = ["x"]', "revisions do not go without hub; write checkpoints"),
        (ONE + 'hub = "a/b"', "checkpoints do not go with hub; write revisions"),
        ('[[model]]\nname = "m"\ncheckpoints = [3]', "checkpoint 3: must be text, or a table with"),
        (
            '[[model]]\nname = "m"\ncheckpoints = [{ revision = "x" }]',
            "unknown key revision; known are path, step, tokens",
        ),
        ('[[model]]\nname = "m"\ncheckpoints = [{ step = 3 }]', "has no path"),
        ("model = 3", "model 3: must be a list"),
        ("model = [3]", "[[model]] 1: must be a table, not 3"),
        ("controls = 3\n" + ONE, "controls 3: must be a table, or false"),
    ],
)
def test_mistakes_in_a_file(tmp_path, text, sentence):
    path = suite_file(tmp_path, text)
    with pytest.raises(neuromfa.UsageError) as error:
        read_suite_file(path)
    assert str(error.value).startswith(f"{path}: ")
    assert sentence in str(error.value)


def test_files_that_are_none(tmp_path):
    with pytest.raises(neuromfa.BadInputError, match="No such file"):
        read_suite_file(tmp_path / "none.toml")
    with pytest.raises(neuromfa.BadInputError, match="is not TOML"):
        read_suite_file(suite_file(tmp_path, "name = "))


@pytest.mark.parametrize(
    ("models", "kind", "sentence"),
    [
        (ONE + ONE, neuromfa.UsageError, "two models are called m"),
        (
            '[[model]]\nname = "m"\ncheckpoints = ["a/step1", "b/step1"]',
            neuromfa.UsageError,
            "a/step1 and b/step1 are both called step1; make them two models",
        ),
        (ONE + 'baseline = "y"', neuromfa.UsageError, "baseline y is none of its 1 checkpoints"),
        ('[[model]]\nname = "m"\ncheckpoints = []', neuromfa.UsageError, "has no checkpoints"),
        (
            '[[model]]\nname = "m"\ncheckpoints = ["step*"]',
            neuromfa.BadInputError,
            "step* fits nothing in ",
        ),
        (
            '[[model]]\nname = "m"\ncheckpoints = [{ path = "step*", step = 3 }]',
            neuromfa.UsageError,
            "step* stands for several; give step and tokens of one",
        ),
        (
            '[[model]]\nhub = "org"\nrevisions = ["step*"]\nname = "m"',
            neuromfa.UsageError,
            "hub org: write org/name",
        ),
    ],
)
def test_mistakes_in_checkpoints(tmp_path, models, kind, sentence):
    suite = read_suite_file(suite_file(tmp_path, models))
    with pytest.raises(kind) as error:
        suite.entries()
    assert sentence in str(error.value)
