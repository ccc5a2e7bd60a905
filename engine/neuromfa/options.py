"""Options that several verbs of the command line share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import click

from neuromfa.errors import UsageError
from neuromfa.protocol import INCLUDABLE, Protocol, q_grid

UNITS = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


def moments(text: str) -> tuple[float, ...]:
    """``-3:3:0.1`` is a grid, ``-1,0,2`` a list."""
    try:
        if ":" in text:
            first, last, step = map(float, text.split(":"))
            return q_grid(first, last, step)
        return tuple(map(float, text.split(",")))
    except ValueError as error:
        raise UsageError(f"--q {text}: write FIRST:LAST:STEP or a list like -1,0,2") from error


def memory_size(text: str, option: str) -> int:
    """``512M`` or ``2G`` or a plain number of bytes."""
    number, unit = (text[:-1], text[-1].lower()) if text[-1:].isalpha() else (text, "")
    try:
        return int(float(number) * UNITS[unit] if unit else int(number))
    except (ValueError, KeyError, OverflowError) as error:
        raise UsageError(f"{option} {text}: write a number of bytes, or like 512M or 2G") from error


OPENING = (
    click.option("--revision", help="Branch, tag or commit of a hub name."),
    click.option("--allow-pickle", is_flag=True, help="Read .bin files (weights_only=True)."),
    click.option(
        "--architectures", type=click.Path(path_type=Path), help="Registry file with more families."
    ),
    click.option("--strict", is_flag=True, help="Refuse a matrix that no rule names."),
)
"""How a checkpoint is opened and classified."""

ON_CLUSTER = ("cluster", "scheduler_file", "mpi")
"""Options of verbs whose work may be done elsewhere, where ``auto`` has nothing to look at."""

PROCESSORS = (
    click.option("--threads", type=int, help="Threads; all processors by default."),
    click.option(
        "--memory", default="512M", help="Private memory for the work.", show_default=True
    ),
)
"""What may be used of this machine where no GPU has a part."""

DEVICES = (
    click.option("--device", default="cpu", show_default=True, help="cpu, cuda, cuda:0,1 or auto."),
    click.option("--device-memory", help="Memory to use of each GPU; most of what is free."),
)
"""Which GPUs may be used."""

RESOURCES = (*PROCESSORS, *DEVICES)
"""What may be used; never changes a bit of a result."""

PROTOCOL = (
    click.option(
        "--cutoff", type=float, default=150.0, show_default=True, help="Largest distance."
    ),
    click.option("--q", default="-3:3:0.1", show_default=True, help="Moments: grid or list."),
    click.option("--min-neighbours", type=int, default=10, show_default=True),
    click.option("--radii", type=click.Choice(["observed", "all"]), default="observed"),
    click.option("--experts", type=click.Choice(["joint", "separate"]), default="joint"),
    click.option("--nonfinite", type=click.Choice(["error", "drop"]), default="error"),
    click.option(
        "--include", multiple=True, type=click.Choice(INCLUDABLE), help="Analyse as well."
    ),
    click.option("--distance", type=click.Choice(["inverse", "relative"]), default="inverse"),
    click.option("--relative-scale", type=float, help="Radius of a weight of typical size."),
)
"""The settings that may change a number."""


def with_options(*options: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Decorate a command with options, which its help then lists in this order."""

    def decorate(command: Any) -> Any:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def resource_settings(options: dict[str, Any]) -> dict[str, Any]:
    """Read `RESOURCES` from the options of the command line; others stay as they are."""
    options["memory"] = memory_size(options["memory"], "--memory")
    if options["device_memory"] is not None:
        options["device_memory"] = memory_size(options["device_memory"], "--device-memory")
    if options["device"] == "auto" and not any(map(options.get, ON_CLUSTER)):
        from neuromfa.devices import find_devices  # noqa: PLC0415  (slow to import)

        found = find_devices("auto")
        click.echo(f"neuromfa: device {found}: {found.reason}", err=True)
        options["device"] = str(found)
    return options


def settings(options: dict[str, Any]) -> tuple[Protocol, dict[str, Any]]:
    """Protocol, and how to open and what to use, from the options of the command line."""
    options["q"] = moments(options["q"])
    names = [field.name for field in fields(Protocol)]
    return Protocol(**{name: options.pop(name) for name in names}), resource_settings(options)
