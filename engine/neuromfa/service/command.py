"""The verbs ``serve`` and ``mcp``."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from neuromfa.errors import ResourceError, UsageError
from neuromfa.options import RESOURCES, memory_size, resource_settings, with_options

if TYPE_CHECKING:
    from neuromfa.service.settings import Limits, Settings

_ROOTS = click.option(
    "--root", "roots", multiple=True, required=True, metavar="[NAME=]DIR",
    help="Directory of checkpoints; repeat for several.",
)  # fmt: skip
_STATE = click.option(
    "--state", type=click.Path(path_type=Path), help="Directory of the queue and the results."
)
_LIMITS = (
    click.option("--max-size", default="256G", show_default=True, help="Weights of a job."),
    click.option("--max-seconds", type=float, default=86400, show_default=True, help="Of a job."),
)
_LAST_SECONDS = 3
"""For requests that wait when the service is told to stop."""


@click.command()
@with_options(_ROOTS, _STATE)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at.")
@click.option("--port", type=click.IntRange(0, 65535), default=8765, show_default=True)
@click.option(
    "--token-file", type=click.Path(path_type=Path), help="Who may ask: OWNER TOKEN on each line."
)
@click.option("--name", "names", multiple=True, help="Name by which clients call; repeatable.")
@click.option("--workers", type=int, default=1, show_default=True, help="Jobs at a time.")
@click.option("--max-jobs", type=int, default=100, show_default=True, help="Waiting or running.")
@click.option("--max-jobs-per-token", type=int, default=20, show_default=True)
@click.option("--keep", type=int, default=1000, show_default=True, help="Finished jobs of a token.")
@with_options(*_LIMITS, *RESOURCES)
def serve(
    roots: tuple[str, ...],
    *,
    state: Path | None,
    host: str,
    port: int,
    token_file: Path | None,
    names: tuple[str, ...],
    **options: Any,
) -> None:
    """Serve analyses of the checkpoints below some directories over HTTP."""
    _need("serve", "fastapi", "uvicorn")
    import uvicorn  # noqa: PLC0415  (optional)

    from neuromfa.service.api import create_app  # noqa: PLC0415
    from neuromfa.service.settings import default_state, is_loopback  # noqa: PLC0415
    from neuromfa.service.tokens import Tokens, read_tokens  # noqa: PLC0415

    if not is_loopback(host) and token_file is None:
        raise UsageError(
            f"--host {host}: others can reach it; give them tokens with --token-file, or listen "
            "at 127.0.0.1"
        )
    limits = {
        "queued": options.pop("max_jobs"),
        "queued_per_token": options.pop("max_jobs_per_token"),
        "kept_per_token": options.pop("keep"),
        "workers": options.pop("workers"),
    }
    settings = _settings(
        roots,
        state or default_state(),
        options,
        limits=limits,
        tokens=Tokens() if token_file is None else read_tokens(token_file),
        hosts=_hosts(host, names),
    )
    os.umask(0o077)  # requests and results are nobody else's
    app = create_app(settings)
    app.state.runner.lock()  # what is wrong is said in one sentence, before anything listens
    click.echo(f"neuromfa: http://{host}:{port}/ serves {', '.join(settings.roots.directories)}",
               err=True)  # fmt: skip
    uvicorn.run(
        app,
        host=host,
        port=port,
        lifespan="on",
        log_level="warning",
        server_header=False,
        timeout_graceful_shutdown=_LAST_SECONDS,
    )


@click.command()
@with_options(_ROOTS, _STATE, *_LIMITS, *RESOURCES)
def mcp(roots: tuple[str, ...], *, state: Path | None, **options: Any) -> None:
    """Offer the same to a language model, by the Model Context Protocol on standard input."""
    _need("mcp", "mcp")
    from tempfile import TemporaryDirectory  # noqa: PLC0415

    from neuromfa.service.mcp_server import create_server, quiet  # noqa: PLC0415

    quiet()
    with TemporaryDirectory(prefix="neuromfa-mcp-") as temporary:
        settings = _settings(roots, state or Path(temporary), options, limits={})
        create_server(settings).run("stdio")


def _settings(
    roots: tuple[str, ...],
    state: Path,
    options: dict[str, Any],
    *,
    limits: dict[str, Any],
    **rest: Any,
) -> Settings:
    from neuromfa.service.roots import Roots  # noqa: PLC0415  (slow to import)
    from neuromfa.service.settings import Limits, Settings  # noqa: PLC0415

    size = memory_size(options.pop("max_size"), "--max-size")
    seconds = options.pop("max_seconds")
    allowed: Limits = Limits(weight_bytes=size, job_seconds=seconds, **limits)
    resources = resource_settings(options)
    return Settings(
        roots=Roots.parse(roots), state=state, limits=allowed, resources=resources, **rest
    )


def _hosts(host: str, names: tuple[str, ...]) -> tuple[str, ...]:
    """What clients may call the service: on loopback its own names, elsewhere any unless given."""
    from neuromfa.service.settings import is_loopback  # noqa: PLC0415  (slow to import)

    if not is_loopback(host):
        return tuple(name.lower() for name in names)
    own = ("localhost", "127.0.0.1", "[::1]", f"[{host}]" if ":" in host else host)
    return tuple(dict.fromkeys(name.lower() for name in (*own, *names)))


def _need(verb: str, *packages: str) -> None:
    needed = (*packages, "pydantic", "jinja2", "vl_convert", "scipy")
    missing = [name for name in needed if find_spec(name) is None]
    if missing:
        raise ResourceError(
            f"neuromfa {verb} needs {' and '.join(missing)}: pip install 'neuromfa[service]'"
        )
