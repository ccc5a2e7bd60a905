"""Scores and checkpoints: all that belongs together is joined, nothing else, and nothing silently.

The traps are those of the published results of Pythia (https://github.com/EleutherAI/pythia).
"""

import math
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

import score_files
from neuromfa.errors import BadInputError, UsageError
from neuromfa.scores.joining import join
from neuromfa.scores.matching import MeasuredCheckpoint
from neuromfa.scores.reading import read_scores
from neuromfa.scores.samples import samples
from neuromfa.scores.score import Score


@pytest.fixture(scope="module")
def pythia(tmp_path_factory):
    return read_scores(score_files.unpack_pythia(tmp_path_factory.mktemp("evals")))


def checkpoint(model, step=None, *, revision=None, **more):
    if revision is None and step is not None:
        revision = f"step{step}"
    return MeasuredCheckpoint(model=model, revision=revision, step=step, **more)


def score(model, revision=None, value=0.5, *, step=None, task="piqa", **more):
    return Score(
        model=model, revision=revision, step=step, task=task, metric="acc", value=value,
        source="scores.csv", layout="csv", **more,
    )  # fmt: skip


def suite(sizes=score_files.SIZES, steps=score_files.STEPS, *, prefix=""):
    """Analyses of the right names and steps; step 0 and step 1 have the same weights."""
    return [
        checkpoint(
            f"{prefix}pythia-{size}-deduped",
            step,
            content_hash=f"{size} {max(step, 1)}",
            measures={"width": 0.7 + step / 1e6},
        )
        for size in sizes
        for step in steps
    ]


def pairs(joined):
    """Which checkpoint got scores of which model and step."""
    return {
        (str(joined.checkpoints[index]), score.model, score.step) for index, score in joined.rows
    }


@pytest.mark.parametrize("prefix", ["", "EleutherAI/", "eleutherai/"])
def test_216_files_of_pythia_are_joined_and_none_wrongly(pythia, prefix):
    joined = join(pythia, suite(prefix=prefix))
    assert (joined.scores_left, joined.checkpoints_left) == ((), ())
    assert len(joined.rows) == len(pythia) == 37_152
    assert len({score.source for _, score in joined.rows}) == 216
    assert Counter(index for index, _ in joined.rows) == dict.fromkeys(range(216), 172)
    for index, found in joined.rows:
        own = joined.checkpoints[index]
        size = own.model.rpartition("pythia-")[2]
        assert found.model == f"EleutherAI/pythia-v1.1-{size}"
        assert found.revision == own.revision
        assert found.source.endswith(f"pythia-{size}/zero-shot/{size}_step{own.step}.json")


def test_what_is_not_on_the_other_side_is_told(pythia):
    checkpoints = [*suite(sizes=("70m", "14m"), steps=(0, 1000, 5000))]
    joined = join(pythia, checkpoints)
    assert {str(joined.checkpoints[i]) for i, _ in joined.rows} == {
        "pythia-70m-deduped@step0",
        "pythia-70m-deduped@step1000",
    }
    assert {(c.model, c.revision, c.reason) for c in joined.checkpoints_left} == {
        ("pythia-70m-deduped", "step5000", "no scores of this revision"),
        *(("pythia-14m-deduped", f"step{s}", "no scores of this model") for s in (0, 1000, 5000)),
    }
    reasons = Counter(left.reason for left in joined.scores_left)
    assert reasons == {
        "no checkpoint of this model": 7 * 27,
        "no checkpoint at this revision or step": 25,
    }
    assert sum(left.scores for left in joined.scores_left) + len(joined.rows) == len(pythia)
    account = joined.to_dict()
    assert account["checkpoints_joined"] == 2
    assert len(account["scores_left"]) == 214


# Traps


def test_trap_files_say_v1_1_and_the_hub_does_not(pythia):
    found = join(pythia, [checkpoint("EleutherAI/pythia-1.4b-deduped", 512)])
    assert pairs(found) == {
        ("EleutherAI/pythia-1.4b-deduped@step512", "EleutherAI/pythia-v1.1-1.4b-deduped", 512)
    }


def test_trap_1b_is_not_1_4b_and_deduped_is_not_the_other(pythia):
    assert not join(pythia, [checkpoint("pythia-1.4b", 512), checkpoint("pythia-1b", 512)]).rows


def test_trap_step_0_and_step_1_are_one_checkpoint(pythia):
    first = {(s.model, s.series): s.value for s in pythia if s.step == 0}
    second = {(s.model, s.series): s.value for s in pythia if s.step == 1}
    assert first == second
    joined = join(pythia, suite())
    for sample in samples(joined):
        if sample.model is not None:
            assert sample.y.shape == (172, 26)
            assert sample.duplicates == 1


def test_trap_the_scores_of_1b_are_under_1b_bf16(tmp_path):
    score_files.old(
        tmp_path / "pythia-1b-bf16/zero-shot/1b-bf16_step1.json",
        "pretrained=EleutherAI/pythia-v1.1-1b-bf16,revision=step1",
    )
    joined = join(
        read_scores(tmp_path), [checkpoint("pythia-1b", 1), checkpoint("pythia-1b-deduped", 1)]
    )
    assert pairs(joined) == {("pythia-1b@step1", "EleutherAI/pythia-v1.1-1b-bf16", 1)}


def test_trap_zero_shot_files_that_are_named_5shot(tmp_path):
    score_files.old(
        tmp_path / "pythia-1b-bf16/zero-shot/1b-bf16-5shot_step128.json",
        "pretrained=EleutherAI/pythia-v1.1-1b-bf16,revision=step128",
        shots=0,
    )
    (found,) = read_scores(tmp_path)
    assert (found.shots, found.step) == (0, 128)


def test_trap_five_shot_files_of_1b_bf16_lack_it_in_their_names(tmp_path):
    score_files.old(
        tmp_path / "pythia-1b-bf16/five-shot/1b-5shot_step73000.json",
        "pretrained=EleutherAI/pythia-v1.1-1b-bf16,revision=step73000",
        shots=5,
    )
    (found,) = read_scores(tmp_path)
    assert (found.model, found.shots) == ("EleutherAI/pythia-v1.1-1b-bf16", 5)


def test_trap_other_batch_sizes_are_other_models_and_five_shot_without_a_folder(tmp_path):
    score_files.old(
        tmp_path / "pythia-160m-0.5MtokBS/160m-0.5MtokBS_step12000.json",
        "pretrained=EleutherAI/pythia-v1.1-160m-0.5MtokBS,revision=step12000",
        shots=5,
    )
    (found,) = read_scores(tmp_path)
    assert (found.shots, found.tokens) == (5, None)
    joined = join([found], [checkpoint("pythia-160m", 12_000)])
    assert not joined.rows
    assert joined.scores_left[0].reason == "no checkpoint of this model"


def test_trap_14m_and_31m_have_no_scores_and_no_zeros_instead(pythia):
    joined = join(pythia, suite(sizes=("14m", "31m")))
    assert not joined.rows
    assert {left.reason for left in joined.checkpoints_left} == {"no scores of this model"}
    assert not list(samples(joined))


def test_trap_interventions_are_other_models(tmp_path):
    score_files.old(
        tmp_path / "intervention/intervention-1.4b-deduped-long_step115000.json",
        "use_accelerate=True,pretrained=EleutherAI/intervention-pythia-v1.1-1.4b-deduped-long,"
        "revision=step115000",
    )
    assert not join(read_scores(tmp_path), suite(("1.4b",), (115_000,))).rows


def test_trap_baseline_files_have_other_tasks_and_what_they_lack_is_missing(pythia, tmp_path):
    again = score_files.old(
        tmp_path / "baseline/baseline-1.4b-deduped_step116000.json",
        "pretrained=EleutherAI/pythia-v1.1-1.4b-deduped,revision=step116000",
        {"crows_pairs_french": {"pct_stereotype": 0.48}},
    )
    joined = join((*pythia, *read_scores(again)), suite(("1.4b",), (113_000, 116_000, 123_000)))
    (sample,) = samples(joined)
    lines = {series.task: row for series, row in zip(sample.series, sample.y, strict=True)}
    (french,) = (k for k, s in enumerate(sample.series) if "french pct" in str(s))
    assert sample.y[french][1] == 0.48
    assert [math.isnan(x) for x in lines["piqa"]] == [False, True, False]


def test_trap_version_0_names_no_model_and_joins_no_version_1(tmp_path):
    stem = "pythia-70m-0shot-global_step33000_eval_results_11-25-2022-06-49-01"
    score_files.old(
        tmp_path / f"pythia-v0/pythia-70m/zero-shot/{stem}.json",
        {"load": "/fsx/pythia/ckpts/19M", "train_iters": 143_000, "finetune": False},
    )
    (found,) = read_scores(tmp_path)
    assert (found.model, found.step, found.shots) == ("/fsx/pythia/ckpts/19M", 33_000, 0)
    checkpoints = [checkpoint("pythia-70m", 33_000)]
    assert not join([found], checkpoints).rows
    assert join([found], checkpoints, aliases={"19M": "pythia-70m"}).rows


def test_trap_files_of_version_0_that_are_there_twice(tmp_path):
    for date, value in (("11-25-2022-06-49-01", 0.5), ("11-26-2022-06-49-01", 0.5)):
        score_files.old(
            tmp_path / f"pythia-70m-0shot-global_step33000_eval_results_{date}.json",
            {"load": "/fsx/pythia/ckpts/19M"},
            {"piqa": {"acc": value}},
        )
    assert len(read_scores(tmp_path)) == 1
    score_files.old(
        tmp_path / "pythia-70m-0shot-global_step33000_eval_results_11-27-2022.json",
        {"load": "/fsx/pythia/ckpts/19M"},
        {"piqa": {"acc": 0.51}},
    )
    with pytest.raises(BadInputError, match=r"0\.51.*0\.5 in .*leave one"):
        read_scores(tmp_path)


def test_trap_tables_of_term_frequencies_are_no_scores(tmp_path):
    text = "model,checkpoint,task,fewshot,acc,acc_stderr\npythia-1b,13000,trivia_qa,4,0.1,0.01\n"
    with pytest.raises(BadInputError, match="no column metric"):
        read_scores(score_files.write(tmp_path / "trivia_qa.csv", text))


def test_trap_a_name_that_contradicts_the_file_is_an_error(tmp_path):
    score_files.old(
        tmp_path / "70m-deduped_step256.json",
        "pretrained=EleutherAI/pythia-v1.1-70m-deduped,revision=step128",
    )
    with pytest.raises(BadInputError, match="revision step128 inside, step 256 in the name"):
        read_scores(tmp_path)


# Names, places, commits


@pytest.mark.parametrize(
    ("scored", "measured"),
    [
        ("org/tiny", "org/tiny"),
        ("Org/Tiny", "org/tiny"),
        ("org/tiny", "tiny"),
        ("tiny", "org/tiny"),
        ("/data/runs/tiny", "tiny"),
    ],
)
def test_names_that_are_one_model(scored, measured):
    assert join([score(scored, "step8", step=8)], [checkpoint(measured, 8)]).rows


@pytest.mark.parametrize(
    ("scored", "measured"),
    [
        ("org/tiny", "other/tiny"),
        ("tiny-2", "tiny"),
        ("tin", "tiny"),
        ("a/tiny+peft=x/y", "tiny"),
    ],
)
def test_names_that_are_two(scored, measured):
    joined = join([score(scored, "step8", step=8)], [checkpoint(measured, 8)])
    assert not joined.rows
    assert joined.scores_left[0].reason == "no checkpoint of this model"


def test_a_name_that_could_be_two_models_is_neither():
    joined = join([score("tiny", "step8")], [checkpoint("a/tiny", 8), checkpoint("b/tiny", 8)])
    assert not joined.rows
    assert joined.scores_left[0].reason == "could be a/tiny or b/tiny; name it among the aliases"
    joined = join([score("a/tiny", "step8"), score("b/tiny", "step8")], [checkpoint("tiny", 8)])
    assert not joined.rows
    assert {left.model for left in joined.scores_left} == {"a/tiny", "b/tiny"}
    assert "not the only model that could be tiny" in joined.scores_left[0].reason


def test_an_alias_settles_it():
    scores = [score("a/tiny", "step8", 0.1), score("b/tiny", "step8", 0.2)]
    joined = join(scores, [checkpoint("tiny", 8)], aliases={"b/tiny": "tiny"})
    assert [found.value for _, found in joined.rows] == [0.2]
    assert [left.model for left in joined.scores_left] == ["a/tiny"]


def test_an_alias_may_name_a_revision():
    scores = [score("eleutherai/pythia-8", None)]
    checkpoints = [checkpoint("EleutherAI/pythia-70m", step) for step in (7, 8)]
    assert join(scores, checkpoints).scores_left[0].reason == "no checkpoint of this model"
    joined = join(scores, checkpoints, aliases={"pythia-8": "EleutherAI/pythia-70m@step8"})
    assert [index for index, _ in joined.rows] == [1]


def test_an_alias_to_nothing_is_an_error():
    with pytest.raises(UsageError, match="alias x: no checkpoint of y; there are tiny"):
        join([], [checkpoint("tiny", 1)], aliases={"x": "y"})


def test_places_are_the_same_by_any_name():
    names = ["step8", "checkpoint-8", "global_step8", "stage1-step8-tokens1B"]
    for name in names:
        for other in names:
            joined = join([score("m", name)], [checkpoint("m", revision=other)])
            assert len(joined.rows) == 1
    assert join([score("m", None, step=8)], [checkpoint("m", revision="step8")]).rows
    assert join([score("m", "step8")], [checkpoint("m", 8, revision="final")]).rows


def test_a_stage_is_not_another_stage():
    later = "stage2-ingredient1-step8-tokens1B"
    assert not join([score("m", "step8")], [checkpoint("m", revision=later)]).rows
    both = [checkpoint("m", revision=r) for r in (later, "stage2-ingredient2-step8-tokens1B")]
    assert [i for i, _ in join([score("m", later)], both).rows] == [0]


def test_a_place_with_two_checkpoints_is_neither_unless_the_name_says_which():
    both = [checkpoint("m", revision="step8"), checkpoint("m", revision="checkpoint-8")]
    assert [i for i, _ in join([score("m", "checkpoint-8")], both).rows] == [1]
    joined = join([score("m", None, step=8)], both)
    assert not joined.rows
    assert joined.scores_left[0].reason.startswith("could be m@step8 or m@checkpoint-8")


def test_scores_without_a_place_are_of_the_only_checkpoint_or_of_none():
    assert join([score("m")], [checkpoint("m", revision="main")]).rows
    assert join([score("m")], [checkpoint("m")]).rows
    for several in ([checkpoint("m", 8)], [checkpoint("m", revision="main"), checkpoint("m", 8)]):
        joined = join([score("m")], several)
        assert not joined.rows
        assert joined.scores_left[0].reason == "the scores tell neither revision nor step"


def test_a_commit_decides():
    one, other = "a" * 40, "b" * 40
    checkpoints = [checkpoint("m", 8, commit=one), checkpoint("m", revision="main", commit=other)]
    joined = join([score("org/renamed", "main", commit=one)], checkpoints)
    assert [index for index, _ in joined.rows] == [0]
    joined = join([score("m", "main", commit="c" * 40)], checkpoints)
    assert not joined.rows
    assert joined.scores_left[0].reason == "of commit cccccccc, and the checkpoint of bbbbbbbb"


def test_two_files_about_one_checkpoint_agree_or_are_an_error():
    first = score("org/m", "step8", 0.5)
    assert len(join([first, score("m", None, 0.5, step=8)], [checkpoint("m", 8)]).rows) == 1
    other = replace(score("m", None, 0.6, step=8), source="other.csv")
    with pytest.raises(BadInputError, match=r"other\.csv: piqa acc of m is 0\.6, but 0\.5 in sc"):
        join([first, other], [checkpoint("m", 8)])
    missing = score("m", None, None, step=8)
    for order in ([first, missing], [missing, first]):
        assert [found.value for _, found in join(order, [checkpoint("m", 8)]).rows] == [0.5]


def test_two_names_of_one_model_with_one_revision_are_neither():
    both = [checkpoint("pythia-1b-bf16", 8), checkpoint("pythia-1b", 8)]
    joined = join([score("EleutherAI/pythia-1b", "step8")], both)
    assert not joined.rows
    assert "could be pythia-1b-bf16@step8 or pythia-1b@step8" in joined.scores_left[0].reason


def test_a_checkpoint_is_given_once():
    with pytest.raises(UsageError, match="m@step8: is there twice"):
        join([], [checkpoint("m", 8), checkpoint("m", 8)])


NAMES = st.sampled_from(["a/m", "b/m", "m", "A/M", "n", "a/n"])
PLACES = st.sampled_from(["step1", "step2", "checkpoint-1", "main", None])


@given(
    st.lists(st.tuples(NAMES, PLACES), max_size=6, unique=True),
    st.lists(st.tuples(NAMES, PLACES), max_size=6, unique=True),
)
def test_each_score_is_joined_once_or_left_with_a_reason(scored, measured):
    scores = [score(m, revision, task=f"task {k}") for k, (m, revision) in enumerate(scored)]
    checkpoints = [checkpoint(model, revision=revision) for model, revision in measured]
    joined = join(scores, checkpoints)
    left = sum(left.scores for left in joined.scores_left)
    assert left + len(joined.rows) == len(scores)
    assert all(left.reason for left in (*joined.scores_left, *joined.checkpoints_left))
    used = {index for index, _ in joined.rows}
    assert len(used) + len(joined.checkpoints_left) == len(checkpoints)
    for index, found in joined.rows:
        own = checkpoints[index]
        place, _, name = found.model.lower().rpartition("/")
        elsewhere, _, again = own.model.lower().rpartition("/")
        assert name == again
        assert place == elsewhere or not place or not elsewhere
