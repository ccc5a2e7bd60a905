"""Errors as problem details (RFC 9457): what goes over the wire when something goes wrong."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from neuromfa.errors import (
    BadInputError,
    NeuromfaError,
    PartialError,
    ResourceError,
    UnsupportedError,
    UsageError,
)

MEDIA_TYPE = "application/problem+json"
INTERNAL = "internal error; the operator finds the reason in the log of the service"

_KINDS: dict[type[Exception], tuple[str, HTTPStatus]] = {
    UsageError: ("usage", HTTPStatus.UNPROCESSABLE_ENTITY),
    BadInputError: ("bad-input", HTTPStatus.UNPROCESSABLE_ENTITY),
    PartialError: ("partial", HTTPStatus.UNPROCESSABLE_ENTITY),
    UnsupportedError: ("unsupported", HTTPStatus.UNSUPPORTED_MEDIA_TYPE),
    ResourceError: ("resource", HTTPStatus.INSUFFICIENT_STORAGE),
    MemoryError: ("resource", HTTPStatus.INSUFFICIENT_STORAGE),
}


class Refused(Exception):
    """A request that is answered with a problem.

    Parameters
    ----------
    status : HTTPStatus
        Of the answer.
    detail : str
        One sentence.
    headers : mapping, optional
        Further ones.
    """

    def __init__(
        self, status: HTTPStatus, detail: str, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.status, self.headers = status, headers or {}


def problem(status: HTTPStatus, detail: str, kind: str | None = None) -> dict[str, Any]:
    """A problem; its `kind` is the error of neuromfa behind it, if there is one."""
    return {
        "type": f"urn:neuromfa:problem:{kind}" if kind else "about:blank",
        "title": status.phrase,
        "status": int(status),
        "detail": detail,
    }


def problem_of(error: BaseException) -> dict[str, Any]:
    """The problem of an error; what was not raised on purpose says nothing of the inside."""
    for of, (kind, status) in _KINDS.items():
        if isinstance(error, of):
            return problem(status, str(error) or "out of memory", kind)
    if isinstance(error, NeuromfaError):
        return problem(HTTPStatus.UNPROCESSABLE_ENTITY, str(error))
    return problem(HTTPStatus.INTERNAL_SERVER_ERROR, INTERNAL)
