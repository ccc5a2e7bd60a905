"""What other distributions add to neuromfa: found by their entry points, loaded when needed."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from neuromfa.errors import BadInputError

ARCHITECTURES = "neuromfa.architectures"
"""Group of entry points that give registry text: a string, a file, or a callable that returns one
of them."""
SCORE_READERS = "neuromfa.score_readers"
"""Group of entry points that read scores: callables that take a path, and return an iterable of
`neuromfa.Score`, or None for a file that is not theirs."""


@dataclass(frozen=True, slots=True)
class PlugIn:
    """An entry point of an installed distribution.

    Attributes
    ----------
    name : str
        As its distribution calls it.
    distribution : str
        Name and version.
    """

    name: str
    distribution: str
    _entry: EntryPoint

    def __str__(self) -> str:
        return f"{self.distribution}: entry point {self.name} ({self._entry.group})"

    def load(self) -> Any:
        """Import what the entry point names.

        Raises
        ------
        BadInputError
            If it cannot be imported, naming the distribution.
        """
        try:
            return self._entry.load()
        except Exception as error:  # whatever a module of others does when it is imported
            raise self.broken(error) from error

    def broken(self, error: Exception) -> BadInputError:
        """Say in one sentence that this plug-in failed, and whose it is."""
        reason = next(iter(str(error).splitlines()), "")
        return BadInputError(
            f"{self}: fails ({type(error).__name__}: {reason}); update or uninstall it"
        )

    def registry_text(self) -> str:
        """Text of a registry of architectures.

        Raises
        ------
        BadInputError
            If the plug-in fails, or gives something else.
        """
        found = self.load()
        try:
            found = found() if callable(found) else found
            text = found.read_text(encoding="utf-8") if hasattr(found, "read_text") else found
        except Exception as error:  # as above
            raise self.broken(error) from error
        if not isinstance(text, str):
            raise BadInputError(
                f"{self}: gives a {type(text).__name__}, not a registry as text or file; "
                "update or uninstall it"
            )
        return text


def plug_ins(group: str) -> tuple[PlugIn, ...]:
    """Find the plug-ins of a group, in an order that does not depend on the installation."""
    found = (
        PlugIn(entry.name, f"{entry.dist.name} {entry.dist.version}" if entry.dist else "?", entry)
        for entry in entry_points(group=group)
    )
    return tuple(sorted(found, key=lambda p: (p.distribution, p.name)))
