"""Tensors to layers: names and order do not depend on file, storage or namespace."""

import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuromfa.network import classify
from neuromfa.protocol import Protocol
from recorded import block_of_llama, layer, model, names, network, outline, recorded, run

EXPECTED_LAYERS = {
    "gpt_neox": ["attention_input", "attention_output", "mlp_input", "mlp_hidden"],
    "deepseek_v3": [
        *("attention_input", "query_latent", "key_value_latent", "attention_output"),
        *("mlp_input", "mlp_hidden"),
    ],
    "mamba": ["ssm_input", "ssm_hidden", "ssm_step", "ssm_output"],
    "falcon_h1": [
        *("attention_input", "attention_output", "ssm_input", "ssm_output"),
        *("mlp_input", "mlp_hidden"),
    ],
    "qwen3_next": ["attention_input", "attention_output", "mlp_input", "mlp_hidden"],
    "rwkv": ["attention_input", "attention_output", "mlp_input", "mlp_hidden"],
    "dbrx": ["attention_input", "attention_output", "mlp_input", "mlp_hidden"],
}


@pytest.mark.parametrize("key", EXPECTED_LAYERS)
def test_layers_of_a_block_in_forward_order(key):
    for block in ("0", "1"):
        found = [x.role for x in network(key, "disk").layers if x.block == block]
        assert found == EXPECTED_LAYERS[key]


@pytest.mark.parametrize("key", ["t5", "bart"])
def test_encoder_stands_before_decoder_and_cross_attention_reads_three_spaces(key):
    roles = ["attention_input", "attention_output"]
    cross = ["cross_attention_input", "encoder_output", "cross_attention_output"]
    mlp = ["mlp_input", "mlp_hidden"]
    expected = [f"encoder.{b}.{r}" for b in (0, 1) for r in [*roles, *mlp]]
    expected += [f"decoder.{b}.{r}" for b in (0, 1) for r in [*roles, *cross, *mlp]]
    net = network(key, "memory")
    assert names(net) == expected
    key_and_value = layer(net, "decoder.1.encoder_output").tensors
    assert len(key_and_value) == 2
    assert all("k" in t or "v" in t for t in key_and_value)


def test_towers_stand_before_the_language_model():
    blocks = dict.fromkeys(x.block for x in network("llama4", "disk").layers)
    assert list(blocks) == ["vision.0", "vision.1", "vision", "projector", "0", "1"]


def test_eleven_blocks_are_in_numeric_order():
    shapes = {k: v for i in (10, 2, 0, 1) for k, v in block_of_llama(i).items()}
    assert [x.block for x in run(shapes, "llama").layers][::4] == ["0", "1", "2", "10"]


@settings(max_examples=25)
@given(st.data())
def test_the_order_of_the_file_does_not_matter(data):
    key = data.draw(st.sampled_from(["t5", "deepseek_v3", "qwen3_next", "gpt2", "llava", "dbrx"]))
    tensors, _, _ = model(key, "disk")
    shuffled = {n: tensors[n] for n in data.draw(st.permutations(list(tensors)))}
    config = {"model_type": recorded()[key]["model_type"], "text_config": {"model_type": "llama"}}
    for experts in ("joint", "separate"):
        protocol = Protocol(experts=experts)
        first = classify(tensors, protocol=protocol, config=config)
        again = classify(shuffled, protocol=protocol, config=config)
        assert first == again


def test_next_token_prediction_is_one_more_block():
    tensors, _, _ = model("deepseek_v3", "disk")
    more = {n.replace("layers.1.", "layers.2."): r.shape for n, r in tensors.items() if ".1." in n}
    more = {n: s for n, s in more.items() if n.startswith("model.layers.2.")}
    more |= {
        "model.layers.2.eh_proj.weight": (48, 96),
        "model.layers.2.enorm.weight": (48,),
        "model.layers.2.embed_tokens.weight": (64, 48),
        "model.layers.2.shared_head.head.weight": (64, 48),
        "model.layers.2.shared_head.norm.weight": (48,),
    }
    shapes = {n: r.shape for n, r in tensors.items()} | more
    net = run(shapes, "deepseek_v3", strict=True)
    assert next(x for x in net.layers if x.block == "2").name == "2.mtp_input"
    assert layer(net, "2.mtp_input").neurons == 96
    assert net.coverage.excluded["model.layers.2.shared_head.head.weight"] == "head"
    own = outline(run({n: r.shape for n, r in tensors.items()}, "deepseek_v3"))
    assert [x for x in outline(net) if x[1] != "2"] == own


def test_prediction_blocks_of_qwen3_next_are_a_stack():
    tensors, _, _ = model("qwen3_next", "disk")
    shapes = {n: r.shape for n, r in tensors.items()}
    shapes |= {
        n.replace("model.", "mtp.").replace("layers.3", "layers.0"): s
        for n, s in shapes.items()
        if "layers.3." in n
    }
    shapes["mtp.fc.weight"] = (48, 96)
    net = run(shapes, "qwen3_next", strict=True)
    assert [x for x in names(net) if x.startswith("mtp")] == [
        "mtp.mtp_input",
        *(f"mtp.0.{r}" for r in EXPECTED_LAYERS["qwen3_next"]),
    ]
    assert names(net)[-1] == "mtp.0.mlp_hidden"


def test_a_very_large_mixture_is_classified_from_names_in_one_go():
    shapes = {}
    for i in range(30):
        shapes |= {f"model.layers.{i}.mlp.gate.weight": (128, 16)}
        for e in range(128):
            stem = f"model.layers.{i}.mlp.experts.{e}"
            shapes[f"{stem}.gate_proj.weight"] = shapes[f"{stem}.up_proj.weight"] = (8, 16)
            shapes[f"{stem}.down_proj.weight"] = (16, 8)
    net = run(shapes)
    assert len(net.layers) == 60
    assert layer(net, "29.mlp_hidden").neurons == 1024


def test_importing_the_network_needs_no_numpy():
    code = "import sys, neuromfa.network as n; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
