"""The whole story of an analysis, read from top to bottom.

path | hub name | state dict | module
   |  open_checkpoint        headers only: every shard present and complete
Checkpoint
   |  classify               each tensor: analysed, excluded by a rule, or unknown
Network of layers
   |  tensor_scales          only for distances relative to them
   |  plan                   pieces that fit in memory
Unit: some neurons of a layer        ---- for each unit, on one thread ----
   |  read                   mapped, stored dtype; never a whole model
weights
   |  count_neighbours       integers, exact
counts
   |  partition_function     tile by tile; fractal_dimension: neuron by neuron
sums                                 --------------------------------------
   |  + in the order of tiles, units and layers
sums of layers, blocks, roles, network
   |  fit                    mass exponents, spectrum, jackknife
Analysis
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from neuromfa.cluster.calls import Cluster
from neuromfa.errors import BadInputError, UsageError
from neuromfa.groups import Totals, fit
from neuromfa.measure import UnitSums, add_up
from neuromfa.measuring import Pass, measuring
from neuromfa.multifractal import Float64
from neuromfa.protocol import Protocol
from neuromfa.provenance import provenance
from neuromfa.results import Analysis, Group
from neuromfa.scale import relative_factors, tensor_scales
from neuromfa.scheduler import Prepared, prepare
from neuromfa.structure import Measures, measure_structure
from neuromfa.units import DEFAULT_MEMORY, Unit

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from neuromfa.scheduler import Source


class Progress(NamedTuple):
    """How far an analysis has come.

    Attributes
    ----------
    done_bytes, total_bytes : int
        Bytes of weights counted and to be counted.
    finished : Group or None
        The layer that was completed just now.

    Examples
    --------
    >>> import numpy as np, neuromfa
    >>> done = []
    >>> analysis = neuromfa.analyse({"map": np.full((20, 30), 0.1)}, progress=done.append)
    >>> done[-1].done_bytes, done[-1].total_bytes, done[-1].finished.name
    (4800, 4800, 'map')
    """

    done_bytes: int
    total_bytes: int
    finished: Group | None


def analyse(  # noqa: PLR0913  (the one verb: each setting is a concept of its own)
    source: Source,
    protocol: Protocol | None = None,
    *,
    revision: str | None = None,
    allow_pickle: bool = False,
    architectures: str | os.PathLike[str] | None = None,
    strict: bool = False,
    threads: int | None = None,
    memory: int = DEFAULT_MEMORY,
    device: str | None = None,
    device_memory: int | None = None,
    executor: Executor | None = None,
    fractal_dimensions: bool = False,
    structure: Measures | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Analysis:
    """Analyse every neuron of a checkpoint, exactly.

    Parameters
    ----------
    source : path, str, mapping, torch.nn.Module or Checkpoint
        A file or directory, ``org/name`` or ``org/name@revision`` in the Hugging Face cache, a
        state dict of arrays or tensors, a module (on any device, or sharded over ranks that all
        make this call), or what `open_checkpoint` returned (which stays open).
    protocol : Protocol, optional
        Everything that may change a number.
    revision : str, optional
        Branch, tag or commit of a hub name.
    allow_pickle : bool
        Read PyTorch ``.bin`` files, with ``weights_only=True``.
    architectures : path, optional
        Registry file that adds families of tensor names or replaces them.
    strict : bool
        Refuse a checkpoint with a matrix that no rule of its architecture names.
    threads : int, optional
        As many as the process may use by default; changes no bit of the result.
    memory : int
        Bytes of private memory for the work in flight; changes no bit of the result.
    device : str, optional
        ``"cpu"``; ``"cuda"``, all GPUs; ``"cuda:0,1"``, some; or ``"auto"``, GPUs if there are any.
        By default the CPU; but weights that lie on a GPU are counted there, by themselves.
        Counts are the same on all; sums agree within 1e-12.
    device_memory : int, optional
        Bytes to use of each GPU; most of what is free if None.
    executor : concurrent.futures.Executor, optional
        Does the work elsewhere, and stays open: of a Dask client, of MPI, or any other. Changes no
        bit of the result. Its workers open the files of `source` themselves, under the same path;
        `memory` is then that of one worker, ``"cuda"`` the GPU that each worker has for itself,
        and there are no `threads`.
    fractal_dimensions : bool
        Keep the fractal dimension of every single neuron, 8 bytes each.
    structure : {"simple", "full"}, optional
        Simpler structural measures as well, from a second pass; "full" adds norms and stable rank
        of every weight matrix, which take many.
    progress : callable, optional
        Called in the calling thread after each unit of work; an exception from it stops the
        analysis.

    Returns
    -------
    Analysis
        Of the network, its blocks, roles and layers.

    Raises
    ------
    UsageError
        If the settings make no sense, or weights in memory should go to an `executor`.
    UnsupportedError
        If a format, type or (with `strict`) tensor is not known.
    BadInputError
        If a file is missing or broken, or a weight is NaN or infinite.
    ResourceError
        If `memory` is too small, or an `executor` keeps losing a piece of the work.

    References
    ----------
    Definitions, sections 1 to 6; NeuroMFA (ICLR 2025), section 3.

    Examples
    --------
    >>> import numpy as np, neuromfa
    >>> weights = np.random.default_rng(0).normal(0, 0.02, (256, 64)).astype(np.float32)
    >>> neuromfa.analyse({"map": weights}).network.counted_neurons
    64
    """
    started = time.perf_counter()
    protocol = protocol or Protocol()
    if structure not in (None, "simple", "full"):
        raise UsageError(f"structure {structure!r}: must be one of simple, full")
    with prepare(
        source,
        protocol,
        revision=revision,
        allow_pickle=allow_pickle,
        architectures=architectures,
        strict=strict,
        threads=threads,
        memory=memory,
        device=device,
        device_memory=device_memory,
        executor=executor,
    ) as job:
        cluster = Cluster(executor, job.checkpoint) if executor else None
        scales = None
        if structure is not None or protocol.distance == "relative":
            scales = tensor_scales(
                job.checkpoint,
                job.network,
                protocol,
                threads=job.plan.threads,
                cluster=cluster,
            )
        factors = relative_factors(scales or {}, protocol)
        with measuring(job, protocol, factors, cluster) as work:
            survey = _survey(job, protocol, work, progress or (lambda _: None))
        network = survey.totals.network()
        if not network.edges:
            raise BadInputError(
                f"{job.checkpoint.source}: every weight is zero or was dropped, so the network has "
                "no edges; is this checkpoint complete?"
            )
        simpler = structure and measure_structure(
            job, protocol, structure, factors=factors, cluster=cluster
        )
        plan = replace(job.plan, threads=len(cluster.workers)) if cluster else job.plan
        seconds = time.perf_counter() - started
        return Analysis(
            protocol=protocol.to_dict(),
            source=job.checkpoint.source,
            architecture=job.network.architecture,
            coverage=job.network.coverage.to_dict(),
            network=network,
            blocks=survey.totals.blocks(),
            roles=survey.totals.roles(),
            layers=survey.layers,
            log_partition_function=survey.totals.log_partition_function(),
            provenance=provenance(job.checkpoint, plan, survey.digests, seconds),
            warnings=(*job.checkpoint.warnings, *job.network.warnings),
            fractal_dimensions=survey.dimensions if fractal_dimensions else {},
            tensor_rms=None
            if scales is None
            else {tensor: scale.rms for tensor, scale in scales.items()},
            structure=simpler,
        )


class _Survey(NamedTuple):
    """What one pass over the weights gives."""

    totals: Totals
    layers: tuple[Group, ...]
    dimensions: dict[str, Float64]
    digests: dict[str, str]


def _survey(
    job: Prepared,
    protocol: Protocol,
    work: Pass,
    progress: Callable[[Progress], None],
) -> _Survey:
    """Have unit after unit measured, add up and fit layer after layer here, in order."""
    network, total = job.network, job.plan.weight_bytes
    done = 0

    def watch(answers: Iterable[tuple[Unit, UnitSums]]) -> Iterator[UnitSums]:
        nonlocal done
        for unit, sums in answers:
            done += unit.weight_bytes
            progress(Progress(done, total, None))
            yield sums

    totals = Totals(protocol)
    layers: list[Group] = []
    dimensions: dict[str, Float64] = {}
    units = Counter(unit.layer for unit in job.plan.units)
    for index, layer in enumerate(network.layers):
        of_layer = watch(islice(work.answers, units[index]))
        measured, dimensions[layer.name] = add_up(of_layer, protocol)
        totals.add(layer, measured)
        layers.append(fit(layer.name, measured, protocol, layer=layer))
        progress(Progress(done, total, layers[-1]))
        work.hashing.start(layer.tensors)
    return _Survey(totals, tuple(layers), dimensions, work.hashing.digests())
