"""Files of scores: every layout, what is missing, what is there twice, what is none of them."""

import json

import pytest

import score_files
from neuromfa.errors import BadInputError
from neuromfa.scores.reading import read_scores
from neuromfa.scores.score import higher_is_better, number, place, to_arrow

PYTHIA = "pretrained=EleutherAI/pythia-70m,revision=step1000"
TABLE = "model,step,task,metric,value,stderr\n"


@pytest.fixture(scope="module")
def pythia(tmp_path_factory):
    return score_files.unpack_pythia(tmp_path_factory.mktemp("evals"))


def one(path):
    (score,) = read_scores(path)
    return score


def test_all_216_files_of_pythia_are_read_whole(pythia):
    scores = read_scores(pythia)
    expected = 0
    for path in pythia.rglob("*.json"):
        record = json.loads(path.read_text(encoding="utf-8"))
        expected += sum("stderr" not in key for row in record["results"].values() for key in row)
    assert len(scores) == expected == 37_152
    assert len({score.source for score in scores}) == 216
    assert {score.step for score in scores} == set(score_files.STEPS)
    assert len({score.task for score in scores}) == 87
    assert {score.shots for score in scores} == {0}
    assert all(score.value is not None and score.stderr is not None for score in scores)
    assert all(score.tokens == score.step * 2_097_152 for score in scores)


def test_a_score_is_what_the_file_says(pythia):
    path = pythia / "pythia-160m-deduped" / "zero-shot" / "160m-deduped_step1000.json"
    row = json.loads(path.read_text(encoding="utf-8"))["results"]["lambada_openai"]
    found = {s.metric: s for s in read_scores(path) if s.task == "lambada_openai"}
    assert set(found) == {"acc", "ppl"}
    for metric, score in found.items():
        assert (score.value, score.stderr) == (row[metric], row[f"{metric}_stderr"])
        assert (score.model, score.revision) == ("EleutherAI/pythia-v1.1-160m-deduped", "step1000")
        assert score.layout == "lm-eval-old"
        assert score.version == "0"
        assert score.source == str(path)
    assert found["acc"].higher_is_better is True
    assert found["ppl"].higher_is_better is False


def test_the_new_layout(tmp_path):
    results = {
        "gsm8k": {
            "alias": " - gsm8k",
            "exact_match,strict-match": 0.25,
            "exact_match_stderr,strict-match": 0.01,
            "exact_match,flexible-extract": 0.5,
            "exact_match_stderr,flexible-extract": "N/A",
            "sample_len": 8,
        },
        "leaderboard": {" ": " ", "alias": "leaderboard"},
        "wikitext": {"bits_per_byte,none": "nan", "bypass,none": 999, "odd,none": 2.0},
    }
    path = score_files.new(
        tmp_path / "results_2026-01-01T00-00-00.000000.json",
        {"pretrained": "allenai/OLMo-2-1124-7B", "revision": "stage1-step9000-tokens38B"},
        results,
        **{"n-shot": {"gsm8k": 5}, "higher_is_better": {"wikitext": {"odd": False}}},
    )
    found = {(s.task, s.metric, s.filter): s for s in read_scores(path)}
    assert set(found) == {
        ("gsm8k", "exact_match", "strict-match"),
        ("gsm8k", "exact_match", "flexible-extract"),
        ("wikitext", "bits_per_byte", None),
        ("wikitext", "odd", None),
    }
    strict = found["gsm8k", "exact_match", "strict-match"]
    assert (strict.value, strict.stderr, strict.shots, strict.version) == (0.25, 0.01, 5, "1.0")
    assert (strict.step, strict.tokens) == (9000, 38 * 10**9)
    assert strict.layout == "lm-eval-new"
    assert found["gsm8k", "exact_match", "flexible-extract"].stderr is None
    assert found["wikitext", "bits_per_byte", None].value is None
    assert found["wikitext", "bits_per_byte", None].higher_is_better is False
    assert found["wikitext", "odd", None].higher_is_better is False


@pytest.mark.parametrize(
    ("model_args", "config", "model", "revision", "step"),
    [
        ("pretrained=a/b,revision=step8", {}, "a/b", "step8", 8),
        ({"pretrained": "a/b", "revision": "step8"}, {}, "a/b", "step8", 8),
        ("pretrained=a/b", {"model_revision": "step8"}, "a/b", "step8", 8),
        ("pretrained=a/b", {}, "a/b", "main", None),
        ("pretrained=EleutherAI/pythia-70m", {}, "EleutherAI/pythia-70m", "main", 143_000),
        ("pretrained=/runs/tiny/step64,dtype=auto", {}, "/runs/tiny", "step64", 64),
        ("pretrained=runs/tiny/checkpoint-64", {}, "runs/tiny", "checkpoint-64", 64),
        ("pretrained=a/b-step64", {}, "a/b-step64", "main", None),
        ("pretrained=a/b,stop=x,y,revision=step8", {}, "a/b", "step8", 8),
        ("pretrained=a/b,revision=step8,peft=c/d", {}, "a/b+peft=c/d", "step8", 8),
    ],
)
def test_who_was_evaluated(tmp_path, model_args, config, model, revision, step):
    score = one(score_files.old(tmp_path / "results.json", model_args, **config))
    assert (score.model, score.revision, score.step) == (model, revision, step)


def test_an_adapter_hides_the_commit_of_its_base(tmp_path):
    sha = {"model_sha": "c" * 40}
    plain = one(score_files.old(tmp_path / "a.json", "pretrained=a/b", **sha))
    adapted = one(score_files.old(tmp_path / "b.json", "pretrained=a/b,peft=c/d", **sha))
    assert (plain.commit, adapted.commit) == ("c" * 40, None)


def test_a_csv_table(tmp_path):
    text = (
        "\ufeffmodel, step,task,metric,value,stderr,note\n"
        "tiny,0,held_out,loss,5.7,0.1,first\n"
        'tiny,64,held_out,loss,,NaN,"two\nlines"\n'
        "tiny,128,held_out,loss,0,,\n"
    )
    scores = read_scores(score_files.write(tmp_path / "losses.csv", text))
    assert [(s.step, s.value, s.stderr) for s in scores] == [
        (0, 5.7, 0.1),
        (64, None, None),
        (128, 0.0, None),
    ]
    assert {s.higher_is_better for s in scores} == {False}
    assert {s.revision for s in scores} == {None}


def test_a_helm_run(tmp_path):
    stats = [
        stat := score_files.stat("exact_match", 0.3),
        score_files.stat("exact_match", 0.1, perturbation={"name": "robustness"}),
        score_files.stat("exact_match", 0.4, split="valid"),
        score_files.stat("num_prompt_tokens", 631.4),
        score_files.stat("bits_per_byte", None, count=0),
    ]
    path = score_files.helm(tmp_path / "run", stats)
    scores = read_scores(tmp_path)
    assert [(s.metric, s.filter, s.value) for s in scores] == [
        ("bits_per_byte", "test", None),
        ("exact_match", "test", stat["mean"]),
        ("exact_match", "valid", 0.4),
    ]
    assert {(s.model, s.task, s.shots) for s in scores} == {
        ("eleutherai/pythia-1b", "mmlu:subject=anatomy", 5)
    }
    assert scores == read_scores(path) == read_scores(path.with_name("run_spec.json"))


def test_content_decides_and_not_the_name(tmp_path):
    table = score_files.write(tmp_path / "table.json", TABLE + "m,1,t,acc,0.5,\n")
    results = score_files.old(tmp_path / "results.csv", PYTHIA)
    assert one(table).layout == "csv"
    assert one(results).layout == "lm-eval-old"


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("losses.json", '[{"step": 0, "held_out_loss": 5.7}]', "no score file (a list)"),
        ("config.json", '{"hidden_size": 128}', "no score file (an object with hidden_size)"),
        ("x.json", '{"results": ', "not whole JSON"),
        ("x.json", "[" * 100_000, "too deep"),
        ("x.csv", "", "no column model"),
        ("x.csv", TABLE, "without a single score"),
        ("x.json", '{"results": {}, "config": {"model_args": "pretrained=a/b"}}', "without a"),
        ("x.csv", "model,task,metric,value\nm,t,acc,1\n", "no column step or revision"),
        ("x.csv", "model,checkpoint,task,fewshot,acc,acc_stderr\n", "no column metric"),
        ("x.csv", TABLE + "m,1,t,acc,high,\n", "line 2: 'high' is not a number"),
        ("x.csv", TABLE + "m,1.5,t,acc,1,\n", "not a whole number"),
        ("x.csv", TABLE + ",1,t,acc,1,\n", "line 2: has no model"),
        ("x.csv", "model,step,revision,task,metric,value\nm,1,step2,t,acc,1\n", "contradict"),
    ],
)
def test_what_is_no_score_file_is_named_with_the_reason(tmp_path, name, content, words):
    path = score_files.write(tmp_path / name, content)
    for asked in (path, tmp_path):
        with pytest.raises(BadInputError) as error:
            read_scores(asked)
        assert str(error.value).startswith(str(path))
        assert words in str(error.value)


def test_a_directory_without_scores_is_an_error(tmp_path):
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(BadInputError, match="holds no score file"):
        read_scores(tmp_path)
    with pytest.raises(BadInputError, match="No such file"):
        read_scores(tmp_path / "none.json")
    (tmp_path / "bytes.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadInputError, match="is not text"):
        read_scores(tmp_path / "bytes.csv")


def test_results_that_name_no_model_are_refused(tmp_path):
    with pytest.raises(BadInputError, match="does not say which model"):
        read_scores(score_files.old(tmp_path / "70m_step1000.json", "dtype=float16"))


def test_the_same_score_twice_counts_once(tmp_path):
    first = score_files.old(tmp_path / "a.json", PYTHIA)
    again = score_files.old(tmp_path / "b.json", PYTHIA)
    assert one([first, again, first]).source == str(first)


def test_different_values_of_one_score_are_a_conflict_that_names_both_files(tmp_path):
    first = score_files.old(tmp_path / "a.json", PYTHIA, {"piqa": {"acc": 0.5}})
    other = score_files.old(tmp_path / "b.json", PYTHIA, {"piqa": {"acc": 0.6}})
    with pytest.raises(BadInputError) as error:
        read_scores(tmp_path)
    for part in (str(first), str(other), "0.5", "0.6", "piqa acc", "0 shots"):
        assert part in str(error.value)


def test_a_value_stands_in_for_a_missing_one(tmp_path):
    score_files.old(tmp_path / "a.json", PYTHIA, {"piqa": {"acc": "nan"}})
    score_files.old(tmp_path / "b.json", PYTHIA, {"piqa": {"acc": 0.6}})
    score_files.old(tmp_path / "c.json", PYTHIA, {"piqa": {"acc": None}})
    assert one(tmp_path).value == 0.6


def test_a_limited_evaluation_is_another_score(tmp_path):
    score_files.old(tmp_path / "a.json", PYTHIA, {"piqa": {"acc": 0.5}})
    score_files.old(tmp_path / "b.json", PYTHIA, {"piqa": {"acc": 0.9}}, limit=10)
    assert [(s.limit, s.value) for s in read_scores(tmp_path)] == [(None, 0.5), (10.0, 0.9)]
    assert str(read_scores(tmp_path)[1].series) == "piqa acc (0 shots, version 0, limit 10)"


def test_other_shots_and_versions_are_other_scores(tmp_path):
    score_files.old(tmp_path / "a.json", PYTHIA, {"piqa": {"acc": 0.5}}, shots=0)
    score_files.old(tmp_path / "b.json", PYTHIA, {"piqa": {"acc": 0.6}}, shots=5)
    score_files.new(tmp_path / "c.json", PYTHIA, {"piqa": {"acc,none": 0.7}})
    assert sorted(s.value for s in read_scores(tmp_path)) == [0.5, 0.6, 0.7]


def test_the_order_of_files_changes_nothing(pythia):
    files = [str(p) for p in sorted(pythia.glob("pythia-70m-deduped/*/*.json"))]
    assert (
        read_scores(files) == read_scores(files[::-1]) == read_scores(pythia / "pythia-70m-deduped")
    )


@pytest.mark.parametrize(
    ("metric", "better"),
    [
        *((m, True) for m in ("acc", "acc_norm", "exact_match", "f1", "rougeL", "pass@1", "mc2")),
        *((m, True) for m in ("quasi_exact_match@5", "prompt_level_strict_acc", "logprob")),
        *((m, False) for m in ("ppl", "word_perplexity", "bits_per_byte", "loss", "brier_score")),
        *((m, False) for m in ("held_out_loss", "wer", "ece_10_bin", "nll")),
        *((m, None) for m in ("pct_stereotype", "likelihood_difference", "odd", "accident")),
    ],
)
def test_which_way_a_metric_goes(metric, better):
    assert higher_is_better(metric) is better


@pytest.mark.parametrize("text", ["", " ", "N/A", "nan", "NaN", "None", "null", "inf", "-Infinity"])
def test_what_says_that_there_is_no_number(text):
    assert number(text) is None


@pytest.mark.parametrize("value", [None, float("nan"), float("inf"), [], {}, 10**400])
def test_values_that_are_no_numbers(value):
    assert number(value) is None


def test_a_path_may_end_in_a_step_and_a_name_may_not():
    assert place("runs/tiny/step64", None) == ("runs/tiny", "step64", 64, None)
    assert place("runs/tiny/step64/", "main") == ("runs/tiny", "step64", 64, None)
    assert place("step64", None) == ("step64", None, None, None)
    assert place("org/tiny-step64", None) == ("org/tiny-step64", None, None, None)


def test_as_arrow_and_pandas_missing_is_null(tmp_path):
    text = TABLE + "tiny,0,held_out,loss,,\ntiny,1,held_out,loss,5.5,\n"
    table = to_arrow(read_scores(score_files.write(tmp_path / "t.csv", text)))
    assert table.column("value").to_pylist() == [None, 5.5]
    assert table.column("stderr").null_count == 2
    assert table.to_pandas()["value"].isna().tolist() == [True, False]
    assert to_arrow([]).schema == table.schema
