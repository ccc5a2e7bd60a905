"""Associations: which points they are made of, families of p values, reasons, records."""

import json
import math
from dataclasses import replace
from unittest import mock

import numpy as np
import pytest
from scipy import stats

from neuromfa.errors import UsageError
from neuromfa.scores import correlation, estimates
from neuromfa.scores.association import Association, associate, record
from neuromfa.scores.joining import join
from neuromfa.scores.matching import MeasuredCheckpoint
from neuromfa.scores.score import Score, to_arrow

SCIPY = {"spearman": stats.spearmanr, "kendall": stats.kendalltau, "pearson": stats.pearsonr}
CLOSE = 1e-9
"""Two ways of summing at most a few dozen products of numbers near 1 differ by far less."""

STEPS = (0, 1, 2, 4, 8, 16, 32, 64, 128)


def course(model="tiny", steps=STEPS, *, seed=0, tasks=("piqa",), hashes=None, **measures):
    """Checkpoints of one run with random measures, and random scores of them."""
    rng = np.random.default_rng([seed, *model.encode()])
    measures = measures or {"width": rng.normal(size=len(steps))}
    checkpoints = [
        MeasuredCheckpoint(
            model=model,
            revision=f"step{step}",
            step=step,
            content_hash=None if hashes is None else hashes[k],
            measures={name: values[k] for name, values in measures.items()},
        )
        for k, step in enumerate(steps)
    ]
    scores = [
        Score(
            model=model, revision=f"step{step}", step=step, task=task, metric="acc",
            value=float(rng.normal()), source="s.csv", layout="csv", higher_is_better=True,
        )
        for task in tasks
        for step in steps
    ]  # fmt: skip
    return checkpoints, scores


def associations(*courses, **options):
    checkpoints = [c for course in courses for c in course[0]]
    scores = [s for course in courses for s in course[1]]
    options = {"resamples": 50} | options
    return associate(join(scores, checkpoints), **options)


def pick(rows, **fields):
    found = [row for row in rows if all(getattr(row, k) == v for k, v in fields.items())]
    assert found
    return found


def test_levels_differences_and_given_log_step_of_one_model():
    checkpoints, scores = course()
    rows = associations((checkpoints, scores))
    x = np.array([c.measures["width"] for c in checkpoints])
    y = np.array([s.value for s in scores])
    z = np.log1p(STEPS)
    assert len(rows) == 9
    for name, function in SCIPY.items():
        (level,) = pick(rows, form="levels", statistic=name)
        assert level.value == pytest.approx(function(x, y).statistic, abs=CLOSE)
        assert level.p == pytest.approx(function(x, y).pvalue, abs=CLOSE)
        (change,) = pick(rows, form="differences", statistic=name)
        assert change.value == pytest.approx(function(np.diff(x), np.diff(y)).statistic, abs=CLOSE)
        (given_step,) = pick(rows, form="given_log_step", statistic=name)
        xy, xz, yz = (function(a, b).statistic for a, b in ((x, y), (x, z), (y, z)))
        expected = (xy - xz * yz) / math.sqrt((1 - xz**2) * (1 - yz**2))
        assert given_step.value == pytest.approx(expected, abs=CLOSE)
        assert (level.n, change.n, given_step.n) == (9, 8, 9)
        assert level.low <= level.value <= level.high
    for row in rows:
        assert (row.scope, row.model, row.step) == ("within", "tiny", None)
        assert (row.seed, row.resamples, row.level, row.block) == (0, 50, 0.95, 2)
        assert row.higher_is_better is True
        assert (row.p is None) == (row.form == "given_log_step" and row.statistic == "kendall")


def test_the_order_of_training_counts_and_not_that_of_the_files():
    checkpoints, scores = course()
    assert associations((checkpoints, scores)) == associations((checkpoints[::-1], scores[::-1]))


def test_models_are_never_pooled():
    rng = np.random.default_rng(0)
    courses = []
    for k, model in enumerate(("a", "b", "c", "d", "e")):
        width = rng.normal(size=9) + 10 * k
        checkpoints, scores = course(model, width=width)
        scores = [replace(s, value=float(-w + 20 * k)) for s, w in zip(scores, width, strict=True)]
        courses.append((checkpoints, scores))
    rows = pick(associations(*courses), form="levels", statistic="pearson")
    assert [(r.scope, r.model, r.step, r.n) for r in rows] == [
        *(("within", model, None, 9) for model in "abcde"),
        ("across", None, 128, 5),
    ]
    assert all(row.value == pytest.approx(-1) for row in rows[:5])
    assert rows[5].value > 0.9
    assert {r.form for r in associations(*courses) if r.scope == "across"} == {"levels"}
    assert {r.block for r in associations(*courses) if r.scope == "across"} == {1}


def test_the_step_across_models_can_be_chosen():
    courses = [course(model) for model in "abcd"]
    rows = pick(associations(*courses, at_step=8), scope="across", statistic="pearson")
    x = [course[0][4].measures["width"] for course in courses]
    y = [course[1][4].value for course in courses]
    assert rows[0].value == pytest.approx(stats.pearsonr(x, y).statistic, abs=CLOSE)
    assert (rows[0].step, rows[0].n) == (8, 4)


def test_models_without_a_step_in_common_are_not_compared():
    rows = pick(associations(course("a", (1, 2, 4, 8)), course("b", (3, 5, 7, 9))), scope="across")
    assert {(row.value, row.n, row.undefined) for row in rows} == {
        (None, 0, "the models have no step in common")
    }


def test_final_models_without_steps_are_compared_with_each_other():
    checkpoints = [
        MeasuredCheckpoint(model=m, measures={"width": float(k)}) for k, m in enumerate("abcd")
    ]
    scores = [
        Score(model=m, task="t", metric="acc", value=float(k * k), source="s", layout="csv")
        for k, m in enumerate("abcd")
    ]
    (row,) = pick(associations((checkpoints, scores)), scope="across", statistic="spearman")
    assert (row.value, row.n, row.step) == (1.0, 4, None)
    within = pick(associations((checkpoints, scores)), scope="within")
    assert {(row.n, row.undefined) for row in within if row.form == "levels"} == {
        (0, "fewer than 4 points")
    }


def test_identical_checkpoints_count_once():
    hashes = ["same", "same", *map(str, STEPS[2:])]
    checkpoints, scores = course(hashes=hashes)
    rows = associations((checkpoints, scores))
    kept = [0, *range(2, 9)]
    x = np.array([checkpoints[k].measures["width"] for k in kept])
    y = np.array([scores[k].value for k in kept])
    (row,) = pick(rows, form="levels", statistic="pearson")
    assert (row.n, row.duplicates) == (8, 1)
    assert row.value == pytest.approx(stats.pearsonr(x, y).statistic, abs=CLOSE)


def test_what_is_missing_is_left_out_and_n_says_so():
    checkpoints, scores = course(width=[1.0, 2.0, None, 4.0, math.nan, 0.5, 7.0, 1.5, 9.0])
    scores[0] = replace(scores[0], value=None)
    rows = associations((checkpoints, scores))
    kept = [1, 3, 5, 6, 7, 8]
    x = np.array([checkpoints[k].measures["width"] for k in kept])
    y = np.array([scores[k].value for k in kept])
    (row,) = pick(rows, form="levels", statistic="pearson")
    assert row.n == 6
    assert row.value == pytest.approx(stats.pearsonr(x, y).statistic, abs=CLOSE)
    (row,) = pick(rows, form="differences", statistic="pearson")
    assert row.value == pytest.approx(stats.pearsonr(np.diff(x), np.diff(y)).statistic, abs=CLOSE)


@pytest.mark.parametrize(
    ("width", "values", "form", "reason"),
    [
        ([0.5] * 9, None, "levels", "the measure is constant"),
        (None, [0.25] * 9, "levels", "the scores are constant"),
        (np.arange(9) * 0.1, None, "differences", "the measure never changes in another way"),
        (None, np.arange(9) * 0.1, "differences", "the scores never change in another way"),
        (
            np.log1p(STEPS), None, "given_log_step",
            "once the step is known, nothing of the scores or the measure is left",
        ),
    ],
)  # fmt: skip
def test_what_has_no_coefficient_is_null_with_the_reason(width, values, form, reason):
    measures = {} if width is None else {"width": list(width)}
    checkpoints, scores = course(**measures)
    if values is not None:
        scores = [replace(s, value=float(v)) for s, v in zip(scores, values, strict=True)]
    for row in pick(associations((checkpoints, scores)), form=form):
        assert row.undefined == reason
        assert (row.value, row.low, row.high, row.p, row.p_holm) == (None,) * 5
        assert row.n == (8 if form == "differences" else 9)
        assert row.family == 0


def test_too_few_points_are_said_to_be():
    for n, forms in ((3, {}), (4, {"levels"}), (5, {"levels", "differences", "given_log_step"})):
        rows = associations(course(steps=STEPS[:n]))
        assert {row.form for row in rows if row.value is not None} == set(forms)
        for row in rows:
            if row.value is None:
                fewest = 5 if row.form == "given_log_step" else 4
                assert row.undefined == f"fewer than {fewest} points"
    scores, checkpoints = course(steps=STEPS[:3])
    assert {row.n for row in associations((scores, checkpoints)) if row.form == "levels"} == {3}


def test_holm_is_over_the_tasks_of_one_model_measure_form_and_statistic():
    tasks = tuple(f"task {k}" for k in range(6))
    rows = associations(course("a", tasks=tasks), course("b", tasks=tasks))
    for model in "ab":
        for form in estimates.FORMS:
            family = pick(rows, model=model, form=form, statistic="spearman")
            assert {row.family for row in family} == {6}
            p = correlation.holm(np.array([row.p for row in family]))
            assert [row.p_holm for row in family] == p.tolist()


def test_memory_and_company_change_no_bit():
    tasks = tuple(f"task {k}" for k in range(7))
    one, other = course("a", tasks=tasks), course("b", tasks=tasks)
    together = [row for row in associations(one, other) if row.model == "a"]
    assert together == list(associations(one))
    with mock.patch.object(estimates, "_AT_ONCE", 1):
        assert list(associations(one)) == together
    first = (one[0], [s for s in one[1] if s.task == "task 0"])
    alone = associations(first)
    shared = pick(together, task="task 0")
    assert [(r.value, r.low, r.high, r.p) for r in alone] == [
        (r.value, r.low, r.high, r.p) for r in shared
    ]


def test_the_seed_decides_the_interval_and_nothing_else():
    first, again, other = (associations(course(), seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert [(r.value, r.p) for r in first] == [(r.value, r.p) for r in other]
    assert [r.low for r in first] != [r.low for r in other]


@pytest.mark.parametrize("wrong", [{"resamples": 0}, {"level": 1.0}, {"seed": -1}])
def test_settings_that_make_no_sense(wrong):
    with pytest.raises(UsageError, match="must be"):
        associations(course(), **wrong)


def test_the_record_is_json_without_nan():
    checkpoints, scores = course(width=[0.5] * 9)
    joined = join(scores, checkpoints)
    rows = associate(joined, resamples=20)
    made = json.loads(json.dumps(record(joined, rows), allow_nan=False))
    assert (made["seed"], made["resamples"], made["level"]) == (0, 20, 0.95)
    assert made["join"]["scores_joined"] == 9
    table = made["associations"]
    assert [dict(zip(table["columns"], row, strict=True)) for row in table["rows"]] == [
        row.to_dict() for row in rows
    ]
    assert to_arrow(rows, Association).num_rows == len(rows)
    assert record(join([], []), ())["associations"]["rows"] == []
