"""What a client may ask for, checked before it reaches the queue."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from typing import Any, Literal, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, create_model

from neuromfa.errors import UsageError
from neuromfa.protocol import Protocol
from neuromfa.service.roots import MOST_CHARACTERS
from neuromfa.service.settings import Settings

_STRICT = ConfigDict(extra="forbid", allow_inf_nan=False, strict=True)
_PATH = Field(
    min_length=1, max_length=MOST_CHARACTERS, description="ROOT/PATH", examples=["models/step3000"]
)
_HINTS = get_type_hints(Protocol)
# Nothing is taken for what it is not, but JSON has lists where Python has tuples.
_FIELDS: Any = {
    f.name: (
        _HINTS[f.name],
        Field(f.default, strict=False) if type(f.default) is tuple else f.default,
    )
    for f in fields(Protocol)
}

ProtocolSettings: Any = create_model(
    "ProtocolSettings",
    __config__=_STRICT,
    __doc__="Everything that may change a number; the settings of `neuromfa.Protocol`.",
    **_FIELDS,
)


class Request(BaseModel):
    """What all requests have in common."""

    model_config = _STRICT

    def check(self, settings: Settings) -> None:
        """Refuse what cannot be done, before it is queued.

        Raises
        ------
        UsageError
            If a path or the protocol makes no sense.
        BadInputError
            If there is no such path below the roots.
        """
        for path in paths_of(self):
            settings.roots.resolve(path)
        if isinstance(self, WithProtocol):
            if len(self.protocol.q) > settings.limits.moments:
                raise UsageError(
                    f"q: has {len(self.protocol.q)} moments, at most {settings.limits.moments} "
                    "are taken; leave some out"
                )
            protocol_of(self.model_dump())


class WithProtocol(Request):
    """A request with the protocol of an analysis."""

    protocol: ProtocolSettings = Field(default_factory=ProtocolSettings)
    strict: bool = Field(default=False, description="Refuse a matrix that no rule names.")


class PlanRequest(WithProtocol):
    """Tell what an analysis would read and need, from headers alone."""

    checkpoint: str = _PATH


class AnalysisRequest(WithProtocol):
    """Analyse every neuron of a checkpoint, exactly."""

    checkpoint: str = _PATH
    fractal_dimensions: bool = Field(default=False, description="Keep those of single neurons.")
    structure: Literal["simple", "full"] | None = Field(
        default=None, description="Simpler structural measures as well."
    )


class ComparisonRequest(WithProtocol):
    """Put two checkpoints side by side, by role and block."""

    a: str = _PATH
    b: str = _PATH


class SuiteRequest(Request):
    """Analyse the checkpoints of a suite file, which lies below a root as they do."""

    suite: str = _PATH


class SuiteStatusRequest(Request):
    """Tell what has become of a suite that was run beside its file, not by the service."""

    suite: str = _PATH


REQUESTS: dict[str, type[Request]] = {
    "analysis": AnalysisRequest,
    "plan": PlanRequest,
    "comparison": ComparisonRequest,
    "suite": SuiteRequest,
    "suite_status": SuiteStatusRequest,
}
"""By the kind of job."""


def paths_of(request: Request) -> Iterator[str]:
    """Every path that a request names."""
    for name in ("checkpoint", "a", "b", "suite"):
        if (path := getattr(request, name, None)) is not None:
            yield path


def protocol_of(record: dict[str, Any]) -> Protocol:
    """The protocol of a request's record.

    Raises
    ------
    UsageError
        If it makes no sense.
    """
    settings = record.get("protocol", {})
    found: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in settings.items()
    }
    return Protocol(**found)
