"""What following a training costs: trainers with and without their monitors, on the same steps.

    python bench/training.py [--steps 60] [--every 30] [--hidden 96] [--blocks 4] [--layers N]

Trains a GPT-NeoX of transformers by the Hugging Face Trainer, and the same model by Lightning, each
without and with the monitor in turns, on the CPU. Final weights and random states have to be the
same bits. Overhead is the wall time of the fastest run against that of the fastest without; beside
it stands the share that the monitor measured itself. Torch uses one thread. Nothing is recorded.
"""

from __future__ import annotations

import argparse
import logging
import random
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from neuromfa import training

REPEATS = 5
"""Of which the fastest counts: other processes only make a training slower."""
BATCH, LENGTH, VOCABULARY = 8, 64, 512


class Run(NamedTuple):
    """A training: how long it took, what it left, and what its monitor says of itself."""

    seconds: float
    left: tuple[Any, ...]
    monitor: training.Monitor | None


class Tokens(torch.utils.data.Dataset[dict[str, torch.Tensor]]):
    """Tokens that repeat themselves, so that there is something to learn."""

    def __init__(self, steps: int) -> None:
        self.size = steps * BATCH

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        tokens = torch.arange(LENGTH) * (index % 97 + 3) % VOCABULARY
        return {"input_ids": tokens, "labels": tokens}


def model(options: argparse.Namespace) -> Any:
    """The model, always the same."""
    transformers = import_module("transformers")
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002  (the global state is compared)
    torch.manual_seed(0)
    return transformers.GPTNeoXForCausalLM(
        transformers.GPTNeoXConfig(
            vocab_size=VOCABULARY,
            hidden_size=options.hidden,
            intermediate_size=4 * options.hidden,
            num_hidden_layers=options.blocks,
            num_attention_heads=4,
            max_position_embeddings=LENGTH,
            hidden_dropout=0.1,
        )
    )


def left(module: torch.nn.Module) -> tuple[Any, ...]:
    """Weights and the states of all generators."""
    weights = [tensor.numpy().tobytes() for tensor in module.state_dict().values()]
    numbers = np.random.get_state()[1].tobytes()  # type: ignore[union-attr]  # noqa: NPY002
    return weights, random.getstate(), numbers, torch.get_rng_state().numpy().tobytes()


def hugging_face(options: argparse.Namespace, folder: Path, settings: dict[str, Any]) -> Run:
    """One training by the Trainer of transformers."""
    transformers = import_module("transformers")
    trainer = transformers.Trainer(
        model(options),
        transformers.TrainingArguments(
            str(folder / "out"),
            max_steps=options.steps,
            per_device_train_batch_size=BATCH,
            logging_steps=10,
            save_strategy="no",
            report_to=[],
            use_cpu=True,
            disable_tqdm=True,
        ),
        train_dataset=Tokens(options.steps),
    )
    trainer.pop_callback(transformers.PrinterCallback)
    callback = None
    if settings:
        callback = training.HuggingFaceMonitor(trainer, **settings)
        trainer.add_callback(callback)
    start = time.perf_counter()
    trainer.train()
    seconds = time.perf_counter() - start
    return Run(seconds, left(trainer.model), callback and callback.monitor)


def lightning(options: argparse.Namespace, folder: Path, settings: dict[str, Any]) -> Run:
    """One training by the Trainer of Lightning."""
    package = import_module("lightning.pytorch")
    loggers = import_module("lightning.pytorch.loggers")

    class Module(package.LightningModule):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            super().__init__()
            self.model = model(options)

        def training_step(self, batch: dict[str, torch.Tensor], _: int) -> Any:
            return self.model(**batch).loss

        def configure_optimizers(self) -> Any:
            return torch.optim.AdamW(self.parameters(), lr=5e-5)

    callbacks = [training.LightningMonitor(part="model", **settings)] if settings else []
    trainer = package.Trainer(
        accelerator="cpu",
        devices=1,
        max_steps=options.steps,
        callbacks=callbacks,
        logger=loggers.CSVLogger(folder),
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    module = Module()
    data = torch.utils.data.DataLoader(Tokens(options.steps), batch_size=BATCH, shuffle=True)
    start = time.perf_counter()
    trainer.fit(module, data)
    seconds = time.perf_counter() - start
    return Run(seconds, left(module), callbacks[0].monitor if callbacks else None)


def compare(
    name: str, train: Callable[[argparse.Namespace, Path, dict[str, Any]], Run], options: Any
) -> None:
    """Train in turns without and with the monitor; print, and stop if a bit differs."""
    plain, watched = [], []
    for repeat in range(REPEATS):
        with tempfile.TemporaryDirectory(prefix="neuromfa-bench-") as place:
            folder = Path(place)
            settings = {"directory": folder / "run", "every": options.every}
            settings |= {"layers": options.layers} if options.layers else {}
            plain.append(train(options, folder, {}))
            watched.append(train(options, folder, settings))
        monitor = watched[-1].monitor
        if monitor is None or monitor.reasons or plain[-1].left != watched[-1].left:
            reasons = monitor and dict(monitor.reasons)
            sys.exit(f"bench: {name}, repeat {repeat}: the trainings differ, or failed: {reasons}")
    without, with_it = (min(run.seconds for run in runs) for runs in (plain, watched))
    own = [run.monitor.seconds / run.seconds for run in watched if run.monitor is not None]
    analyses = 2 + (options.steps - 1) // options.every
    cost = statistics.median(run.monitor.seconds for run in watched if run.monitor) / analyses
    share = f"{with_it / without - 1:.1%} (the monitor's own share {statistics.median(own):.1%})"
    print(
        f"{name}: {options.steps} steps, {analyses} analyses: {without:.2f} s without, overhead "
        f"{share}, {1000 * cost:.0f} ms an analysis with what is kept of it; the same weights and "
        "random states, to the bit",
        flush=True,
    )


def main() -> None:
    """Run and print."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--steps", type=int, default=60)
    arguments.add_argument("--every", type=int, default=30)
    arguments.add_argument("--hidden", type=int, default=96)
    arguments.add_argument("--blocks", type=int, default=4)
    arguments.add_argument("--layers", type=int, help="analyse a subset of so many layers")
    options = arguments.parse_args()
    warnings.simplefilter("ignore")  # the packages warn of each other
    logging.disable(logging.INFO)  # Lightning tells of devices and loggers at every run
    torch.set_num_threads(1)
    import_module("transformers").utils.logging.set_verbosity_error()
    parameters = sum(p.numel() for p in model(options).parameters())
    with training.Monitor(model(options)) as monitor:
        monitor.step(0)  # compiles, once on a machine
    first = f"the first analysis of this process {monitor.seconds:.1f} s"
    print(f"GPT-NeoX, {parameters / 1e6:.2f} million parameters; {first}", flush=True)
    compare("Hugging Face", hugging_face, options)
    compare("Lightning", lightning, options)


if __name__ == "__main__":
    main()
