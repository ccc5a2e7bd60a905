"""Architectures and score readers of other distributions: found, used, and named when they fail."""

import json
import sys
import textwrap

import numpy as np
import pytest
from click.testing import CliRunner

import neuromfa
from neuromfa import doctor
from neuromfa.architectures import load_registry
from neuromfa.cli import cli
from neuromfa.errors import BadInputError
from neuromfa.plug_ins import ARCHITECTURES, SCORE_READERS, plug_ins

REGISTRY = """
[family.theirs]
model_types = ["theirs"]
blocks = ["stage.{block}."]
[family.theirs.block]
"mix" = "attention_input"
"out" = "mlp_hidden"
"""


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Install a distribution: its module, and its entry points by group."""

    modules = set()

    def install(name, code="", /, **groups):
        module = name.replace("-", "_")
        modules.add(module)
        (tmp_path / f"{module}.py").write_text(textwrap.dedent(code))
        folder = tmp_path / f"{module}-1.5.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.5\n")
        points = "".join(f"[{g}]\n{value}\n" for g, value in groups.items())
        (folder / "entry_points.txt").write_text(points.replace("__", "."))
        load_registry.cache_clear()
        return tmp_path

    monkeypatch.syspath_prepend(str(tmp_path))
    yield install
    load_registry.cache_clear()
    for module in modules:
        sys.modules.pop(module, None)


def state():
    rng = np.random.default_rng(0)
    return {f"stage.{b}.{n}": rng.normal(0, 0.1, (12, 12)).astype("f4")
            for b in range(2) for n in ("mix", "out")}  # fmt: skip


def text_plug_in(install, name="their-models", registry=REGISTRY):
    module = name.replace("-", "_")
    code = f"def registry():\n    return {registry!r}\n"
    return install(name, code, neuromfa__architectures=f"models = {module}:registry")


def test_nothing_is_installed():
    assert plug_ins(ARCHITECTURES) == plug_ins(SCORE_READERS) == ()
    assert load_registry().installed == frozenset()


def test_an_architecture_is_used_and_named(installed):
    text_plug_in(installed)
    analysis = neuromfa.analyse(state(), neuromfa.Protocol(q=(-1, 0, 1), min_neighbours=2))
    assert analysis.architecture == "theirs"
    assert {group.name for group in analysis.roles} == {"attention_input", "mlp_hidden"}
    assert "family theirs is described by their-models 1.5" in analysis.warnings
    rows = json.loads(CliRunner().invoke(cli, ["architectures", "--json"]).stdout)
    sources = {row["family"]: row["source"] for row in rows}
    assert (sources["theirs"], sources["llama"]) == ("their-models 1.5", "neuromfa")
    checks = {check["check"]: check for check in doctor.examine()}
    assert checks["architectures of their-models 1.5"]["detail"] == "theirs"


@pytest.mark.parametrize("code", ["registry = Path(FILE)", "registry = lambda: Path(FILE)"])
def test_a_registry_can_be_a_file(installed, tmp_path, code):
    file = tmp_path / "registry.toml"
    file.write_text(REGISTRY)
    code = f"from pathlib import Path\nFILE = {str(file)!r}\n{code}\n"
    installed("their-models", code, neuromfa__architectures="models = their_models:registry")
    assert load_registry().installed == {"theirs"}


def test_a_plug_in_replaces_nothing(installed, tmp_path):
    text_plug_in(installed, registry=REGISTRY.replace("theirs", "llama"))
    text_plug_in(installed, "a-models")
    text_plug_in(installed, "b-models")
    registry = load_registry()
    assert registry.families["llama"].source == "neuromfa"
    assert registry.families["theirs"].source == "a-models 1.5"
    assert registry.problems == (
        "b-models 1.5: entry point models (neuromfa.architectures): family theirs: is that of "
        "a-models 1.5",
        "their-models 1.5: entry point models (neuromfa.architectures): family llama: is that of "
        "neuromfa",
    )
    file = tmp_path / "mine.toml"
    file.write_text(REGISTRY)
    mine = load_registry(file)
    assert mine.families["theirs"].source == str(file)
    assert len(mine.problems) == 1


def test_names_that_a_family_of_ours_fits_stay_ours(installed):
    own = neuromfa.analyse(llama(), neuromfa.Protocol(q=(-1, 0, 1), min_neighbours=2))
    text_plug_in(installed, registry="""
[family.other]
blocks = ["model.layers.{block}."]
[family.other.block]
"self_attn.(q|k|v|o)_proj" = "mlp_hidden"
"mlp.(gate|up|down)_proj" = "mlp_hidden"
""")  # fmt: skip
    same = neuromfa.analyse(llama(), neuromfa.Protocol(q=(-1, 0, 1), min_neighbours=2))
    assert same.architecture == own.architecture == "llama"


def llama():
    rng = np.random.default_rng(0)
    names = [f"self_attn.{n}_proj" for n in "qkvo"] + [f"mlp.{n}_proj" for n in ("gate", "up")]
    shapes = dict.fromkeys(names, (12, 12)) | {"mlp.down_proj": (12, 12)}
    return {
        f"model.layers.{b}.{name}.weight": rng.normal(0, 0.1, shape).astype("f4")
        for b in range(2)
        for name, shape in shapes.items()
    }


WHERE = "their-models 1.5: entry point models (neuromfa.architectures): "


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        ("import no_such_module", f"{WHERE}fails (ModuleNotFoundError: No module named "
         "'no_such_module'); update or uninstall it"),
        ("", f"{WHERE}fails (AttributeError: module 'their_models' has no attribute 'registry'); "
         "update or uninstall it"),
        ("def registry():\n    raise OSError('gone')",
         f"{WHERE}fails (OSError: gone); update or uninstall it"),
        ("registry = 7",
         f"{WHERE}gives a int, not a registry as text or file; update or uninstall it"),
        ("registry = '[family'", f"{WHERE}registry is not valid: Expected"),
        ("registry = '[family.x]'", "their-models 1.5: family x: no tensor is analysed"),
    ],
)  # fmt: skip
def test_a_broken_plug_in_is_one_sentence(installed, code, sentence):
    installed("their-models", code, neuromfa__architectures="models = their_models:registry")
    (problem,) = load_registry().problems
    assert problem.startswith(sentence)
    assert problem.endswith("; its architectures are not known")
    assert "\n" not in problem
    analysis = neuromfa.analyse(llama(), neuromfa.Protocol(q=(-1, 0, 1), min_neighbours=2))
    assert analysis.architecture == "llama"
    assert problem in analysis.warnings
    run = CliRunner().invoke(cli, ["architectures", "--json"])
    assert f"neuromfa: warning: {problem}\n" == run.stderr
    assert not all(check["ok"] for check in doctor.examine())


READER = """
import neuromfa

def read(path):
    text = path.read_text(encoding="latin-1")
    if not text.startswith("SCORES"):
        return None
    model, value = text.split()[1:]
    return [neuromfa.Score(model=model, revision=None, step=None, tokens=None, commit=None,
                           task="t", metric="acc", filter=None, shots=None, version=None,
                           limit=None, value=float(value), stderr=None, higher_is_better=True,
                           layout="theirs", source=str(path))]
"""


def test_a_reader_of_scores(installed, tmp_path):
    installed("their-scores", READER, neuromfa__score_readers="plain = their_scores:read")
    file = tmp_path / "found.txt"
    file.write_text("SCORES m 0.5")
    (score,) = neuromfa.read_scores(file)
    assert (score.model, score.value, score.layout) == ("m", 0.5, "theirs")
    checks = {check["check"]: check for check in doctor.examine()}
    assert checks["scores read by their-scores 1.5"] == {
        "check": "scores read by their-scores 1.5", "ok": True, "detail": "plain",
    }  # fmt: skip
    file.write_text("something else")
    with pytest.raises(BadInputError, match="is neither JSON nor a table of scores"):
        neuromfa.read_scores(file)
    with pytest.raises(BadInputError, match="No such file"):
        neuromfa.read_scores(tmp_path / "none.txt")


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        ("def read(path):\n    return 1 / 0", "fails (ZeroDivisionError: division by zero)"),
        ("def read(path):\n    return ['x']", "gives no scores of "),
        ("def read(path):\n    return []", "gives no scores of "),
        ("raise ImportError('torch')", "fails (ImportError: torch)"),
    ],
)
def test_a_broken_reader_is_named_beside_our_reason(installed, tmp_path, code, sentence):
    installed("bad-scores", code, neuromfa__score_readers="bad = bad_scores:read")
    file = tmp_path / "found.txt"
    file.write_text("SCORES m 0.5")
    with pytest.raises(BadInputError) as error:
        neuromfa.read_scores(file)
    ours, theirs = str(error.value).split("; bad-scores 1.5: entry point bad ")
    assert ours.startswith(f"{file}: is neither JSON nor")
    assert theirs.startswith(f"(neuromfa.score_readers): {sentence}")


def test_plug_ins_are_not_imported_until_needed(installed, tmp_path):
    installed("slow", "raise SystemError", neuromfa__score_readers="slow = slow:read")
    table = tmp_path / "scores.csv"
    table.write_text("model,step,task,metric,value,stderr\nm,1,t,acc,0.5,0.1\n")
    assert len(neuromfa.read_scores(table)) == 1
