"""The traps in the published results of Pythia, one by one: https://github.com/EleutherAI/pythia."""

import math

import pytest

import score_files
from neuromfa.errors import BadInputError
from neuromfa.scores.joining import join
from neuromfa.scores.reading import read_scores
from neuromfa.scores.samples import samples
from score_files import checkpoint, pairs, suite


@pytest.fixture(scope="module")
def pythia(tmp_path_factory):
    return read_scores(score_files.unpack_pythia(tmp_path_factory.mktemp("evals")))


def test_files_say_v1_1_and_the_hub_does_not(pythia):
    found = join(pythia, [checkpoint("EleutherAI/pythia-1.4b-deduped", 512)])
    assert pairs(found) == {
        ("EleutherAI/pythia-1.4b-deduped@step512", "EleutherAI/pythia-v1.1-1.4b-deduped", 512)
    }


def test_1b_is_not_1_4b_and_deduped_is_not_the_other(pythia):
    assert not join(pythia, [checkpoint("pythia-1.4b", 512), checkpoint("pythia-1b", 512)]).rows


def test_step_0_and_step_1_are_one_checkpoint(pythia):
    first = {(s.model, s.series): s.value for s in pythia if s.step == 0}
    second = {(s.model, s.series): s.value for s in pythia if s.step == 1}
    assert first == second
    joined = join(pythia, suite())
    for sample in samples(joined):
        if sample.model is not None:
            assert sample.y.shape == (172, 26)
            assert sample.duplicates == 1


def test_the_scores_of_1b_are_under_1b_bf16(tmp_path):
    score_files.old(
        tmp_path / "pythia-1b-bf16/zero-shot/1b-bf16_step1.json",
        "pretrained=EleutherAI/pythia-v1.1-1b-bf16,revision=step1",
    )
    joined = join(
        read_scores(tmp_path), [checkpoint("pythia-1b", 1), checkpoint("pythia-1b-deduped", 1)]
    )
    assert pairs(joined) == {("pythia-1b@step1", "EleutherAI/pythia-v1.1-1b-bf16", 1)}


def test_zero_shot_files_that_are_named_5shot(tmp_path):
    score_files.old(
        tmp_path / "pythia-1b-bf16/zero-shot/1b-bf16-5shot_step128.json",
        "pretrained=EleutherAI/pythia-v1.1-1b-bf16,revision=step128",
        shots=0,
    )
    (found,) = read_scores(tmp_path)
    assert (found.shots, found.step) == (0, 128)


def test_five_shot_files_of_1b_bf16_lack_it_in_their_names(tmp_path):
    score_files.old(
        tmp_path / "pythia-1b-bf16/five-shot/1b-5shot_step73000.json",
        "pretrained=EleutherAI/pythia-v1.1-1b-bf16,revision=step73000",
        shots=5,
    )
    (found,) = read_scores(tmp_path)
    assert (found.model, found.shots) == ("EleutherAI/pythia-v1.1-1b-bf16", 5)


def test_other_batch_sizes_are_other_models_and_five_shot_without_a_folder(tmp_path):
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


def test_14m_and_31m_have_no_scores_and_no_zeros_instead(pythia):
    joined = join(pythia, suite(sizes=("14m", "31m")))
    assert not joined.rows
    assert {left.reason for left in joined.checkpoints_left} == {"no scores of this model"}
    assert not list(samples(joined))


def test_interventions_are_other_models(tmp_path):
    score_files.old(
        tmp_path / "intervention/intervention-1.4b-deduped-long_step115000.json",
        "use_accelerate=True,pretrained=EleutherAI/intervention-pythia-v1.1-1.4b-deduped-long,"
        "revision=step115000",
    )
    assert not join(read_scores(tmp_path), suite(("1.4b",), (115_000,))).rows


def test_baseline_files_have_other_tasks_and_what_they_lack_is_missing(pythia, tmp_path):
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


def test_version_0_names_no_model_and_joins_no_version_1(tmp_path):
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


def test_files_of_version_0_that_are_there_twice(tmp_path):
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


def test_tables_of_term_frequencies_are_no_scores(tmp_path):
    text = "model,checkpoint,task,fewshot,acc,acc_stderr\npythia-1b,13000,trivia_qa,4,0.1,0.01\n"
    with pytest.raises(BadInputError, match="no column metric"):
        read_scores(score_files.write(tmp_path / "trivia_qa.csv", text))


def test_a_name_that_contradicts_the_file_is_an_error(tmp_path):
    score_files.old(
        tmp_path / "70m-deduped_step256.json",
        "pretrained=EleutherAI/pythia-v1.1-70m-deduped,revision=step128",
    )
    with pytest.raises(BadInputError, match="revision step128 inside, step 256 in the name"):
        read_scores(tmp_path)
