"""Files of scores for tests: Pythia's published ones, and small ones of every layout.

``expected/pythia-evals.tar.xz`` holds the 216 zero-shot results of the eight deduplicated Pythia
models at 27 steps, unchanged, from https://github.com/EleutherAI/pythia (Apache License 2.0).
"""

import json
import tarfile
from pathlib import Path

from neuromfa.scores.matching import MeasuredCheckpoint
from neuromfa.scores.score import Score

PYTHIA_EVALS = Path(__file__).parent / "expected" / "pythia-evals.tar.xz"
SIZES = ("70m", "160m", "410m", "1b", "1.4b", "2.8b", "6.9b", "12b")
STEPS = (0, *(2**k for k in range(10)), 1000, *range(3000, 143_001, 10_000))


def unpack_pythia(folder):
    """Unpack all 216 files as the repository has them; return the directory."""
    with tarfile.open(PYTHIA_EVALS) as archive:
        archive.extractall(folder, filter="data")
    return folder


def write(path, record):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(record if isinstance(record, str) else json.dumps(record), encoding="utf-8")
    return path


def old(path, model_args, results=None, *, shots=0, **config):
    """Results in the old layout of the harness."""
    results = {"piqa": {"acc": 0.5, "acc_stderr": 0.01}} if results is None else results
    record = {
        "results": results,
        "versions": dict.fromkeys(results, 0),
        "config": {"model_args": model_args, "num_fewshot": shots, **config},
    }
    return write(path, record)


def new(path, model_args, results, **more):
    """Results in the new layout of the harness."""
    record = {
        "results": results,
        "configs": {},
        "versions": dict.fromkeys(results, 1.0),
        "n-shot": dict.fromkeys(results, 0),
        "config": {"model": "hf", "model_args": model_args},
        **more,
    }
    return write(path, record)


def helm(folder, stats, *, model="eleutherai/pythia-1b", run="mmlu:subject=anatomy,model=x"):
    """A run folder of HELM, with the files that are no scores."""
    adapter = {"model": model, "max_train_instances": 5}
    write(folder / "run_spec.json", {"name": run, "adapter_spec": adapter})
    write(folder / "scenario_state.json", {"adapter_spec": adapter, "request_states": []})
    write(folder / "per_instance_stats.json", [])
    return write(folder / "stats.json", stats)


def stat(name, mean, *, split="test", count=1, **more):
    row = {"name": {"name": name, "split": split, **more}, "count": count}
    return row | ({"mean": mean} if count else {})


def checkpoint(model, step=None, *, revision=None, **more):
    if revision is None and step is not None:
        revision = f"step{step}"
    return MeasuredCheckpoint(model=model, revision=revision, step=step, **more)


def score(model, revision=None, value=0.5, *, step=None, task="piqa", **more):
    return Score(
        model=model, revision=revision, step=step, task=task, metric="acc", value=value,
        source="scores.csv", layout="csv", **more,
    )  # fmt: skip


def suite(sizes=SIZES, steps=STEPS, *, prefix=""):
    """Analyses of the right names and steps; step 0 and step 1 have the same weights."""
    return [
        checkpoint(
            f"{prefix}pythia-{size}-deduped",
            step,
            content_hash=f"{size} {max(step, 1)}",
            measures={"width": 0.7 + step / 1e6},
        )
        for size in sizes
        for step in steps
    ]


def pairs(joined):
    """Which checkpoint got scores of which model and step."""
    return {
        (str(joined.checkpoints[index]), score.model, score.step) for index, score in joined.rows
    }
