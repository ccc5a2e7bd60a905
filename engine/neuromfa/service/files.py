"""Files of results: only what a job has written, by the names that it gave them."""

from __future__ import annotations

from http import HTTPStatus
from pathlib import Path

from fastapi.responses import FileResponse
from pydantic import BaseModel

from neuromfa.service.problems import Refused

MEDIA_TYPES = {
    ".csv": "text/csv",
    ".html": "text/html; charset=utf-8",
    ".json": "application/json",
    ".npz": "application/x-npz",
    ".parquet": "application/vnd.apache.parquet",
    ".safetensors": "application/octet-stream",
}


class Result(BaseModel):
    """A file of the results."""

    name: str
    size: int
    media_type: str


def results_of(directory: Path) -> list[Result]:
    """What is in the directory of a job, without its logs and what is half written."""
    found = []
    for path in sorted(directory.rglob("*")):
        name = path.relative_to(directory).as_posix()
        hidden = any(part.startswith(".") for part in name.split("/"))
        kind = MEDIA_TYPES.get(path.suffix)
        if kind and not hidden and path.is_file() and not path.is_symlink():
            found.append(Result(name=name, size=path.stat().st_size, media_type=kind))
    return found


def _result(directory: Path, name: str) -> Result | None:
    """The file of a name; None if there is none. Names are compared, never joined to a path."""
    return next((found for found in results_of(directory) if found.name == name), None)


def file_response(directory: Path, name: str) -> FileResponse:
    """The answer that carries a file.

    Raises
    ------
    Refused
        If there is no such file.
    """
    if (found := _result(directory, name)) is None:
        raise Refused(HTTPStatus.NOT_FOUND, f"{name[:80]!r}: the job has no file of that name")
    # A report runs its own scripts, so it is given an origin of its own: nothing that it shows can
    # reach the service in the name of its reader.
    sandbox = {"Content-Security-Policy": "sandbox allow-scripts allow-downloads"}
    headers = sandbox if name.endswith(".html") else None
    return FileResponse(directory / found.name, media_type=found.media_type, headers=headers)
