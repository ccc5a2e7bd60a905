"""Analyses of a model while it is trained, which neither change nor stop the training."""

from __future__ import annotations

import logging
import math
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from neuromfa.emergence.course import measure_emergence
from neuromfa.errors import NeuromfaError, UsageError
from neuromfa.memory import module_config, unwrapped
from neuromfa.protocol import Protocol
from neuromfa.results import Analysis
from neuromfa.revisions import parse_revision
from neuromfa.training.live_weights import Subset, analyse_live
from neuromfa.training.ranks import agreed, rank, shares
from neuromfa.training.run_directory import BASELINE, RunDirectory, open_run

if TYPE_CHECKING:
    import torch

    Log = Callable[[dict[str, float], int], object]

_LOGGER = logging.getLogger("neuromfa.training")


class Monitor:
    """Follows a model through its training.

    Call `step` after every step of the optimiser, and `close` in the end, or use it as a context.
    The first step that it is shown is analysed, then one in `every`, and the last. The training is
    left as it is: no weight, no random state, no mode and no gradient is touched, nothing of the
    model is kept, and an analysis that fails is logged, once for each reason.

    Parameters
    ----------
    model : torch.nn.Module or None
        On whatever device, also compiled, in the wrapper of data-parallel training, or sharded.
        Every rank calls `step`: of replicas rank 0 analyses its own, of shards each rank its part,
        and rank 0 keeps and logs. Of None, nothing is analysed.
    directory : path, optional
        Where full results are kept, as those of a suite: `read_suite` and ``neuromfa report`` read
        them. A training that is resumed goes on in the same one. None keeps none.
    every : int
        Steps from one analysis to the next.
    layers : int, optional
        Analyse so many layers only, drawn at random once and for all; all by default.
    seed : int
        Of that draw, and written down with it. No other random number is drawn.
    protocol : Protocol, optional
        Everything that may change a number.
    baseline : Analysis, optional
        What the degree of emergence is counted from; the first analysis of the training by default.
    max_overhead : float, optional
        Largest share of the wall time for analyses, between 0 and 1: steps that would exceed it are
        left out, except the first and the last.
    log : callable, optional
        Called with the numbers and the step, such as ``mlflow.log_metrics``.
    name : str, optional
        Of the model in the results; that of its class by default.
    **settings
        ``threads``, ``memory``, ``device``, ``device_memory``, ``architectures`` and ``structure``
        of `analyse`, which by default works where the model lies.

    Attributes
    ----------
    seconds : float
        Wall time of the analyses so far, what is kept of them included.
    reasons : Counter
        Why analyses failed, and how often.

    Raises
    ------
    UsageError
        If the settings make no sense. Later than that nothing is raised.

    References
    ----------
    Definitions, sections 4 and 6.
    """

    def __init__(  # noqa: PLR0913  (each setting is a concept of its own)
        self,
        model: torch.nn.Module | None,
        directory: str | os.PathLike[str] | None = None,
        *,
        every: int = 500,
        layers: int | None = None,
        seed: int = 0,
        protocol: Protocol | None = None,
        baseline: Analysis | None = None,
        max_overhead: float | None = None,
        log: Log | None = None,
        name: str | None = None,
        **settings: Any,
    ) -> None:
        _check(every, layers, max_overhead, settings)
        self._model = model
        self._protocol = protocol or Protocol()
        if baseline is not None and dict(baseline.protocol) != self._protocol.to_dict():
            raise UsageError("baseline: was analysed under another protocol; give the same to both")
        self._directory, self._log = directory, log
        self._every, self._max_overhead = every, max_overhead
        self._subset = None if layers is None else Subset(layers, seed)
        self._given = self._baseline = baseline
        self._settings = settings
        registry = settings.get("architectures")
        self._training = {
            "model": name or type(unwrapped(model)).__name__,
            "protocol": self._protocol.to_dict(),
            "structure": settings.get("structure"),
            "architectures": None if registry is None else os.fspath(Path(registry).absolute()),
            "layers": layers,
            "seed": None if layers is None else seed,
        }
        self._stack = ExitStack()
        self._run: RunDirectory | None = None
        self._kept = 0
        self._seen: int | None = None
        self._last: int | None = None
        self._turn: int | None = None
        self._cost = 0.0
        self._began = time.perf_counter()
        self.seconds = 0.0
        self.reasons: Counter[str] = Counter()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close(last=error is None)

    @property
    def overhead(self) -> float:
        """Share of the wall time since the monitor was made that analyses have taken."""
        elapsed = time.perf_counter() - self._began
        return self.seconds / elapsed if elapsed else 0.0

    def step(self, step: int, *, due: bool | None = None) -> dict[str, float]:
        """Analyse the model after a step, if it is due.

        Parameters
        ----------
        step : int
            Steps of the optimiser so far.
        due : bool, optional
            Analyse in any case, or in none; by the interval if None.

        Returns
        -------
        dict of str to float
            What was logged: ``neuromfa/alpha_0``, ``neuromfa/width`` and ``neuromfa/emergence`` of
            the network, each with its standard error (``_stderr``), ``neuromfa/seconds`` of this
            analysis and the ``neuromfa/overhead`` so far. What is undefined is not in it; empty if
            the step was not analysed.
        """
        numbers: dict[str, float] = {}
        with self._harmless(step, "was not looked at"):
            self._seen = step
            if self._model is not None and self._is_due(step, due=due):
                numbers = self._analysed(self._model, step)
        return numbers

    def close(self, *, last: bool = True) -> None:
        """Analyse the last step, if it was not, put the results together, and let the model go.

        Parameters
        ----------
        last : bool
            Whether to analyse the last step that was seen.
        """
        if last and self._seen is not None and self._seen != self._last:
            self.step(self._seen, due=True)
        self._model = None
        began = time.perf_counter()
        with self._harmless(self._seen, "results were not put together"), self._stack:
            if self._run is not None:
                self._run.assemble()
        self._run = None
        self.seconds += time.perf_counter() - began

    def _is_due(self, step: int, *, due: bool | None) -> bool:
        before, self._turn = self._turn, step // self._every
        if due is None:
            due = self._turn != before
            if due and before is not None and self._max_overhead is not None:
                elapsed = time.perf_counter() - self._began
                share = (self.seconds + self._cost) / (elapsed + self._cost)
                due = share <= self._max_overhead
                if rank() is not None and self._model is not None and shares(self._model):
                    due = agreed(due)
        return due and step != self._last

    def _analysed(self, model: torch.nn.Module, step: int) -> dict[str, float]:
        """Analyse, keep and log one step."""
        first_rank = not rank()
        self._last = step
        if not first_rank and not shares(model):
            return {}
        began = time.perf_counter()
        numbers: dict[str, float] = {}
        with self._harmless(step, "was not analysed", keep=first_rank):
            found = analyse_live(model, self._protocol, self._subset, **self._settings)
            if first_rank:
                with self._harmless(step, "was not kept"):
                    self._keep(model, found, step)
                numbers = self._numbers(found, step)
        self._cost = time.perf_counter() - began
        self.seconds += self._cost
        if numbers:
            numbers |= {"neuromfa/seconds": self._cost, "neuromfa/overhead": self.overhead}
            with self._harmless(step, "was not logged"):
                if self._log is not None:
                    self._log(dict(numbers), step)
        return numbers

    def _numbers(self, analysis: Analysis, step: int) -> dict[str, float]:
        """What is defined of the network's numbers."""
        network = analysis.network
        errors = network.jackknife or {}
        found: dict[str, Any] = {"alpha_0": network.alpha_0, "width": network.width}
        found |= {f"{name}_stderr": errors.get(f"{name}_stderr") for name in tuple(found)}
        with self._harmless(step, "has no degree of emergence"):
            found |= self._emergence(analysis)
        return {
            f"neuromfa/{name}": float(value)
            for name, value in found.items()
            if value is not None and math.isfinite(value)
        }

    def _emergence(self, analysis: Analysis) -> dict[str, Any]:
        if self._baseline is None:
            self._baseline = analysis
        start = self._baseline
        if [layer.name for layer in start.layers] != [layer.name for layer in analysis.layers]:
            raise UsageError(f"baseline {start.source}: has other layers than {analysis.source}")
        course = measure_emergence({"baseline": start, "now": analysis}, baseline="baseline")
        point = course.groups[0].points[-1]
        return {"emergence": point["E"], "emergence_stderr": point["E_stderr"]}

    def _keep(self, model: torch.nn.Module, analysis: Analysis, step: int) -> None:
        if self._directory is None:
            return
        run = self._opened(self._directory)
        run.keep(f"step{step}", analysis, module_config(unwrapped(model)), step=step)
        if self._baseline is None:
            self._baseline = run.baseline()
        self._kept += 1
        if self._kept & (self._kept - 1) == 0:  # seldom enough to cost little, however long it is
            run.assemble()

    def _opened(self, directory: str | os.PathLike[str]) -> RunDirectory:
        if self._run is None:
            self._run = self._stack.enter_context(open_run(directory, self._training))
        if self._given is not None:
            place = parse_revision(self._given.source).step
            self._run.keep(BASELINE, self._given, {}, step=place)
            self._given = None
        return self._run

    @contextmanager
    def _harmless(self, step: int | None, what: str, *, keep: bool = False) -> Iterator[None]:
        """Log what goes wrong, once for each reason, and go on."""
        try:
            yield
        except Exception as error:
            known = isinstance(error, NeuromfaError)
            reason = str(error) if known else f"{type(error).__name__}: {error}"
            self.reasons[reason] += 1
            if self.reasons[reason] == 1:
                _LOGGER.warning("neuromfa: step %s %s: %s", step, what, reason)
            if keep and step is not None and self._directory is not None:
                with self._harmless(step, "was not kept"):
                    self._opened(self._directory).fail(f"step{step}", reason, step=step)


def _check(
    every: int, layers: int | None, max_overhead: float | None, settings: Mapping[str, Any]
) -> None:
    if every < 1:
        raise UsageError(f"every {every}: must be at least 1")
    if layers is not None and layers < 1:
        raise UsageError(f"layers {layers}: must be at least 1")
    if max_overhead is not None and not 0 < max_overhead < 1:
        raise UsageError(f"max_overhead {max_overhead}: must be between 0 and 1")
    known = ("threads", "memory", "device", "device_memory", "architectures", "structure")
    if unknown := settings.keys() - set(known):
        raise UsageError(f"{sorted(unknown)[0]}: no such setting; known are {', '.join(known)}")
