"""The draw of the reference protocol: stored plans, an independent generator, properties."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import naive_reference
from neuromfa import sampling_plan
from neuromfa.errors import UsageError
from neuromfa.reference.sampling import BlockSizes, draw_plan

STORED = json.loads(
    (Path(__file__).parent / "expected" / "sampling.json").read_text(encoding="utf-8")
)
SIZES = re.compile(r"D(\d+)\.L(\d+)\.S(\d+)\.sample(\d+)")


def stored_plan(key):
    D, L, S, sample = map(int, SIZES.search(key).groups())
    return sampling_plan(D, L, sample_size=S, sample=sample)


@pytest.mark.parametrize("key", STORED["digest"])
def test_plans_of_all_pythia_shapes(key):
    stored, plan = STORED["digest"][key], stored_plan(key)
    assert plan.digest() == stored["sha256_of_int32le_concat"]
    numbers = plan.indices()
    assert len(numbers) == stored["n"]
    assert numbers[:8].tolist() == stored["first8"]
    assert numbers[-8:].tolist() == stored["last8"]


@pytest.mark.parametrize("key", STORED["full"])
def test_every_drawn_number(key):
    stored, plan = STORED["full"][key], stored_plan(key)
    D = int(SIZES.search(key)[1])
    for b, block in enumerate(plan.blocks):
        assert block.inputs.tolist() == stored[f"block{b}_nums1"]
        rows = np.concatenate([block.attention + k * D for k in range(3)])
        assert rows.tolist() == stored[f"block{b}_nums2"]
        assert block.attention.tolist() == stored[f"block{b}_nums3"]
        assert block.mlp_inputs.tolist() == stored[f"block{b}_nums4"]
        assert block.hidden.tolist() == stored[f"block{b}_nums5"]
    assert plan.blocks[-1].outputs.tolist() == stored[f"block{len(plan.blocks) - 1}_nums6"]


@st.composite
def models(draw):
    S = draw(st.integers(1, 9))
    D = draw(st.integers(S, 80))
    return {
        "D": D,
        "I": draw(st.integers(2 * S, 200)),
        "L": draw(st.integers(1, 4)),
        "S": S,
        "sample": draw(st.integers(0, 20) | st.integers(0, 2**32 - 1)),
    }


def drawn(model):
    return sampling_plan(
        model["D"],
        model["L"],
        sample_size=model["S"],
        sample=model["sample"],
        intermediate_size=model["I"],
    )


@settings(max_examples=40)
@given(models())
def test_agrees_with_a_generator_of_its_own(model):
    plan = drawn(model)
    blocks, last = naive_reference.plan(**model)
    for mine, (n1, t, n4, n5) in zip(plan.blocks, blocks, strict=True):
        assert mine.inputs.tolist() == n1
        assert mine.attention.tolist() == t
        assert mine.mlp_inputs.tolist() == n4
        assert mine.hidden.tolist() == n5
    assert plan.blocks[-1].outputs.tolist() == last
    assert plan.digest() == naive_reference.digest(blocks, last, model["D"])


@settings(max_examples=60)
@given(models())
def test_draws_are_distinct_units_of_the_right_layers(model):
    plan, S = drawn(model), model["S"]
    for block, following in zip(plan.blocks, [*plan.blocks[1:], None], strict=True):
        for units, k, n in (
            (block.inputs, S, model["D"]),
            (block.attention, S, model["D"]),
            (block.mlp_inputs, S, model["D"]),
            (block.hidden, 2 * S, model["I"]),
            (block.outputs, S, model["D"]),
        ):
            assert len(units) == k == len(set(units.tolist()))
            assert 0 <= units.min() <= units.max() < n
        assert following is None or block.outputs is following.inputs
    assert len(plan.indices()) == (8 * model["L"] + 1) * S


@settings(max_examples=30)
@given(models())
def test_a_whole_layer_is_a_permutation(model):
    D = model["D"]
    plan = sampling_plan(D, 1, sample_size=D, sample=model["sample"], intermediate_size=2 * D)
    (block,) = plan.blocks
    for units in (block.inputs, block.attention, block.mlp_inputs, block.outputs):
        assert sorted(units.tolist()) == list(range(D))
    assert sorted(block.hidden.tolist()) == list(range(2 * D))


@settings(max_examples=30)
@given(models(), st.integers(1, 8))
def test_a_larger_sample_begins_with_the_smaller_one(model, more):
    """Whole permutations are drawn, so the size of the sample moves no later draw."""
    larger = model | {"S": model["S"] + more}
    larger |= {"D": larger["D"] + more, "I": larger["I"] + 2 * more}
    small, large = drawn(larger | {"S": model["S"]}), drawn(larger)
    for a, b in zip(small.blocks, large.blocks, strict=True):
        assert a.inputs.tolist() == b.inputs[: model["S"]].tolist()
        assert a.hidden.tolist() == b.hidden[: 2 * model["S"]].tolist()


def test_layers_may_differ_in_size():
    sizes = [BlockSizes(20, 30, 20, 50, 20), BlockSizes(20, 12, 20, 24, 20)]
    plan = draw_plan(sizes, 10, 3)
    twister = naive_reference.MersenneTwister(3)
    for block, size in zip(plan.blocks, sizes, strict=True):
        for units, k, n in zip(
            (block.inputs, block.attention, block.mlp_inputs, block.hidden),
            (10, 10, 10, 20),
            size[:4],
            strict=True,
        ):
            assert units.tolist() == twister.choose(k, n)
    assert plan.blocks[-1].outputs.tolist() == twister.choose(10, 20)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"hidden_size": 31}, "draws 32 of 31 input units of block 0"),
        ({"hidden_size": 40, "intermediate_size": 63}, "draws 64 of 63 hidden units of block 0"),
        ({"sample_size": 0}, "--sample-size 0: must be at least 1"),
        ({"sample": -1}, "sample -1: is a seed"),
        ({"sample": 2**32}, "sample 4294967296: is a seed"),
        ({"n_blocks": 0}, "has no blocks"),
    ],
)
def test_what_cannot_be_drawn_is_refused(arguments, said):
    given_ = {"hidden_size": 128, "n_blocks": 2, "sample_size": 32} | arguments
    with pytest.raises(UsageError, match=re.escape(said)):
        sampling_plan(given_.pop("hidden_size"), given_.pop("n_blocks"), **given_)


def test_the_generator_of_the_program_is_left_alone():
    np.random.seed(7)  # noqa: NPY002  (the global state is what is looked at)
    before = np.random.get_state()[1].tolist()  # noqa: NPY002
    sampling_plan(64, 1, sample_size=8)
    assert np.random.get_state()[1].tolist() == before  # noqa: NPY002
