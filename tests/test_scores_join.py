"""Scores and checkpoints: what belongs together is joined, nothing else, and nothing silently."""

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

import score_files
from neuromfa.errors import BadInputError, UsageError
from neuromfa.scores.joining import join
from neuromfa.scores.reading import read_scores
from score_files import checkpoint, score, suite


@pytest.fixture(scope="module")
def pythia(tmp_path_factory):
    return read_scores(score_files.unpack_pythia(tmp_path_factory.mktemp("evals")))


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
