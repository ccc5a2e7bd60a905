"""Follows a training by the Trainer of Lightning."""

from __future__ import annotations

import os
import sys
from typing import Any

from neuromfa.training.monitor import Monitor

if "pytorch_lightning" in sys.modules and "lightning.pytorch" not in sys.modules:
    from pytorch_lightning import Callback
else:
    try:
        from lightning.pytorch import Callback
    except ModuleNotFoundError:
        from pytorch_lightning import Callback


class LightningMonitor(Callback):
    """Callback of the Lightning Trainer: a `Monitor` that logs to all its loggers.

    Parameters
    ----------
    directory : path, optional
        Where full results are kept.
    every : int
        Steps of the optimiser from one analysis to the next.
    part : str
        Name of the submodule to analyse, such as ``"model"`` where a LightningModule holds a model
        of another library; all of the LightningModule by default.
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
        directory: str | os.PathLike[str] | None = None,
        *,
        every: int = 500,
        part: str = "",
        **settings: Any,
    ) -> None:
        self._part = part
        self._settings: dict[str, Any] = {"directory": directory, "every": every, **settings}
        self.monitor = Monitor(
            None, **self._settings
        )  # settings that make no sense show before the training

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Analyse what the training starts from."""

        def log(numbers: dict[str, float], step: int) -> None:
            for logger in trainer.loggers:
                logger.log_metrics(numbers, step=step)

        self.monitor.close(last=False)
        model = pl_module.get_submodule(self._part)
        self.monitor = Monitor(model, log=log, **self._settings)
        self.monitor.step(trainer.global_step)

    def on_train_batch_end(  # noqa: PLR0917  (Lightning's own)
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Analyse the model if it is due."""
        self.monitor.step(trainer.global_step)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Analyse the last step, and put the results together."""
        self.monitor.close(last=True)

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Put the results together."""
        self.monitor.close(last=False)
