"""Names of revisions, branches and directories: what they say, and what they do not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuromfa.revisions import parse_revision

PLACES = [  # name, step, tokens, stage, ingredient
    ("step143000", 143_000, None, None, None),
    ("step1000-tokens4B", 1000, 4 * 10**9, None, None),
    ("stage1-step9000-tokens38B", 9000, 38 * 10**9, 1, None),
    ("stage2-ingredient3-step1000-tokens5B", 1000, 5 * 10**9, 2, 3),
    ("step-001000-2BT", 1000, 2 * 10**9, None, None),
    ("stage1-step-40000", 40_000, None, 1, None),
    ("checkpoint-500", 500, None, None, None),
    ("global_step113000", 113_000, None, None, None),
    ("iter_0010000", 10_000, None, None, None),
    ("epoch=1-step=200.ckpt", 200, None, None, None),
    ("runs/tiny-neox/step64", 64, None, None, None),
    ("runs/tiny-neox/step64/", 64, None, None, None),
    ("70m-deduped_step32.json", 32, None, None, None),
    ("1b-bf16-5shot_step128.json", 128, None, None, None),
]


@pytest.mark.parametrize(("name", "step", "tokens", "stage", "ingredient"), PLACES)
def test_names_of_known_runs(name, step, tokens, stage, ingredient):
    found = parse_revision(name)
    assert (found.step, found.tokens, found.stage, found.ingredient) == (
        step,
        tokens,
        stage,
        ingredient,
    )
    assert found.text == name
    assert found.convention


@pytest.mark.parametrize(
    "name",
    ["", "main", "fp32", "best", "step", "stepper9", "v1.0", "2024-01-02", "ckpt_100", "step1.5"],
)
def test_what_a_name_does_not_say_is_not_guessed(name):
    assert parse_revision(name).step is None
    assert parse_revision(name).position is None


@pytest.mark.parametrize("name", ["lc-4k-to-32k-step-4000", "sft-step-100", "stage3-x-step5"])
def test_steps_of_a_later_part_do_not_pass_for_steps_of_the_main_run(name):
    assert parse_revision(name).step is None


def test_main_is_the_last_step_of_pythia_and_of_no_other():
    assert parse_revision("main", "EleutherAI/pythia-1.4b-deduped").step == 143_000
    assert parse_revision("main", "EleutherAI/pythia-v1.1-1.4b-deduped").step == 143_000
    assert parse_revision("main", "EleutherAI/pythia-160m-seed3").step == 143_000
    for model in ("EleutherAI/pythia-70m-deduped-v0", "pythia-70m-0.25MtokBS", "allenai/OLMo-7B"):
        assert parse_revision("main", model).step is None


def test_tokens_follow_from_steps_where_the_batch_is_known():
    assert parse_revision("step1000", "pythia-70m").tokens == 1000 * 2_097_152
    assert parse_revision("step1000", "pythia-70m-0.25MtokBS").tokens is None
    assert parse_revision("step1000", "pythia-70m-v0").tokens is None


def test_a_commit_is_no_step():
    commit = "4d0c90183683435b20890cabca52783c3b820d3c"
    assert parse_revision(commit).commit == commit
    assert parse_revision(commit).step is None
    assert parse_revision("1234567890" * 4).step is None


def test_stages_count_steps_of_their_own():
    first, again = parse_revision("step1000-tokens4B"), parse_revision("stage1-step1000-tokens4B")
    later = parse_revision("stage2-ingredient1-step1000-tokens5B")
    assert first.position == again.position
    assert later.position != first.position


def test_order_is_by_step_then_natural():
    names = ["fp32", "step10", "main", "step9", "ckpt_10", "ckpt_9", "stage2-step1"]
    ordered = sorted((parse_revision(name) for name in names), key=lambda r: r.sort_key)
    assert [r.text for r in ordered] == [
        *("step9", "step10", "stage2-step1", "ckpt_9", "ckpt_10", "fp32", "main"),
    ]


@given(st.text(), st.none() | st.text())
def test_any_text_has_an_answer(text, model):
    found = parse_revision(text, model)
    assert found.text == text
    assert sorted([found, parse_revision("step1")], key=lambda r: r.sort_key)
