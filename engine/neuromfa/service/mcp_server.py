"""Tools for language models (Model Context Protocol): the operations, one call each."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import ToolAnnotations
from pydantic import ValidationError

from neuromfa.errors import NeuromfaError
from neuromfa.provenance import versions
from neuromfa.service.jobs import Job, QueueFullError
from neuromfa.service.requests import ProtocolSettings
from neuromfa.service.runner import Runner
from neuromfa.service.settings import Settings
from neuromfa.service.tokens import ANYONE

INSTRUCTIONS = """\
Exact multifractal analysis of the weights of neural networks. Checkpoints are named ROOT/PATH; \
the tool `roots` lists what ROOT can be. alpha_0 tells how regular the network of neurons is, \
width how heterogeneous, each with its standard error; null means undefined, never zero. They \
describe weights, and are no measure of what a model can do. `plan` reads headers only and is \
quick; `analyse` reads every weight."""

_POLL_SECONDS = 0.1
_READS = ToolAnnotations(read_only_hint=True, idempotent_hint=True, open_world_hint=False)


def create_server(settings: Settings) -> MCPServer[Runner]:
    """The server; it works as long as it is connected.

    Parameters
    ----------
    settings : Settings
        What the operator allows.
    """

    @asynccontextmanager
    async def lifespan(_: MCPServer[Runner]) -> AsyncIterator[Runner]:
        runner = Runner(settings)
        await anyio.to_thread.run_sync(runner.start)
        try:
            yield runner
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(runner.stop)

    server = MCPServer(
        "neuromfa",
        instructions=INSTRUCTIONS,
        version=versions(("neuromfa",))["neuromfa"] or "unknown",
        lifespan=lifespan,
        log_level="WARNING",
    )
    for tool in (roots, plan, analyse, compare, suite_status):
        server.add_tool(tool, annotations=_READS, structured_output=True)
    return server


def quiet() -> None:
    """Say nothing but warnings on standard error, where some clients show every line."""
    logging.basicConfig(level=logging.WARNING)


async def roots(context: Context[Runner, Any]) -> dict[str, Any]:
    """List the names that the path of a checkpoint may begin with."""
    runner = context.request_context.lifespan_context
    return {"roots": list(runner.settings.roots.directories)}


async def plan(
    checkpoint: str,
    context: Context[Runner, Any],
    protocol: ProtocolSettings | None = None,
) -> dict[str, Any]:
    """Tell from headers alone what an analysis of a checkpoint would read and need.

    Gives layers, neurons, weights, bytes, unknown tensors and an estimate of the seconds.
    """
    return (await _do(context, "plan", {"checkpoint": checkpoint}, protocol))[1]


async def analyse(
    checkpoint: str,
    context: Context[Runner, Any],
    protocol: ProtocolSettings | None = None,
) -> dict[str, Any]:
    """Analyse every neuron of a checkpoint, exactly.

    Gives alpha_0 (regularity) and width (heterogeneity) of the whole network, of each role and of
    each block, with their standard errors.
    """
    job, found = await _do(context, "analysis", {"checkpoint": checkpoint}, protocol)
    path = context.request_context.lifespan_context.jobs.directory(job.id) / "analysis.json"
    text = await anyio.Path(path).read_text(encoding="utf-8")
    found["blocks"] = {
        group["name"]: {name: group[name] for name in ("alpha_0", "width")}
        for group in json.loads(text)["blocks"]
    }
    return found


async def compare(
    a: str, b: str, context: Context[Runner, Any], protocol: ProtocolSettings | None = None
) -> dict[str, Any]:
    """Put two checkpoints side by side: alpha_0, width, their differences, structure distance."""
    return (await _do(context, "comparison", {"a": a, "b": b}, protocol))[1]


async def suite_status(suite: str, context: Context[Runner, Any]) -> dict[str, Any]:
    """Tell which checkpoints of a suite file (ROOT/PATH.toml) are done, failed or pending."""
    return (await _do(context, "suite_status", {"suite": suite}, None))[1]


async def _do(
    context: Context[Runner, Any], kind: str, request: dict[str, Any], protocol: Any
) -> tuple[Job, dict[str, Any]]:
    """Submit a job, wait for its end, and give it with its summary."""
    runner = context.request_context.lifespan_context
    if protocol is not None:
        request["protocol"] = protocol.model_dump(mode="json", exclude_unset=True)
    try:
        job = runner.submit(ANYONE, kind, request)
    except (NeuromfaError, QueueFullError, ValidationError) as error:
        raise ToolError(str(error)) from error
    try:
        now: Job | None = job
        while now and now.active:
            if now.progress and now.progress.get("share") is not None:
                await context.report_progress(now.progress["share"], 1.0)
            await anyio.sleep(_POLL_SECONDS)
            now = runner.jobs.get(job.id, ANYONE)
    finally:
        runner.cancel(job)  # if nobody waits for it any more
    if now is None or now.problem or now.summary is None:
        raise ToolError(now.problem["detail"] if now and now.problem else "the job was cancelled")
    return now, dict(now.summary)
