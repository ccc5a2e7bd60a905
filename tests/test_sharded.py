"""Sharded models: two and three processes, each with a part, have the bits of one with all."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import neuromfa
import sharded_ranks
from neuromfa.errors import UnsupportedError
from neuromfa.shards import Shard, chunk
from neuromfa.tensors import leading_axes

HERE = Path(__file__).parent


@pytest.fixture(scope="module", params=[2, 3])
def ranks(request, tmp_path_factory):
    """What every rank of a program of two, or three, found: by rank, by case."""
    folder = tmp_path_factory.mktemp("ranks")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(HERE), *sys.path])}
    environment |= {"GLOO_SOCKET_IFNAME": "lo"}
    command = [sys.executable, "-W", "ignore", str(HERE / "sharded_ranks.py")]
    started = [
        subprocess.Popen(
            [*command, str(rank), str(request.param), str(folder)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(request.param)
    ]
    try:
        said = [process.communicate(timeout=300)[0] for process in started]
    finally:
        for process in started:
            process.kill()
    assert [process.returncode for process in started] == [0] * request.param, "\n".join(said)
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(request.param)]


def expected(source, protocol=sharded_ranks.PROTOCOL):
    return json.loads(json.dumps(sharded_ranks.record(source, protocol)))


def equal_to(ranks, name, whole):
    for found in ranks:
        assert found[name] == whole


@pytest.mark.parametrize("placement", ["Shard(0)", "Shard(1)", "Replicate", "2-D", "mixed"])
def test_same_bits_as_the_whole_state_dict(ranks, placement):
    equal_to(ranks, f"state:float32:{placement}", expected(sharded_ranks.whole().state_dict()))


def test_other_types(ranks):
    whole = sharded_ranks.whole(torch.bfloat16).state_dict()
    equal_to(ranks, "state:bfloat16:Shard(0)", expected(whole))


def test_a_fully_sharded_module(ranks):
    whole = expected(sharded_ranks.whole())
    for found in ranks:
        kinds = found["module:float32:fully_shard"]
        assert kinds["network"] == whole["network"]
        assert kinds == whole


@pytest.mark.parametrize("axis", [0, 1])
def test_convolutions_and_embeddings(ranks, axis):
    include = neuromfa.Protocol(
        q=sharded_ranks.Q, min_neighbours=3, include=("convolution", "embedding")
    )
    whole = expected(sharded_ranks.whole().state_dict(), include)
    equal_to(ranks, f"include:Shard({axis})", whole)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_stacked_experts(ranks, axis):
    torch.manual_seed(1)
    shapes = {"gate_up_proj": (5, 12, 18), "down_proj": (5, 9, 12)}
    whole = {f"layers.0.mlp.experts.{n}": torch.randn(s) / 10 for n, s in shapes.items()}
    equal_to(ranks, f"experts:Shard({axis})", expected(whole))


def test_ranks_with_other_resources_do_the_same_units(ranks):
    equal_to(ranks, "units", expected(sharded_ranks.whole().state_dict()))


def test_weights_that_are_not_finite_are_dropped(ranks):
    state = sharded_ranks.whole().state_dict()
    state["layers.1.up.weight"][34, 7] = torch.nan
    drop = neuromfa.Protocol(q=sharded_ranks.Q, min_neighbours=3, nonfinite="drop")
    whole = expected(state, drop)
    assert whole["network"]["nonfinite"] == 1
    equal_to(ranks, "dropped", whole)


def test_every_rank_tells_of_the_weight_that_is_not_finite(ranks):
    last = len(ranks) - 1
    sentence = (
        "state dict: tensor layers.1.up.weight is nan at [34, 7]; "
        "analyse without such weights: --nonfinite drop"
    )
    for rank, found in enumerate(ranks):
        told = f"rank {last} of {len(ranks)} stopped: " * (rank != last)
        assert found["refused:nan"] == f"BadInputError: {told}{sentence}"


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("relative", "ranks, and this needs it whole; give whole tensors"),
        ("structure", "ranks, and this needs it whole; give whole tensors"),
        ("uneven", "of equal chunks; give whole tensors"),
        ("partial", "is placed as P"),
        ("inside", "is cut inside its rows of 36 columns; shard it along another axis"),
    ],
)
def test_refused_on_every_rank(ranks, case, words):
    for found in ranks:
        assert found[f"refused:{case}"].startswith("UnsupportedError: ")
        assert words in found[f"refused:{case}"]


def test_ranks_stop_together(ranks):
    for rank, found in enumerate(ranks):
        told = f"PartialError: rank 1 of {len(ranks)} stopped: Enough()"
        assert found["stopped"] == ("Enough" if rank == 1 else told)
        assert found["again"] == [True, found["stopped"]]


@given(st.integers(0, 40), st.integers(1, 9))
def test_chunks_are_those_of_torch(length, parts):
    pieces = torch.arange(length).chunk(parts)
    for index in range(parts):
        start, size = chunk(length, parts, index)
        want = pieces[index].tolist() if index < len(pieces) else []
        assert list(range(start, start + size)) == want


@given(st.data())
def test_rows_of_a_box(data):
    shape = tuple(data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=4)))
    box = [data.draw(st.tuples(st.integers(0, n), st.integers(0, n))) for n in shape]
    starts = tuple(min(pair) for pair in box)
    lengths = tuple(abs(b - a) for a, b in box)
    axis = data.draw(st.integers(0, len(shape) - 1))
    cols = math.prod(shape[axis:])
    whole = np.arange(math.prod(shape)).reshape(shape)
    mine = whole[tuple(slice(s, s + n) for s, n in zip(starts, lengths, strict=True))]
    shard = Shard("w", shape, starts, lengths, counts=True)
    rows = math.prod(shape) // cols
    start = data.draw(st.integers(0, rows))
    stop = data.draw(st.integers(start, rows))
    try:
        parts = list(shard.rows(cols, start, stop))
    except UnsupportedError:
        axes = leading_axes(shape, cols)
        assert lengths[axes + 1 :] != shape[axes + 1 :]
        return
    seen = []
    for part in parts:
        local = mine.reshape(-1, shard.columns(cols))[part.start : part.stop]
        there = whole.reshape(-1, cols)[part.row :, part.first : part.last][: len(local)]
        assert np.array_equal(local, there)
        seen += local.ravel().tolist()
    inside = set(whole.reshape(-1, cols)[start:stop].ravel().tolist())
    assert sorted(seen) == sorted(inside & set(mine.ravel().tolist()))
