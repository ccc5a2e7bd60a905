"""Checkpoints with the headers of a very large model and nothing but holes behind them.

    python bench/large_model.py DIRECTORY

writes the tensors of Llama-3.1-405B (405,853,388,800 parameters in bfloat16) in shards of at most
5 GB, as they are published. The files are sparse: 812 GB to look at, about a megabyte on disk.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from math import prod
from pathlib import Path

HIDDEN, INNER, KEYS, VOCABULARY, BLOCKS = 16384, 53248, 1024, 128256, 126
PARAMETERS = 405_853_388_800
SHARD_BYTES = 5_000_000_000


def llama_405b() -> Iterator[tuple[str, tuple[int, ...]]]:
    """Name and shape of every tensor, in the order of the model."""
    yield "model.embed_tokens.weight", (VOCABULARY, HIDDEN)
    for block in range(BLOCKS):
        name = f"model.layers.{block}."
        yield name + "self_attn.q_proj.weight", (HIDDEN, HIDDEN)
        yield name + "self_attn.k_proj.weight", (KEYS, HIDDEN)
        yield name + "self_attn.v_proj.weight", (KEYS, HIDDEN)
        yield name + "self_attn.o_proj.weight", (HIDDEN, HIDDEN)
        yield name + "mlp.gate_proj.weight", (INNER, HIDDEN)
        yield name + "mlp.up_proj.weight", (INNER, HIDDEN)
        yield name + "mlp.down_proj.weight", (HIDDEN, INNER)
        yield name + "input_layernorm.weight", (HIDDEN,)
        yield name + "post_attention_layernorm.weight", (HIDDEN,)
    yield "model.norm.weight", (HIDDEN,)
    yield "lm_head.weight", (VOCABULARY, HIDDEN)


def shards() -> list[list[tuple[str, tuple[int, ...]]]]:
    """Tensors by file: each file as full as it gets."""
    files: list[list[tuple[str, tuple[int, ...]]]] = [[]]
    size = 0
    for name, shape in llama_405b():
        nbytes = 2 * prod(shape)
        if files[-1] and size + nbytes > SHARD_BYTES:
            files.append([])
            size = 0
        files[-1].append((name, shape))
        size += nbytes
    return files


def write_headers(folder: Path) -> int:
    """Write the checkpoint; the number of its files."""
    folder.mkdir(parents=True, exist_ok=True)
    files = shards()
    index = {}
    for number, tensors in enumerate(files, 1):
        file = folder / f"model-{number:05}-of-{len(files):05}.safetensors"
        header, end = {}, 0
        for name, shape in tensors:
            begin, end = end, end + 2 * prod(shape)
            header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [begin, end]}
            index[name] = file.name
        text = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
        text += b" " * (-len(text) % 8)
        with file.open("wb") as out:
            out.write(len(text).to_bytes(8, "little") + text)
            out.truncate(8 + len(text) + end)
    weight_map = {"metadata": {"total_size": 2 * PARAMETERS}, "weight_map": index}
    (folder / "model.safetensors.index.json").write_text(json.dumps(weight_map))
    config = {"model_type": "llama", "hidden_size": HIDDEN, "intermediate_size": INNER}
    config |= {"num_hidden_layers": BLOCKS, "num_attention_heads": 128, "vocab_size": VOCABULARY}
    config |= {"num_key_value_heads": 8, "tie_word_embeddings": False}
    (folder / "config.json").write_text(json.dumps(config))
    return len(files)


if __name__ == "__main__":
    print(f"{write_headers(Path(sys.argv[1]))} files in {sys.argv[1]}")
