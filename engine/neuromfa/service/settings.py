"""What the operator of a service allows."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from neuromfa.errors import UsageError
from neuromfa.service.roots import Roots
from neuromfa.service.tokens import Tokens
from neuromfa.units import DEFAULT_MEMORY


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What clients may ask for at most.

    Attributes
    ----------
    weight_bytes : int
        Bytes of the files of all checkpoints of a job, known from their headers before any weight
        is read.
    job_seconds : float
        Time of one attempt of a job.
    queued, queued_per_token : int
        Jobs that wait or run, in all and of one token.
    kept_per_token : int
        Finished jobs whose results are kept; the oldest go first.
    body_bytes : int
        Size of a request.
    moments : int
        Moments q of a protocol.
    wait_seconds : float
        Longest wait for a job to end within one request.
    attempts : int
        Times that a job is started, if the service is killed while it runs.
    workers : int
        Jobs that run at a time.
    """

    weight_bytes: int = 256 << 30
    job_seconds: float = 24 * 3600.0
    queued: int = 100
    queued_per_token: int = 20
    kept_per_token: int = 1000
    body_bytes: int = 64 << 10
    moments: int = 1000
    wait_seconds: float = 60.0
    attempts: int = 3
    workers: int = 1

    def __post_init__(self) -> None:
        for name in self.__slots__:
            if not (value := getattr(self, name)) >= (0 if name == "wait_seconds" else 1):
                raise UsageError(f"limit {name} {value}: must be at least 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """A service.

    Attributes
    ----------
    roots : Roots
        Where checkpoints are.
    state : Path
        Directory of the queue and the results.
    tokens : Tokens
        Who may ask.
    limits : Limits
        For how much.
    resources : mapping
        ``threads``, ``memory``, ``device`` and ``device_memory`` of each job, as for
        `neuromfa.analyse`.
    hosts : tuple of str
        Names by which clients may call the service; any if empty. A page elsewhere that has its
        own name point here (DNS rebinding) is refused by it.
    """

    roots: Roots
    state: Path
    tokens: Tokens = field(default_factory=Tokens)
    limits: Limits = field(default_factory=Limits)
    resources: dict[str, Any] = field(default_factory=lambda: {"memory": DEFAULT_MEMORY})
    hosts: tuple[str, ...] = ("localhost", "127.0.0.1", "[::1]")

    def __post_init__(self) -> None:
        state = Path(os.path.realpath(self.state))
        for root in self.roots.directories.values():
            if state.is_relative_to(root) or root.is_relative_to(state):
                raise UsageError(
                    f"state {state} and root {root}: one is within the other; "
                    "give a place of its own with --state"
                )
        object.__setattr__(self, "state", state)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def default_state() -> Path:
    """Where the queue is kept unless told otherwise."""
    base = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(base).expanduser() / "neuromfa"
