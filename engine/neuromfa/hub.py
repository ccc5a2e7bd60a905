"""Snapshots in the Hugging Face cache, found without the network; fetched only if allowed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from neuromfa.errors import BadInputError, UsageError

_REPOSITORY = re.compile(r"[A-Za-z0-9_][\w.-]*/[A-Za-z0-9_][\w.-]*", re.ASCII)
_REVISION = re.compile(r"[\w.+-]+(/[\w.+-]+)*", re.ASCII)
_COMMIT_PREFIX = re.compile(r"[0-9a-f]{4,40}")
_PATTERNS = ("*.safetensors", "*.json")


@dataclass(frozen=True, slots=True)
class HubName:
    """A model repository and one of its revisions: branch, tag, commit or start of a commit."""

    repository: str
    revision: str

    def __str__(self) -> str:
        return f"{self.repository}@{self.revision}"

    @property
    def download_command(self) -> str:
        """The command that fetches what an analysis reads."""
        patterns = " ".join(f'--include "{pattern}"' for pattern in _PATTERNS)
        return f"hf download {self.repository} --revision {self.revision} {patterns}"


def parse_hub_name(source: str, revision: str | None) -> HubName | None:
    """Read ``org/name`` or ``org/name@revision``; None if `source` has another form.

    Raises
    ------
    UsageError
        If the revision is given twice and differs, or cannot be the name of one.
    """
    repository, at, inline = source.partition("@")
    if not _REPOSITORY.fullmatch(repository):
        return None
    if at and revision is not None and inline != revision:
        raise UsageError(f"{source}: but revision {revision} is asked for too; give it once")
    chosen = inline if at else revision or "main"
    if not _REVISION.fullmatch(chosen) or ".." in chosen.split("/"):
        raise UsageError(f"{source}: {chosen!r} cannot be a revision; give a branch, tag or commit")
    return HubName(repository, chosen)


def cache_directory(environment: Mapping[str, str]) -> Path:
    """Return the cache that the Hugging Face tools use under these environment variables."""
    if chosen := environment.get("HF_HUB_CACHE") or environment.get("HUGGINGFACE_HUB_CACHE"):
        return Path(chosen).expanduser()
    if home := environment.get("HF_HOME"):
        return Path(home).expanduser() / "hub"
    caches = Path(environment.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    return caches / "huggingface" / "hub"


def find_snapshot(name: HubName, cache: Path) -> Path | None:
    """Return the directory of a revision in the cache, or None if it is not there.

    Raises
    ------
    BadInputError
        If the start of a commit fits several snapshots, or the cache cannot be read.
    """
    repository = cache / f"models--{name.repository.replace('/', '--')}"
    snapshots = repository / "snapshots"
    try:
        reference = repository / "refs" / name.revision
        if reference.is_file():
            # A few bytes: a file that is longer is no reference.
            with reference.open("rb") as file:
                commit = file.read(100).decode("ascii", "replace").strip()
            return _directory(snapshots / commit) if _COMMIT_PREFIX.fullmatch(commit) else None
        if not _COMMIT_PREFIX.fullmatch(name.revision) or not snapshots.is_dir():
            return None
        fitting = sorted(
            path.name for path in snapshots.iterdir() if path.name.startswith(name.revision)
        )
    except OSError as error:
        raise BadInputError(
            f"{repository}: cannot be read: {(error.strerror or str(error)).lower()}; "
            "check its permissions"
        ) from None
    if len(fitting) > 1:
        raise BadInputError(
            f"{name}: fits {len(fitting)} cached commits, {' and '.join(fitting[:2])}; "
            "give more digits"
        )
    return _directory(snapshots / fitting[0]) if fitting else None


def fetch_snapshot(name: HubName, cache: Path, environment: Mapping[str, str]) -> Path:
    """Download a revision into the cache, if huggingface_hub is there and may go online.

    Raises
    ------
    BadInputError
        If it may not or does not arrive; with the command that fetches it.
    """
    offline = environment.get("HF_HUB_OFFLINE") or environment.get("TRANSFORMERS_OFFLINE") or ""
    missing = f"{name}: no such path, and not in the cache {cache}"
    if offline.upper() in {"1", "ON", "YES", "TRUE"}:
        raise BadInputError(f"{missing}; fetch it: {name.download_command}")
    try:
        from huggingface_hub import snapshot_download  # noqa: PLC0415  (optional, and slow)
    except ImportError:
        raise BadInputError(f"{missing}; fetch it: {name.download_command}") from None
    try:
        return Path(
            snapshot_download(
                name.repository,
                revision=name.revision,
                cache_dir=cache,
                allow_patterns=list(_PATTERNS),
            )
        )
    except Exception as error:  # whatever the network or the server does
        reason = next(iter(str(error).strip().splitlines()), "no reason given")
        raise BadInputError(
            f"{missing}, and the download failed ({type(error).__name__}: {reason}); "
            f"fetch it: {name.download_command}"
        ) from None


def _directory(path: Path) -> Path | None:
    return path if path.is_dir() else None
