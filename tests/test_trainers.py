"""The trainers of transformers and of Lightning, with and without their monitors."""

import csv
import math
import pickle
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import neuromfa
from neuromfa import training
from neuromfa.training import monitor

torch = pytest.importorskip("torch")
import live_training as small  # noqa: E402  (needs torch)

# The packages warn of each other's deprecations, of few workers, and of a missing GPU.
pytestmark = pytest.mark.filterwarnings("ignore")

MONITORED = {"neuromfa/alpha_0", "neuromfa/width", "neuromfa/emergence", "neuromfa/overhead"}
MONITORED |= {f"neuromfa/{name}_stderr" for name in ("alpha_0", "width", "emergence")}


def needs(*packages):
    """The first of some packages; skips what needs one that is not installed."""
    first, *_ = (pytest.importorskip(p, reason=f"{p} is not installed") for p in packages)
    return first


class Tokens(torch.utils.data.Dataset):
    def __len__(self):
        return 48

    def __getitem__(self, index):
        tokens = (torch.arange(12) * (index + 3)) % 31
        return {"input_ids": tokens, "labels": tokens}


def hugging_face_trainer(folder, callbacks=(), **arguments):
    transformers = needs("transformers", "accelerate")

    small.seed_all(0)
    config = transformers.GPTNeoXConfig(
        vocab_size=32,
        hidden_size=16,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=16,
        hidden_dropout=0.1,
    )
    settings = {
        "max_steps": 7,
        "per_device_train_batch_size": 4,
        "learning_rate": 0.01,
        "logging_steps": 2,
        "save_strategy": "no",
        "report_to": [],
        "use_cpu": True,
        "disable_tqdm": True,
    }
    return transformers.Trainer(
        transformers.GPTNeoXForCausalLM(config),
        transformers.TrainingArguments(str(folder / "out"), **settings | arguments),
        train_dataset=Tokens(),
        eval_dataset=Tokens(),
        callbacks=list(callbacks),
    )


def losses(trainer):
    """The log of a training without what the monitor or the clock wrote."""
    kept = ("loss", "grad_norm", "learning_rate", "epoch", "step", "eval_loss")
    found = ({k: entry[k] for k in kept if k in entry} for entry in trainer.state.log_history)
    return [entry for entry in found if "loss" in entry or "eval_loss" in entry]


def left(trainer):
    return small.weights(trainer.model), small.random_states(), losses(trainer)


def monitored(trainer):
    return {e["step"]: e for e in trainer.state.log_history if "neuromfa/alpha_0" in e}


def watch_hugging_face(trainer, *arguments, **settings):
    callback = training.HuggingFaceMonitor(trainer, *arguments, **settings)
    trainer.add_callback(callback)
    return callback


def test_hugging_face_training_is_the_same_with_it(tmp_path):
    plain = hugging_face_trainer(tmp_path)
    plain.train()
    watched = hugging_face_trainer(tmp_path)
    callback = watch_hugging_face(watched, tmp_path / "run", every=3)
    watched.train()
    assert left(watched) == left(plain)
    assert len(losses(plain)) == 3
    assert not callback.monitor.reasons
    found = monitored(watched)
    assert list(found) == [0, 3, 6, 7]
    assert all(entry.keys() >= MONITORED for entry in found.values())
    suite = neuromfa.read_suite(tmp_path / "run")
    assert [entry.step for entry in suite.series("GPTNeoXForCausalLM")] == [0, 3, 6, 7]
    last = neuromfa.analyse(watched.model)
    assert found[7]["neuromfa/alpha_0"] == last.network.alpha_0
    assert last.architecture == "gpt_neox"
    kept = suite.analysis(suite.entries[-1])
    assert kept.provenance["content_hash"] == last.provenance["content_hash"]


def test_whatever_hugging_face_logs_to_is_told(tmp_path):
    transformers = needs("transformers", "accelerate")

    told = []

    class Report(transformers.TrainerCallback):
        def on_log(self, args, state, control, logs=None, **kwargs):
            told.append((state.global_step, dict(logs)))

    trainer = hugging_face_trainer(tmp_path, [Report()])
    watch_hugging_face(trainer, every=4)
    trainer.train()
    steps = [step for step, logs in told if "neuromfa/emergence" in logs]
    assert steps == [0, 4, 7]
    assert [step for step, logs in told if "loss" in logs] == [2, 4, 6]


def test_the_last_step_of_a_stopped_hugging_face_training_is_analysed(tmp_path):
    transformers = needs("transformers", "accelerate")

    trainer = hugging_face_trainer(
        tmp_path,
        [transformers.EarlyStoppingCallback(1)],
        max_steps=30,
        learning_rate=0.0,  # nothing ever improves
        eval_strategy="steps",
        eval_steps=2,
        save_strategy="steps",
        save_steps=2,
        load_best_model_at_end=True,
        metric_for_best_model="eval_loss",
    )
    watch_hugging_face(trainer, tmp_path / "run", every=100)
    trainer.train()
    assert trainer.state.global_step < 30
    assert list(monitored(trainer)) == [0, trainer.state.global_step]


def test_failing_analyses_do_not_stop_hugging_face(tmp_path, monkeypatch, caplog):
    plain = hugging_face_trainer(tmp_path)
    plain.train()

    def broken(*_, **__):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(monitor, "analyse_live", broken)
    trainer = hugging_face_trainer(tmp_path)
    callback = watch_hugging_face(trainer, every=1)
    trainer.train()
    assert left(trainer) == left(plain)
    assert callback.monitor.reasons == {"RuntimeError: out of memory": 8}
    assert not monitored(trainer)


def test_hugging_face_settings_are_checked_before_the_training(tmp_path):
    with pytest.raises(neuromfa.UsageError, match="every 0"):
        watch_hugging_face(hugging_face_trainer(tmp_path), every=0)


def lightning_module(package):
    class Module(package.LightningModule):
        def __init__(self):
            super().__init__()
            self.model = small.model()

        def training_step(self, batch, _):
            return self.model(batch + torch.randn_like(batch) * 0.1).square().mean()

        def configure_optimizers(self):
            return torch.optim.AdamW(self.parameters(), lr=0.01)

    return Module()


def lightning_run(package, folder, callbacks, **settings):
    loggers = import_module(f"{package.__name__}.loggers")
    trainer = package.Trainer(
        **{"accelerator": "cpu", "devices": 1, "max_steps": 7} | settings,
        callbacks=callbacks,
        logger=[loggers.CSVLogger(folder, name=name) for name in ("one", "other")],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )
    module = lightning_module(package)
    small.seed_all(2)
    data = torch.utils.data.DataLoader(torch.ones(40, 16), batch_size=4, shuffle=True)
    trainer.fit(module, data)
    return small.weights(module), small.random_states()


def logged(folder):
    (path,) = folder.glob("version_*/metrics.csv")
    with path.open() as file:
        return {int(row["step"]): row for row in csv.DictReader(file)}


def watch_lightning(*arguments, **settings):
    return training.LightningMonitor(*arguments, **settings)


def test_lightning_training_is_the_same_with_it(tmp_path):
    package = needs("lightning.pytorch")
    plain = lightning_run(package, tmp_path / "plain", [])
    callback = watch_lightning(tmp_path / "run", every=3)
    assert lightning_run(package, tmp_path / "watched", [callback]) == plain
    assert not callback.monitor.reasons
    for name in ("one", "other"):
        found = logged(tmp_path / "watched" / name)
        assert list(found) == [0, 3, 6, 7]
        assert all(math.isfinite(float(row[key])) for row in found.values() for key in MONITORED)
    suite = neuromfa.read_suite(tmp_path / "run")
    assert [entry.step for entry in suite.series("Module")] == [0, 3, 6, 7]


def test_a_part_of_a_lightning_module_is_analysed_by_name(tmp_path):
    package = needs("lightning.pytorch")
    callback = watch_lightning(tmp_path / "run", part="model", every=2)
    lightning_run(package, tmp_path, [callback], accumulate_grad_batches=2, max_steps=3)
    suite = neuromfa.read_suite(tmp_path / "run")
    assert [entry.step for entry in suite.series("Sequential")] == [0, 2, 3]
    assert suite.analysis(suite.entries[0]).layers[0].name == "0.down.weight"


def test_failing_analyses_do_not_stop_lightning(tmp_path, monkeypatch):
    package = needs("lightning.pytorch")
    plain = lightning_run(package, tmp_path / "plain", [])

    def broken(*_, **__):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(monitor, "analyse_live", broken)
    callback = watch_lightning(every=1)
    assert lightning_run(package, tmp_path / "watched", [callback]) == plain
    assert callback.monitor.reasons == {"RuntimeError: out of memory": 8}


def test_results_stay_when_a_lightning_training_breaks(tmp_path):
    package = needs("lightning.pytorch")

    class Broken(package.Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            if batch_idx == 5:
                raise ValueError("bad batch")

    callbacks = [watch_lightning(tmp_path / "run", every=1), Broken()]
    with pytest.raises(ValueError, match="bad batch"):
        lightning_run(package, tmp_path, callbacks)
    assert len(neuromfa.read_suite(tmp_path / "run").entries) == 6


def test_lightning_settings_are_checked_before_the_training():
    needs("lightning.pytorch")
    with pytest.raises(neuromfa.UsageError, match="every 0"):
        watch_lightning(every=0)


def test_a_lightning_monitor_goes_to_other_processes(tmp_path):
    """Strategies that start processes send it there."""
    needs("lightning.pytorch")
    sent = pickle.loads(pickle.dumps(watch_lightning(tmp_path / "run", every=5)))
    lightning_run(needs("lightning.pytorch"), tmp_path, [sent])
    assert [e.step for e in neuromfa.read_suite(tmp_path / "run").entries] == [0, 5, 7]


def test_the_other_name_of_lightning_is_known():
    """Whichever of the two packages was imported gives the class."""
    needs("pytorch_lightning")
    code = (
        "import pytorch_lightning\n"
        "from neuromfa.training import LightningMonitor\n"
        "assert issubclass(LightningMonitor, pytorch_lightning.Callback)\n"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)


PAGE = Path(__file__).parent.parent / "docs" / "training.md"
EXAMPLES = re.findall(r"^```python\n(.*?)^```", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_examples_of_the_page_run(tmp_path, monkeypatch, capsys, number):
    """Each in a directory of its own, the last one after the first; comments tell the output."""
    monkeypatch.chdir(tmp_path)
    example = EXAMPLES[number]
    for package in ("transformers", "lightning"):
        if f"from {package}" in example:
            needs(package)
    if "assemble_training" in example:
        exec(EXAMPLES[0], {})
    exec(example, {})
    printed = capsys.readouterr().out
    assert all(told in printed for told in re.findall(r"^print.*  # (.*)$", example, re.MULTILINE))
    steps = [entry.step for entry in neuromfa.read_suite("results").entries]
    assert steps in ([0, 50, 100, 120], [0, 4, 6])
