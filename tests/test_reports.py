"""Reports say what the results say, leave out what is not there, and trust no name."""

import base64
import hashlib
import html
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser

import pytest

import neuromfa
from neuromfa.errors import BadInputError, ResourceError
from neuromfa.reports import chart, page, pictures, story
from neuromfa.reports.figure import Figure, Missing, Note, Table, file_stem, shown
from neuromfa.reports.material import of_analysis, open_material
from neuromfa.reports.opening import opening
from tiny_training import weights, write_checkpoint, write_training

STEPS = (0, 8, 64, 500)
EVIL = "</script><img src=x onerror=alert(1)> {{ 7 * 7 }}"
SUITE = """
name = "two models"
[protocol]
q = "-2:2:0.5"
[controls]
replicates = 2
[[model]]
name = "tiny"
checkpoints = ["tiny/step*"]
[[model]]
name = {name}
checkpoints = ["other/step*"]
[[scores]]
files = ["scores.csv"]
"""


@pytest.fixture(scope="module")
def suite(tmp_path_factory):
    """Results of two models: one checkpoint is a duplicate, one is broken, scores are uneven."""
    folder = tmp_path_factory.mktemp("suite")
    write_training(folder / "tiny", STEPS)
    write_training(folder / "other", STEPS[:2], seed=7)
    write_checkpoint(folder / "other" / "step9", weights(8, 7))
    (folder / "other" / "step700").mkdir()
    (folder / "other" / "step700" / "model.safetensors").write_bytes(b"{}")
    lines = [f"tiny,{step},task <i>,acc,{0.2 + 0.1 * n},0.01" for n, step in enumerate(STEPS)]
    lines += [f"tiny,{step},words,loss,{5 - n}," for n, step in enumerate(STEPS[:-1])]
    lines += ["tiny,64,nothing,acc,,", "stranger,8,words,loss,1.0,"]
    head = "model,step,task,metric,value,stderr"
    (folder / "scores.csv").write_text("\n".join([head, *lines]) + "\n")
    (folder / "suite.toml").write_text(SUITE.format(name=json.dumps(EVIL)))
    with pytest.raises(neuromfa.NeuromfaError, match="1 of 8 checkpoints failed"):
        neuromfa.run_suite(folder / "suite.toml", output=folder / "results")
    return folder / "results"


@pytest.fixture(scope="module")
def material(suite):
    return open_material(suite)


@pytest.fixture(scope="module")
def sections(material):
    return story.tell(material)


@pytest.fixture(scope="module")
def rendered(material, sections):
    return page.render(opening(material), sections)


@pytest.fixture(scope="module")
def alone():
    """A report of one analysis of a model with a name."""
    tensors = {name: tensor.astype("float32") for name, tensor in weights(64).items()}
    analysis = replace(neuromfa.analyse(tensors), source=f"models/{EVIL}")
    material = of_analysis(analysis)
    return analysis, material, story.tell(material)


def items(sections, kind):
    return [item for section in sections for item in section.items if isinstance(item, kind)]


def figure(sections, name):
    (found,) = (item for item in items(sections, Figure) if item.name == name)
    return found


class Page(HTMLParser):
    """What a browser would do with the page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.scripts, self.ids, self.words = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.ids += [value for name, value in attributes if name == "id"]
        if tag == "script":
            self.scripts.append((dict(attributes).get("type"), ""))

    def handle_data(self, data):
        if self.lasttag == "script" and self.scripts and not self.scripts[-1][1]:
            self.scripts[-1] = (self.scripts[-1][0], data)
        self.words.append(data)


def test_emergence_is_that_of_the_results(suite, sections):
    record = json.loads((suite / "emergence.json").read_text())["models"]["tiny"]
    (network,) = (group for group in record["groups"] if group["kind"] == "network")
    drawn = figure(sections, "emergence-tiny")
    rows = [
        (
            point["label"], int(point["label"][4:]), point["E"], point["E_stderr"],
            *(point["controls"][name]["E"] for name in ("scale", "shape", "scale_free")),
        )
        for point in network["points"]
    ]  # fmt: skip
    assert list(drawn.table.rows) == rows
    values = {(r["label"], r["series"]): r["value"] for r in drawn.spec["data"]["values"]}
    for label, _, e, *_ in rows:
        assert values[label, "as measured"] == pytest.approx(e, rel=1e-5, abs=1e-12)
    assert shown(rows[-1][2]) in drawn.summary


def test_scores_are_those_that_were_joined(sections):
    drawn = figure(sections, "scores-acc-tiny")
    assert [row[2] for row in drawn.table.rows] == pytest.approx([0.2, 0.3, 0.4, 0.5])
    assert {row[0] for row in drawn.table.rows} == {"task <i>"}  # "nothing" has no value
    losses = figure(sections, "scores-loss-tiny")
    assert [row[2] for row in losses.table.rows] == [5, 4, 3]
    (left,) = (block for section in sections for block in section.items
               if getattr(block, "name", None) == "join")  # fmt: skip
    assert any("stranger" in row for row in left.table.rows)


def test_every_figure_can_be_read_without_seeing_it(sections):
    figures = items(sections, Figure)
    assert len(figures) > 15
    assert len({item.name for item in figures}) == len(figures)
    for item in figures:
        assert item.table.rows, item.name
        assert all(len(row) == len(item.table.columns) for row in item.table.rows), item.name
        assert re.search(r"\d", item.summary), item.name
        assert item.caption, item.name
        assert "NaN" not in json.dumps(item.spec), item.name


def test_what_is_missing_says_so_once(sections, alone):
    lines = [f"{item.title}; {item.reason}" for item in items(sections, Missing)]
    assert len(set(lines)) == len(lines)
    assert any("no score could be joined" in line for line in lines)  # of the other model
    (emergence,) = (item for item in items(alone[2], Missing) if "Emergence" in item.title)
    assert "a single checkpoint" in emergence.reason


def test_undefined_is_a_gap_and_a_dash(material):
    series = material.series[0]
    (group, *others) = series.emergence["groups"]
    points = [*group["points"][:-1], group["points"][-1] | {"E": None, "E_stderr": None}]
    emergence = series.emergence | {"groups": [group | {"points": points}, *others]}
    without = replace(material, series=[replace(series, emergence=emergence)])
    sections = story.tell(without)
    drawn = figure(sections, "emergence-tiny")
    assert drawn.table.rows[-1][2:4] == (None, None)
    (last,) = (row for row in drawn.spec["data"]["values"]
               if row["series"] == "as measured" and row["label"] == "step500")  # fmt: skip
    assert (last["value"], last["low"], last["high"]) == (None, None, None)
    assert "At step64: E" in drawn.summary
    against = figure(sections, "emergence-against-loss-tiny")
    assert "step500" not in {row[1] for row in against.table.rows}
    assert shown(None) == shown(float("nan")) == "\N{EN DASH}"


def test_coverage_names_what_failed_and_what_is_counted_once(sections):
    (block,) = (item for section in sections for item in section.items
                if getattr(item, "name", None) == "checkpoints")  # fmt: skip
    assert [(row[1], row[2]) for row in block.table.rows] == [
        ("step9", "duplicate"),
        ("step700", "failed"),
    ]
    assert "safetensors" in block.table.rows[1][3]


def test_names_are_only_names(rendered, alone):
    for whole in (rendered, page.render(opening(alone[1]), alone[2])):
        text = re.sub(r"<script>.*?</script>", "", whole, flags=re.DOTALL)  # our own, and vega's
        assert "<img" not in text
        assert "onerror=alert(1)&gt;" in text
        assert "{{ 7 * 7 }}" in text  # nothing of it was evaluated
        seen = Page(text)
        assert not {"img", "iframe", "link", "object", "form"} & {tag for tag, _ in seen.tags}
        assert not any(name.startswith("on") for _, given in seen.tags for name in given)
        assert html.escape(EVIL) in text


def test_the_page_runs_its_own_scripts_and_reaches_nothing(rendered):
    seen = Page(rendered)
    code = [text for kind, text in seen.scripts if kind is None]
    assert len(code) == 2
    hashes = {base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in code}
    (policy,) = (given["content"] for tag, given in seen.tags
                 if tag == "meta" and "http-equiv" in given)  # fmt: skip
    assert set(re.findall(r"'sha256-([^']+)'", policy)) == hashes
    assert "default-src 'none'" in policy
    assert "unsafe-eval" not in policy
    for _, given in seen.tags:
        assert "src" not in given
        assert given.get("href", "#").startswith("#")
    assert len(rendered) < 2_000_000
    targets = {given["href"][1:] for tag, given in seen.tags if tag == "a"}
    assert targets <= set(seen.ids)
    assert len(set(seen.ids)) == len(seen.ids)
    for kind, text in seen.scripts:
        assert kind is None or json.loads(text)


def test_same_results_same_page(material, sections, rendered, tmp_path, suite):
    assert page.render(opening(material), sections) == rendered
    moved = tmp_path / "elsewhere"
    shutil.copytree(suite, moved)
    command = [sys.executable, "-m", "neuromfa", "report", moved, "-o", tmp_path / "page.html"]
    for seed in "17":
        subprocess.run(command, env=os.environ | {"PYTHONHASHSEED": seed}, check=True)
        assert (tmp_path / "page.html").read_text() == rendered


def luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return sum(share * c for share, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_contrast(mode):
    # WCAG 2.1: 4.5 to 1 for text, 3 to 1 for what a figure says
    colours = chart.palette(mode)
    paper = luminance(colours["paper"])

    def contrast(name):
        low, high = sorted((luminance(colours[name]), paper))
        return (high + 0.05) / (low + 0.05)

    assert min(contrast(name) for name in ("ink", "muted", "s0")) >= 4.5
    marks = [name for name in colours if re.fullmatch(r"[sr]\d+", name)]
    assert len(marks) == 20
    assert min(map(contrast, marks)) >= 3


def test_every_colour_has_a_value(sections):
    used = set(re.findall(r"var\(--(\w+)\)", json.dumps([f.spec for f in story.figures(sections)])))
    assert used
    assert used <= set(chart.palette("light")) == set(chart.palette("dark"))


def test_figures_are_drawn_as_files(sections, tmp_path):
    figures = story.figures(sections)
    paths = pictures.draw_figures(figures, tmp_path, ["svg"])
    assert [path.name for path in paths] == [f"{figure.name}.svg" for figure in figures]
    for path, drawn in zip(paths, figures, strict=True):
        text = path.read_text()
        assert text.count("<path") > 3, drawn.name
        assert "var(--" not in text
    text = (tmp_path / "emergence-tiny.svg").read_text()
    for word in ("as measured", "degree of emergence, E", "training step, logarithmic"):
        assert word in text
    again = pictures.draw_figures(figures[:2], tmp_path / "again", ["svg"])
    assert [path.read_text() for path in again] == [path.read_text() for path in paths[:2]]


def test_a_report_of_one_analysis(alone, tmp_path):
    analysis, _, sections = alone
    neuromfa.write_analysis(analysis, tmp_path)
    for path in (tmp_path, tmp_path / "analysis.json"):
        again = open_material(path)
        assert [item.spec for item in story.figures(story.tell(again))] == [
            item.spec for item in story.figures(sections)
        ]
    names = {item.name for item in story.figures(sections)}
    assert {name.rsplit("-script")[0] for name in names} >= {"spectrum", "fits", "layers-alpha-0"}
    assert shown(analysis.network.width) in items(sections, Figure)[0].summary


def test_the_sampled_procedure(tmp_path):
    write_training(tmp_path / "tiny", STEPS)
    (tmp_path / "suite.toml").write_text(
        '[protocol]\nkind = "reference"\nsample_size = 16\nsamples = 3\n'
        '[[model]]\nname = "tiny"\ncheckpoints = ["tiny/step*"]\n'
    )
    results = neuromfa.run_suite(tmp_path / "suite.toml")
    sections = story.tell(open_material(results.directory))
    drawn = figure(sections, "emergence-tiny")
    points = results.emergence["tiny"]["points"]
    assert [row[2] for row in drawn.table.rows] == [point["degree"] for point in points]
    assert [row[3] for row in drawn.table.rows] == [point["degree_sd"] for point in points]
    assert "standard deviation over the samples" in drawn.caption
    assert "jackknife" not in drawn.caption
    alone = open_material(_reference_record(results, tmp_path))
    blocks = [item for section in story.tell(alone) for item in section.items]
    (groups,) = (item for item in blocks if getattr(item, "name", "").startswith("groups"))
    (network,) = groups.table.rows
    statistics = results.analysis(results.entries[-1]).statistics()
    assert network[4:8] == tuple(
        statistics[f"{name}_{of}"] for name in ("alpha_0", "width") for of in ("mean", "sd")
    )
    lines = {item.title: item.reason for item in items(sections, Missing)}
    assert lines["Neuron fractal dimensions"] == "the record keeps no distribution of them"
    assert lines["Distance from null models"] == "no null models were computed"


def _reference_record(results, folder):
    path = folder / "reference.json"
    path.write_text(results.analysis(results.entries[-1]).to_json())
    return path.parent


def test_checkpoints_without_steps_stand_in_order(tmp_path):
    for place, name in enumerate(("early", "late")):
        write_checkpoint(tmp_path / name, weights(100 * place))
    (tmp_path / "suite.toml").write_text('[[model]]\nname = "m"\ncheckpoints = ["early", "late"]\n')
    material = open_material(neuromfa.run_suite(tmp_path / "suite.toml").directory)
    assert [(point.label, point.at) for point in material.series[0].points] == [
        ("early", 0), ("late", 1),
    ]  # fmt: skip
    drawn = figure(story.tell(material), "alpha-0-m")
    assert "in the order of its name" in json.dumps(drawn.spec)


def test_refusals(tmp_path, monkeypatch):
    with pytest.raises(BadInputError, match=r"neither suite\.json nor .* is there"):
        open_material(tmp_path)
    with pytest.raises(BadInputError, match=r"nothing\.json"):
        open_material(tmp_path / "nothing.json")
    monkeypatch.setattr(page, "find_spec", lambda name: None if name == "jinja2" else name)
    with pytest.raises(ResourceError, match=r"need jinja2: pip install 'neuromfa\[report\]'"):
        page.check()


def test_small_things():
    assert file_stem("EleutherAI/pythia-70m", "../../x") == "eleutherai-pythia-70m-x"
    assert file_stem("<>") == "unnamed"
    assert shown(1234567) == "1,234,567"
    assert shown(-0.5) == "\N{MINUS SIGN}0.5000"
    assert shown(True) == "yes"
    assert Table(columns=["a", "b"], rows=[("x", "1.0%"), ("y", None)]).kinds == ["t", "n"]
    assert chart.rounded(float("inf")) is None
    assert chart.rounded(1 / 3) == 0.333333
    assert Note(title="a", text="b") != Missing(title="a", reason="b")
