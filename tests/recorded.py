"""Tiny models of transformers as recorded: tensor names on disk and in memory; loose tensors."""

import json
from functools import cache
from pathlib import Path

from neuromfa.network import classify
from neuromfa.protocol import Protocol
from neuromfa.tensors import TensorRef

RECORDED = Path(__file__).parent / "expected" / "architectures" / "transformers-5.23.0.json"


@cache
def recorded():
    return json.loads(RECORDED.read_text(encoding="utf-8"))


def model(key, namespace):
    """Tensors, classes of their modules, and tied names of a recorded model."""
    tensors, kinds = {}, {}
    for where, kind, dtype, shape, names in recorded()[key]["tensors"]:
        if where in ("both", namespace):
            for name in names:
                tensors[name] = TensorRef(name, dtype, tuple(shape), "", 0)
                kinds[name] = kind
    if namespace == "disk":
        return tensors, {}, {}
    return tensors, kinds, recorded()[key].get("aliases", {})


def network(key, namespace, *, known=True, **settings):
    tensors, kinds, aliases = model(key, namespace)
    entry = recorded()[key]
    config = {"model_type": entry["model_type"]}
    if "text_config" in entry:
        config["text_config"] = {"model_type": entry["text_config"]}
    return classify(
        tensors,
        protocol=Protocol(**settings),
        config=config if known else {},
        kinds=kinds if known else {},
        aliases=aliases,
    )


def outline(net):
    """What may not depend on the storage: layers, their neurons, and how many edges each has."""
    return [(x.name, x.block, x.role, x.neurons, x.weights) for x in net.layers]


def refs(shapes, dtype="bfloat16"):
    """Tensors from name -> shape, or name -> (dtype, shape)."""
    pairs = {n: s if isinstance(s[0], str) else (dtype, s) for n, s in shapes.items()}
    return {n: TensorRef(n, d, tuple(s), "model.safetensors", 0) for n, (d, s) in pairs.items()}


def run(shapes, model_type=None, *, dtype="bfloat16", strict=False, kinds=None, **protocol):
    return classify(
        refs(shapes, dtype),
        protocol=Protocol(**protocol),
        config={"model_type": model_type} if model_type else {},
        kinds=kinds or {},
        strict=strict,
    )


def names(net):
    return [layer.name for layer in net.layers]


def layer(net, name):
    return next(x for x in net.layers if x.name == name)


def block_of_llama(i, hidden=48, **other):
    shapes = {
        "self_attn.q_proj": (48, hidden),
        "self_attn.k_proj": (16, hidden),
        "self_attn.v_proj": (16, hidden),
        "self_attn.o_proj": (hidden, 48),
        "mlp.gate_proj": (80, hidden),
        "mlp.up_proj": (80, hidden),
        "mlp.down_proj": (hidden, 80),
    }
    return {f"model.layers.{i}.{n}.weight": s for n, s in (shapes | other).items()}
