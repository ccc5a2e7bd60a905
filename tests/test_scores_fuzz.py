"""Score files made at random: what is written is read again, and nothing ends in a traceback."""

import csv
import io
import json
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

import score_files
from neuromfa.errors import BadInputError
from neuromfa.scores.reading import read_scores
from neuromfa.scores.score import Score

SCORES = st.lists(
    st.builds(
        Score,
        model=st.sampled_from(["tiny", "org/model", 'a "b", c']),
        task=st.sampled_from(["piqa", "two, words"]),
        metric=st.sampled_from(["acc", "loss"]),
        value=st.none() | st.floats(allow_nan=False, allow_infinity=False),
        source=st.just("table.csv"),
        layout=st.just("csv"),
        revision=st.none(),
        step=st.integers(0, 10**6),
        tokens=st.none() | st.integers(0, 10**13),
        filter=st.none() | st.sampled_from(["strict-match"]),
        shots=st.none() | st.integers(0, 64),
        version=st.none() | st.sampled_from(["0", "1.0"]),
        limit=st.none() | st.sampled_from([10.0, 0.5]),
        stderr=st.none() | st.floats(0, 1),
        higher_is_better=st.booleans(),
    ),
    min_size=1,
    max_size=8,
    unique_by=lambda s: (s.model, s.step, s.series),
)


@given(SCORES)
def test_written_as_csv_and_read_again_is_the_same(tmp_path_factory, scores):
    text = io.StringIO()
    names = list(Score.__dataclass_fields__)
    writer = csv.DictWriter(text, names)
    writer.writeheader()
    writer.writerows(score.to_dict() for score in scores)
    path = score_files.write(tmp_path_factory.mktemp("csv") / "table.csv", text.getvalue())
    again = [replace(score, source="table.csv") for score in read_scores(path)]
    assert sorted(map(repr, again)) == sorted(map(repr, scores))


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=6,
)
RESULTS = st.fixed_dictionaries(
    {
        "results": st.dictionaries(
            st.sampled_from(["piqa", "mmlu"]),
            st.dictionaries(st.sampled_from(["acc", "acc,none", "acc_stderr", "alias"]), JSON),
        )
        | JSON
    },
    optional={
        "config": st.dictionaries(st.sampled_from(["model_args", "num_fewshot"]), JSON) | JSON,
        **dict.fromkeys(["versions", "n-shot", "configs", "higher_is_better", "model_name"], JSON),
    },
)


@given(JSON | RESULTS)
def test_any_json_is_read_or_refused_in_one_sentence(tmp_path_factory, record):
    path = score_files.write(tmp_path_factory.mktemp("any") / "x.json", json.dumps(record))
    try:
        scores = read_scores(path)
    except BadInputError as error:
        found = str(error)
    else:
        found = {score.source for score in scores} or str(path)
    assert str(path) in found


@given(JSON, JSON)
def test_any_run_folder_is_read_or_refused_in_one_sentence(tmp_path_factory, name, stats):
    rows = [{"name": {"name": "acc", "split": name}, "count": 1, "mean": stats}]
    path = score_files.helm(tmp_path_factory.mktemp("any"), rows, model=name)
    try:
        assert read_scores(path)[0].metric == "acc"
    except BadInputError as error:
        found = str(error)
    else:
        found = str(path)
    assert str(path) in found
