"""The authors' procedure, from top to bottom: open, classify, draw, count, fit, record."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuromfa.architectures import load_registry
from neuromfa.provenance import provenance
from neuromfa.reference.counting import measure_sample
from neuromfa.reference.layout import PUBLISHED, ROLES, Block, sampled_blocks
from neuromfa.reference.record import ReferenceAnalysis
from neuromfa.reference.sampling import draw_plan
from neuromfa.reference.settings import ReferenceProtocol
from neuromfa.scheduler import Prepared, prepare
from neuromfa.units import Plan

if TYPE_CHECKING:
    from collections.abc import Iterator

    from neuromfa.scheduler import Source


def analyse_reference(
    source: Source,
    protocol: ReferenceProtocol | None = None,
    *,
    revision: str | None = None,
    allow_pickle: bool = False,
    architectures: str | os.PathLike[str] | None = None,
    strict: bool = False,
    threads: int | None = None,
    fractal_dimensions: bool = False,
    **settings: Any,
) -> ReferenceAnalysis:
    """Analyse a checkpoint as the authors of NeuroMFA do: by ten sampled networks.

    For GPT-NeoX this is their procedure to the letter; for other architectures the same scheme
    on the true layout of their tensors, and the result says so (``generalised``). Only sampled
    weights are looked at; the content hash in the provenance reads the files through once.

    Parameters
    ----------
    source : path, str, mapping, torch.nn.Module or Checkpoint
        As for `analyse`.
    protocol : ReferenceProtocol, optional
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
    fractal_dimensions : bool
        Keep the fractal dimension of every single neuron in the record.
    **settings
        Of the protocol, by name: ``sample_size=32``, ``samples=10``, ``cutoff=150.0``, ....

    Returns
    -------
    ReferenceAnalysis
        The samples, their means and spread, and what the filter modes keep.

    Raises
    ------
    UsageError
        If the settings make no sense, or a layer has fewer units than are to be drawn.
    UnsupportedError
        If the blocks are not one attention and one MLP each, or a format is not known.
    BadInputError
        If a file is missing or broken, sizes contradict ``config.json``, or a sampled weight is
        NaN or infinite.

    References
    ----------
    docs/reference.md; NeuroMFA (ICLR 2025), section 3.

    Examples
    --------
    >>> import neuromfa
    >>> found = neuromfa.analyse_reference("path/to/checkpoint", sample_size=32)  # doctest: +SKIP
    >>> found.statistics()["alpha_0_mean"], found.statistics()["alpha_0_sd"]  # doctest: +SKIP
    """
    started = time.perf_counter()
    protocol = replace(protocol or ReferenceProtocol(), **settings)
    registry = load_registry(Path(architectures) if architectures else None)
    with (
        prepare(
            source,
            protocol.spectrum,
            revision=revision,
            allow_pickle=allow_pickle,
            architectures=architectures,
            strict=strict,
            threads=threads,
        ) as job,
        _executor(job) as executor,
    ):
        checkpoint, network = job.checkpoint, job.network
        blocks = sampled_blocks(checkpoint, network, registry)
        sizes = [block.sizes for block in blocks]
        plans = [draw_plan(sizes, protocol.sample_size, n) for n in range(protocol.samples)]
        published = network.architecture == PUBLISHED
        measured = list(
            executor.map(
                lambda plan: measure_sample(
                    checkpoint, blocks, plan, protocol=protocol, artificial=published
                ),
                plans,
            )
        )
        digests = dict(
            zip(
                checkpoint.tensors, executor.map(checkpoint.digest, checkpoint.tensors), strict=True
            )
        )
        work = replace(
            job.plan, units=(), memory_bytes=0, weight_bytes=sum(read for _, read in measured)
        )
        return ReferenceAnalysis(
            protocol=protocol.to_dict(),
            source=checkpoint.source,
            architecture=network.architecture,
            generalised=not published,
            layout=_layout(blocks[0]),
            sizes={
                name: [getattr(block, name) for block in sizes] for name in type(sizes[0])._fields
            },
            coverage=network.coverage.to_dict(),
            samples=tuple(sample for sample, _ in measured),
            provenance=_provenance(job, work, digests, time.perf_counter() - started),
            warnings=(*checkpoint.warnings, *network.warnings, *_notes(job, blocks)),
            keeps_dimensions=fractal_dimensions,
        )


@contextmanager
def _executor(job: Prepared) -> Iterator[ThreadPoolExecutor]:
    executor = ThreadPoolExecutor(job.plan.threads, thread_name_prefix="neuromfa")
    try:
        yield executor
    finally:
        executor.shutdown(cancel_futures=True)


def _provenance(
    job: Prepared, work: Plan, digests: dict[str, str], seconds: float
) -> dict[str, Any]:
    """As for the exact analysis, with the samples in place of units of work."""
    record = provenance(job.checkpoint, work, digests, seconds)
    del record["units"], record["memory_bytes"]
    return record


def _layout(block: Block) -> dict[str, list[str]]:
    return {
        role: [f"{part.map.tensor}: {part.rule}" for part in parts]
        for role, (_, parts) in zip(ROLES, block.layers, strict=True)
    }


def _notes(job: Prepared, blocks: tuple[Block, ...]) -> Iterator[str]:
    name = job.network.architecture
    if name != PUBLISHED:
        yield (
            f"the authors' procedure reads GPT-NeoX; it was carried over to the layout of {name}, "
            "without their artificial units"
        )
    sampled = {part.map.tensor for b in blocks for _, parts in b.layers for part in parts}
    others = [
        tensor for layer in job.network.layers for tensor in layer.tensors if tensor not in sampled
    ]
    if others:
        yield f"{len(others)} matrices outside the sampled chain are not read: {others[0]}, ..."
