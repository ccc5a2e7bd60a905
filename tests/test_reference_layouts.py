"""The reference protocol on other architectures: one network, whatever its storage."""

import json
import re
from types import SimpleNamespace

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from neuromfa import analyse_reference
from neuromfa.architectures import load_registry
from neuromfa.errors import BadInputError, UnsupportedError
from neuromfa.reference.heads import Heads, head_layout
from neuromfa.reference.layout import sampled_blocks
from neuromfa.reference.sampling import BlockSizes, draw_plan
from recorded import network, recorded

D, A, I, L = 40, 48, 100, 2  # noqa: E741  (hidden units, in the letters of the description)
HEADS, SIZE = 12, 4
"""Heads of 4 dimensions; 12 keys, or 3 that 4 heads share each."""


def matrices(rng, keys=HEADS):
    shapes = {
        "q": (A, D),
        "k": (keys * SIZE, D),
        "v": (keys * SIZE, D),
        "o": (D, A),
        "gate": (I, D),
        "up": (I, D),
        "down": (D, I),
    }
    return [
        {n: (0.1 * rng.standard_normal(s)).astype(np.float32) for n, s in shapes.items()}
        for _ in range(L)
    ]


def by_group(m):
    """Queries of the heads that share a key, the key, the value, one group after another."""
    keys = len(m["k"]) // SIZE
    q, k, v = (m[n].reshape(keys, -1, D) for n in "qkv")
    return np.concatenate([q, k, v], axis=1).reshape(-1, D)


def in_pieces(m):
    pieces = [m[n].reshape(4, -1, D) for n in "qvk"]
    return np.concatenate(pieces, axis=1).reshape(-1, D)


def below(m):
    return np.concatenate([m["q"], m["k"], m["v"]])


def separate(m, names):
    return {names[n]: m[n] for n in names}


def llama(m):
    attention = {n: f"self_attn.{n}_proj" for n in "qkvo"}
    return separate(m, attention | {n: f"mlp.{n}_proj" for n in ("gate", "up", "down")})


STORAGES = {
    "gptj": (
        "transformer.h.",
        lambda m: separate(
            m,
            {n: f"attn.{n}_proj" for n in "qkv"}
            | {"o": "attn.out_proj", "up": "mlp.fc_in", "down": "mlp.fc_out"},
        ),
    ),
    "gpt2": (
        "transformer.h.",
        lambda m: {
            "attn.c_attn": below(m).T,
            "attn.c_proj": m["o"].T,
            "mlp.c_fc": m["up"].T,
            "mlp.c_proj": m["down"].T,
        },
    ),
    "bloom": (
        "transformer.h.",
        lambda m: {
            "self_attention.query_key_value": by_group(m),
            "self_attention.dense": m["o"],
            "mlp.dense_h_to_4h": m["up"],
            "mlp.dense_4h_to_h": m["down"],
        },
    ),
    "mpt": (
        "transformer.blocks.",
        lambda m: {
            "attn.Wqkv": below(m),
            "attn.out_proj": m["o"],
            "ffn.up_proj": m["up"],
            "ffn.down_proj": m["down"],
        },
    ),
    "codegen": (
        "transformer.h.",
        lambda m: {
            "attn.qkv_proj": in_pieces(m),
            "attn.out_proj": m["o"],
            "mlp.fc_in": m["up"],
            "mlp.fc_out": m["down"],
        },
    ),
    "llama": ("model.layers.", llama),
    "phi3": (
        "model.layers.",
        lambda m: {
            "self_attn.qkv_proj": below(m),
            "self_attn.o_proj": m["o"],
            "mlp.gate_up_proj": np.concatenate([m["gate"], m["up"]]),
            "mlp.down_proj": m["down"],
        },
    ),
    "internlm2": (
        "model.layers.",
        lambda m: {
            "attention.wqkv": by_group(m),
            "attention.wo": m["o"],
            "feed_forward.w1": m["gate"],
            "feed_forward.w3": m["up"],
            "feed_forward.w2": m["down"],
        },
    ),
}


def stored(folder, model_type, blocks, **config):
    """A checkpoint with those matrices as this architecture stores them."""
    folder.mkdir()
    prefix, layout = STORAGES[model_type]
    tensors = {
        f"{prefix}{b}.{name}.weight": np.ascontiguousarray(matrix)
        for b, block in enumerate(blocks)
        for name, matrix in layout(block).items()
    }
    save_file(tensors, folder / "model.safetensors")
    record = {"model_type": model_type, "num_attention_heads": HEADS, "head_dim": SIZE}
    (folder / "config.json").write_text(json.dumps(record | config))
    return folder


def samples(folder, **settings):
    found = analyse_reference(
        folder, sample_size=14, samples=3, cutoff=60, fractal_dimensions=True, **settings
    )
    assert found.generalised
    assert any("carried over" in warning for warning in found.warnings)
    return found.to_dict()["samples"]


def test_one_network_however_it_is_stored(tmp_path):
    blocks = matrices(np.random.default_rng(1))
    plain = ("gptj", "gpt2", "bloom", "mpt", "codegen")
    found = [samples(stored(tmp_path / name, name, blocks)) for name in plain]
    assert all(record == found[0] for record in found)
    assert found[0][0]["edges"] == 14 * 14 * L * (3 + 1 + 2 + 2)
    assert found[0][0]["artificial_edges"] == 0
    assert found[0][0]["neurons"] == found[0][0]["fractal_dimension"]["lists"] == 14 * 5 * L


@pytest.mark.parametrize("keys", [HEADS, 3])
def test_gated_networks_with_shared_keys(tmp_path, keys):
    blocks = matrices(np.random.default_rng(2), keys)
    gated = ("llama", "phi3", "internlm2")
    found = [samples(stored(tmp_path / name, name, blocks)) for name in gated]
    assert all(record == found[0] for record in found)
    ungrouped = 14 * 14 * L * (3 + 1 + 4 + 2)
    assert (found[0][0]["edges"] == ungrouped) is (keys == HEADS)
    assert found[0][0]["edges"] <= ungrouped  # a key that heads share is one unit


def test_a_sampled_network_with_shared_keys_from_scratch(tmp_path):
    """Edge by edge, without the code that knows about layouts."""
    blocks = matrices(np.random.default_rng(3), keys=3)
    (first, *_) = samples(stored(tmp_path / "m", "llama", blocks))
    plan = draw_plan([BlockSizes(D, A, D, I, D)] * L, 14, 0)
    assert first["plan_sha256"] == plan.digest()
    edges = in_range = 0
    for m, units in zip(blocks, plan.blocks, strict=True):
        keys = {int(t) // SIZE // 4 * SIZE + int(t) % SIZE for t in units.attention}
        pairs = [
            (m["q"], units.attention, units.inputs),
            (m["k"], sorted(keys), units.inputs),
            (m["v"], sorted(keys), units.inputs),
            (m["o"], units.mlp_inputs, units.attention),
            (m["gate"], units.hidden, units.mlp_inputs),
            (m["up"], units.hidden, units.mlp_inputs),
            (m["down"], units.outputs, units.hidden),
        ]
        for matrix, outputs, inputs in pairs:
            for j in outputs:
                for i in inputs:
                    edges += matrix[j, i] != 0
                    in_range += 1 < 1 / abs(float(matrix[j, i])) <= 60
    assert (first["edges"], first["edges_in_range"]) == (edges, in_range)


def test_neox_is_sampled_as_published_whatever_its_heads(tmp_path):
    """With queries, keys and values one below the other the published rows are the true ones."""
    blocks = matrices(np.random.default_rng(4))
    mpt = samples(stored(tmp_path / "mpt", "mpt", blocks))
    names = ("attention.dense", "mlp.dense_h_to_4h", "mlp.dense_4h_to_h")
    tensors = {
        f"gpt_neox.layers.{b}.{name}.weight": matrix
        for b, m in enumerate(blocks)
        for name, matrix in zip(
            ("attention.query_key_value", *names),
            (below(m), m["o"], m["up"], m["down"]),
            strict=True,
        )
    }
    neox = analyse_reference(tensors, sample_size=14, samples=3, cutoff=60)
    assert not neox.generalised
    assert neox.warnings[-1].startswith("architecture inferred")
    assert "as published" in neox.layout["attention_input"][0]
    for mine, other in zip(neox.to_dict()["samples"], mpt, strict=True):
        same = ("tau", "alpha", "f", "width", "radii", "edges", "plan_sha256")
        assert {n: mine[n] for n in same} == {n: other[n] for n in same}
        assert mine["artificial_edges"] == L * (14 + 2 * 14 * 14)


@pytest.mark.parametrize("dtype", [np.float64, np.float16, ml_dtypes.bfloat16])
def test_values_are_widened_exactly(tmp_path, dtype):
    blocks = [
        {n: x.astype(dtype) for n, x in m.items()} for m in matrices(np.random.default_rng(6))
    ]
    wide = [{n: x.astype(np.float64) for n, x in m.items()} for m in blocks]
    assert samples(stored(tmp_path / "a", "gpt2", blocks)) == samples(
        stored(tmp_path / "b", "gpt2", wide)
    )


@given(st.integers(1, 5), st.integers(1, 4), st.integers(1, 6), st.data())
def test_rows_of_grouped_heads(group, keys, size, data):
    """Every layout marks its own rows with what they are; the rule must find the right ones."""
    heads = Heads(group * keys * size, {"head_dim": size})
    drawn = st.lists(st.integers(0, heads.attention - 1), min_size=1, max_size=12, unique=True)
    t = np.array(data.draw(drawn))
    q = [("q", h, c) for h in range(group * keys) for c in range(size)]
    k, v = ([(n, h, c) for h in range(keys) for c in range(size)] for n in "kv")
    grouped = []
    for j in range(keys):
        grouped += q[j * group * size : (j + 1) * group * size]
        grouped += k[j * size : (j + 1) * size] + v[j * size : (j + 1) * size]
    wanted = {("q", x // size, x % size) for x in t.tolist()}
    wanted |= {(n, x // size // group, x % size) for x in t.tolist() for n in "kv"}
    for split, rows in (("qkv_cat", q + k + v), ("qkv_group", grouped)):
        outputs, _ = head_layout("qkv", len(rows), split, heads, where="here")
        found = [rows[int(i)] for i in outputs(t)]
        assert set(found) == wanted
        assert len(found) == len(wanted)
    outputs, _ = head_layout("k", len(k), "none", heads, where="here")
    assert [k[int(i)] for i in outputs(t)] == list(
        dict.fromkeys(("k", x // size // group, x % size) for x in t.tolist())
    )


def chain(key, **config):
    checkpoint = SimpleNamespace(source=key, config=config)
    return sampled_blocks(checkpoint, network(key, "disk"), load_registry())


REFUSED = {
    "mixtral": "layer 0.mlp_hidden is several matrices, as in a mixture of experts",
    "granitemoe": "layer 0.mlp_hidden is several matrices, as in a mixture of experts",
    "mamba": "block 0 has no attention_input",
    "jamba": "block 0 has no attention_input",
    "gpt2_cross": "block 0 has also cross_attention_input",
    "deepseek_v3": "block 0 has also query_latent",
    "t5": "there are several stacks of blocks ('decoder', 'encoder')",
    "llava": "there are several stacks of blocks ('', 'projector', 'vision')",
    "laguna": "g_proj.weight has 6 outputs, laid out as none, for 48 attention dimensions",
}


@pytest.mark.parametrize("key", REFUSED)
def test_what_is_no_such_chain_is_refused(key):
    with pytest.raises(UnsupportedError, match=re.escape(REFUSED[key])) as error:
        chain(key, num_attention_heads=6)
    assert "--protocol exact" in str(error.value)


def test_most_plain_transformers_can_be_sampled():
    known = {}
    for key in recorded():
        try:
            blocks = chain(key, num_attention_heads=6)
        except UnsupportedError:
            continue
        known[key] = [part.rule for part in blocks[0].layers[0][1]]
        for block in blocks:
            for _, parts in block.layers[:1]:
                t = np.arange(block.sizes.attention)
                for part in parts:  # all attention dimensions together read every row once
                    n_outputs = part.map.rows if part.map.neuron_axis else part.map.cols
                    assert sorted(part.outputs(t).tolist()) == list(range(n_outputs)), key
    assert known["gpt_neox"] == ["t, t + A, t + 2A (as published)"]
    assert known["bloom"] == known["falcon_rw"] == ["query, key, value by head"]
    assert known["falcon_new"] == ["3 queries, key, value by group"]
    assert known["falcon_7b"] == ["6 queries, key, value by group"]
    shared = "t of its key head, shared by 3 heads"
    assert known["llama"] == known["qwen3"] == known["gemma2"] == [shared, "t", shared]
    assert len(known) > 70
    assert {"bert", "gpt2", "opt", "vit", "modernbert", "codegen", "phi3"} <= set(known)


def test_unknown_architectures_and_sizes_are_refused():
    loose = {"a": np.ones((30, 30), np.float32)}
    with pytest.raises(UnsupportedError, match="knows no architecture with these tensor names"):
        analyse_reference(loose)
    with pytest.raises(UnsupportedError, match="in heads of unknown size"):
        chain("llama")
    for config, said in (
        ({"hidden_size": 64}, "hidden_size 64, the tensors have 48 block input units"),
        ({"num_hidden_layers": 9}, "num_hidden_layers 9, the tensors have 2 blocks"),
        ({"intermediate_size": 81}, "intermediate_size 81, the tensors have 80 hidden units"),
    ):
        with pytest.raises(BadInputError, match=said):
            chain("bert", num_attention_heads=6, **config)


def test_albert_passes_one_block_several_times():
    assert len(chain("albert", num_hidden_layers=12, num_hidden_groups=1)) >= 1
