"""Follows a training by the Trainer of transformers."""

from __future__ import annotations

import os
from typing import Any

from transformers import TrainerCallback

from neuromfa.training.monitor import Monitor


class HuggingFaceMonitor(TrainerCallback):
    """Callback of the Hugging Face Trainer: a `Monitor` that logs wherever the Trainer does.

    Add it with ``trainer.add_callback(HuggingFaceMonitor(trainer, "results"))``. It asks for the
    trainer because only `Trainer.log` reaches all that is logged to: the log history, TensorBoard,
    W&B, MLflow, and whatever else was chosen by ``report_to``.

    Parameters
    ----------
    trainer : transformers.Trainer
        The one that it is added to.
    directory : path, optional
        Where full results are kept.
    every : int
        Steps from one analysis to the next.
    **settings
        The others of `Monitor`.

    Attributes
    ----------
    monitor : Monitor
        That of the present training, or the last.

    Raises
    ------
    UsageError
        If the settings make no sense.
    """

    def __init__(
        self,
        trainer: Any,
        directory: str | os.PathLike[str] | None = None,
        *,
        every: int = 500,
        **settings: Any,
    ) -> None:
        self._trainer = trainer
        self._settings: dict[str, Any] = {"directory": directory, "every": every, **settings}
        self.monitor = self._follow(trainer.model)

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Analyse what the training starts from."""
        self.monitor.close(last=False)
        self.monitor = self._follow(kwargs.get("model", self._trainer.model))
        self.monitor.step(state.global_step)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Analyse the model if it is due, or if this step was the last."""
        self.monitor.step(state.global_step, due=control.should_training_stop or None)

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Analyse the model if the training stops here."""
        self._stop(state, control)

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Analyse the model if the training stops here."""
        self._stop(state, control)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Put the results together."""
        # The best model, if it was loaded, is that of an earlier step.
        self.monitor.close(last=not args.load_best_model_at_end)

    def _follow(self, model: Any) -> Monitor:
        return Monitor(model, log=self._log, **self._settings)

    def _stop(self, state: Any, control: Any) -> None:
        if control.should_training_stop:
            self.monitor.step(state.global_step, due=True)

    def _log(self, numbers: dict[str, float], _step: int) -> None:
        control = self._trainer.control
        due = control.should_log
        try:
            self._trainer.log(numbers)
        finally:
            control.should_log = due  # which logging resets, and the loss of this step is still due
