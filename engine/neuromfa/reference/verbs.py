"""The options and the work of ``neuromfa analyse --protocol reference``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from neuromfa.errors import UsageError

if TYPE_CHECKING:
    from neuromfa.reference.record import ReferenceAnalysis

OPTIONS = (
    click.option(
        "--protocol",
        type=click.Choice(["exact", "reference"]),
        default="exact",
        show_default=True,
        help="Every neuron, or the authors' samples.",
    ),
    click.option(
        "--sample-size",
        type=int,
        default=64,
        show_default=True,
        help="reference: units of a layer.",
    ),
    click.option(
        "--samples", type=int, default=10, show_default=True, help="reference: sampled networks."
    ),
)
"""Of `analyse`, beside those of the exact protocol."""

_OWN = ("sample_size", "samples")
_OPENING = ("revision", "allow_pickle", "architectures", "strict", "threads")
_SHARED = (
    *("checkpoint", "protocol", "cutoff", "nonfinite", "fractal_dimensions"),
    *("as_json", "output", "quiet"),
)


class ByProtocol(click.Command):
    """The command ``analyse``: its own body is the exact protocol, the other one is here."""

    def invoke(self, ctx: click.Context) -> Any:
        """Check that the chosen protocol has the options that were given, and do the work.

        Raises
        ------
        UsageError
            Naming those that it does not have.
        """
        chosen = ctx.params["protocol"]
        known = {*_OWN, *_OPENING, *_SHARED}
        wrong = [
            parameter.opts[0]
            for parameter in self.params
            if (name := parameter.name or "")
            and (name not in known if chosen == "reference" else name in _OWN)
            and ctx.get_parameter_source(name) is not ParameterSource.DEFAULT
        ]
        if wrong:
            other = "exact" if chosen == "reference" else "reference"
            raise UsageError(
                f"{', '.join(wrong)}: the protocol {chosen} has no such setting; leave it out, or "
                f"take --protocol {other}"
            )
        if chosen == "reference":
            return _analyse(ctx.params)
        for name in ("protocol", *_OWN):
            del ctx.params[name]
        return super().invoke(ctx)


def _analyse(given: Mapping[str, Any]) -> None:
    from neuromfa import storage  # noqa: PLC0415  (slow to import)
    from neuromfa.reference.procedure import analyse_reference  # noqa: PLC0415
    from neuromfa.reference.table import print_reference  # noqa: PLC0415

    output: Path | None = given["output"]
    if given["fractal_dimensions"] and output is None and not given["as_json"]:
        raise UsageError("--fractal-dimensions: they go into the record; add --json or --output")
    if output is not None:
        storage.make_directory(output)
    settings = (*_OWN, *_OPENING, "cutoff", "nonfinite", "fractal_dimensions")
    analysis = analyse_reference(given["checkpoint"], **{name: given[name] for name in settings})
    if given["as_json"]:
        click.echo(analysis.to_json(), nl=False)
    elif not given["quiet"]:
        print_reference(analysis)
    if output is not None:
        write_reference(analysis, output)


def write_reference(analysis: ReferenceAnalysis, directory: Path) -> Path:
    """Write ``reference.json`` into a directory, whole or not at all.

    Raises
    ------
    ResourceError
        If it cannot be written.
    """
    from neuromfa.storage import write_text  # noqa: PLC0415  (slow to import)

    return write_text(directory / "reference.json", analysis.to_json())
