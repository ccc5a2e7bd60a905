"""A training run small enough to be analysed in no time, for the tests of suites."""

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

HIDDEN, BLOCKS = 24, 3
SHAPES = {
    "attention.query_key_value": (3 * HIDDEN, HIDDEN),
    "attention.dense": (HIDDEN, HIDDEN),
    "mlp.dense_h_to_4h": (4 * HIDDEN, HIDDEN),
    "mlp.dense_4h_to_h": (HIDDEN, 4 * HIDDEN),
}


def weights(step, seed=0):
    """Weights that grow and change a little with every step, whatever step is made first."""
    start, change = np.random.default_rng(seed), np.random.default_rng(seed + 1)
    share = step / (step + 40)
    return {
        f"gpt_neox.layers.{block}.{name}.weight": (
            start.normal(0, 0.02, shape) + share * change.standard_t(3, shape) * 0.03
        ).astype(np.float16)
        for block in range(BLOCKS)
        for name, shape in SHAPES.items()
    }


def write_checkpoint(folder: Path, tensors):
    """Write a directory with weights and their configuration."""
    folder.mkdir(parents=True)
    save_file(tensors, folder / "model.safetensors")
    config = {
        "model_type": "gpt_neox",
        "hidden_size": HIDDEN,
        "intermediate_size": 4 * HIDDEN,
        "num_attention_heads": 4,
        "num_hidden_layers": BLOCKS,
    }
    (folder / "config.json").write_text(json.dumps(config))


def write_training(folder: Path, steps, seed=0):
    """Write one checkpoint for each step."""
    for step in steps:
        write_checkpoint(folder / f"step{step}", weights(step, seed))


def write_suite(folder: Path, text="", models="tiny"):
    """Write a suite file over the checkpoints of models in a folder; give its path."""
    tables = "".join(
        f'[[model]]\nname = "{name}"\ncheckpoints = ["{name}/step*"]\n' for name in models.split()
    )
    path = folder / "suite.toml"
    path.write_text(f"{text}\n{tables}")
    return path


def results_of(folder: Path):
    """Every file of a suite's results but its journals, with its bytes."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix != ".jsonl"
    }
