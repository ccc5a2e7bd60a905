"""The command line: arguments in, verbs called, one-line errors and exit codes out."""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import neuromfa
from neuromfa.cluster.choice import CLUSTER, chosen_executor
from neuromfa.errors import NeuromfaError, ResourceError, UsageError
from neuromfa.options import OPENING, PROTOCOL, RESOURCES, settings, with_options
from neuromfa.reference import verbs as reference

if TYPE_CHECKING:
    from neuromfa.analysis import Progress
    from neuromfa.results import Group

INTERRUPTED = 130

_ROOMS: dict[str, str] = {
    "compare": "neuromfa.emergence.command",
    "scores": "neuromfa.scores.command",
    "suite": "neuromfa.suites.command",
    "report": "neuromfa.reports.command",
    "graph": "neuromfa.graph_verbs",
    "network": "neuromfa.graph_verbs",
    "hops": "neuromfa.graph_verbs",
    "serve": "neuromfa.service.command",
    "mcp": "neuromfa.service.command",
}
"""Verbs that live with what they do, and the module of each: it holds a command of that name."""


class _Verbs(click.Group):
    """Verbs in the order of the work, British spelling first, American taken too."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in _ROOMS:
            command: click.Command = getattr(import_module(_ROOMS[cmd_name]), cmd_name)
            return command
        return super().get_command(ctx, "analyse" if cmd_name == "analyze" else cmd_name)

    def list_commands(self, _ctx: click.Context) -> list[str]:
        return [*self.commands, *_ROOMS]


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(neuromfa.__version__, prog_name="neuromfa")
@click.option("--debug", is_flag=True, expose_value=False, help="Show the traceback of an error.")
def cli() -> None:
    """Exact multifractal analysis of the neuron interaction network of a model."""


def main() -> None:
    """Run the command line and leave with its exit code."""
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    debug = len(arguments) < len(sys.argv) - 1  # taken anywhere, not only before the verb
    try:
        code = cli.main(arguments, prog_name="neuromfa", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("neuromfa: interrupted", err=True)
        code = INTERRUPTED
    except (NeuromfaError, MemoryError) as error:
        if debug:
            raise
        click.echo(f"neuromfa: error: {error or 'out of memory; lower --memory'}", err=True)
        code = getattr(error, "exit_code", ResourceError.exit_code)
    except BrokenPipeError:  # the reader of our output has gone; nothing is left to say
        sys.stderr.close()
        code = 1
    sys.exit(code)


@cli.command(cls=reference.ByProtocol)
@click.argument("checkpoint")
@with_options(*reference.OPTIONS, *PROTOCOL, *OPENING, *RESOURCES, *CLUSTER)
@click.option("--json", "as_json", is_flag=True, help="Print the whole record as JSON.")
@click.option("--output", type=click.Path(path_type=Path), help="Directory for JSON and Parquet.")
@click.option("--fractal-dimensions", is_flag=True, help="Keep those of single neurons.")
@click.option(
    "--structure", type=click.Choice(["simple", "full"]), help="Simpler measures as well."
)
@click.option("--plot", type=click.Path(path_type=Path), help="Figure: PNG, PDF or SVG.")
@click.option("--quiet", is_flag=True, help="No progress, no table.")
def analyse(
    checkpoint: str,
    *,
    as_json: bool,
    output: Path | None,
    fractal_dimensions: bool,
    plot: Path | None,
    quiet: bool,
    **options: Any,
) -> None:
    """Analyse a checkpoint: a path, or ORG/NAME[@REVISION] in the hub cache."""
    from neuromfa import console, storage  # noqa: PLC0415  (slow to import)
    from neuromfa.analysis import analyse as run  # noqa: PLC0415
    from neuromfa.reports import pictures  # noqa: PLC0415

    protocol, resources = settings(options)
    if fractal_dimensions and output is None:
        raise UsageError("--fractal-dimensions: give a directory for them with --output")
    finished: list[Group] = []
    with ExitStack() as stack:
        executor = stack.enter_context(chosen_executor(resources))
        if output is not None:
            storage.make_directory(output)
        if plot is not None:
            pictures.check(plot)
        show = stack.enter_context(console.progress_bar(show=not quiet))

        def keep(state: Progress) -> None:
            show(state)
            if state.finished:
                finished.append(state.finished)

        try:
            analysis = run(
                checkpoint,
                protocol,
                fractal_dimensions=fractal_dimensions,
                progress=keep,
                executor=executor,
                **resources,
            )
        except BaseException:
            if output is not None and finished:
                path = storage.write_layers(finished, protocol, output)
                click.echo(f"neuromfa: {len(finished)} finished layers are in {path}", err=True)
            raise
    if as_json:
        click.echo(analysis.to_json(), nl=False)
    elif not quiet:
        console.print_analysis(analysis)
    if output is not None:
        storage.write_analysis(analysis, output)
    if plot is not None:
        pictures.plot(analysis, plot)


@cli.command()
@click.argument("checkpoint")
@with_options(*PROTOCOL, *OPENING, *RESOURCES)
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def plan(checkpoint: str, *, as_json: bool, **options: Any) -> None:
    """Tell what an analysis would read and need, from headers alone."""
    from neuromfa import console  # noqa: PLC0415  (slow to import)
    from neuromfa.preview import preview  # noqa: PLC0415

    protocol, resources = settings(options)
    record = preview(checkpoint, protocol, **resources)
    if as_json:
        click.echo(json.dumps(record, indent=1))
    else:
        console.print_preview(record)


@cli.command()
@click.argument("family", required=False)
@click.option(
    "--architectures", type=click.Path(path_type=Path), help="Registry file with more families."
)
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def architectures(family: str | None, architectures: Path | None, *, as_json: bool) -> None:
    """List the known families, or the tensors of one."""
    from neuromfa import console  # noqa: PLC0415  (slow to import)
    from neuromfa.architectures import load_registry  # noqa: PLC0415

    registry = load_registry(architectures)
    rows = registry.describe(family)
    for problem in registry.problems:
        click.echo(f"neuromfa: warning: {problem}", err=True)
    if as_json:
        click.echo(json.dumps(rows, indent=1))
    else:
        console.print_table(rows)


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def doctor(*, as_json: bool) -> None:
    """Check that this installation counts right."""
    from neuromfa import console  # noqa: PLC0415  (slow to import)
    from neuromfa.doctor import examine  # noqa: PLC0415

    checks = examine()
    if as_json:
        click.echo(json.dumps(checks, indent=1))
    else:
        console.print_table([c | {"ok": "yes" if c["ok"] else "NO"} for c in checks])
    if not all(check["ok"] for check in checks):
        raise ResourceError("this installation is not fit for use; see the checks that say NO")
