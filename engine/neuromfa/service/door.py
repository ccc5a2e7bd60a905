"""What every request passes: size, host, origin; and what every answer carries."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from neuromfa.errors import NeuromfaError
from neuromfa.service.problems import INTERNAL, MEDIA_TYPE, Refused, problem, problem_of

_METHODS = ("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT")
_SAFE = ("GET", "HEAD", "OPTIONS")
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",  # with none, browsers hide the origin of our own forms too
    "X-Content-Type-Options": "nosniff",
}


class Door:
    """ASGI middleware that turns away what no operation should see.

    Parameters
    ----------
    app : ASGIApp
        What comes behind.
    hosts : tuple of str
        Names by which clients may call; any if empty.
    body_bytes : int
        Largest body of a request.
    """

    def __init__(self, app: ASGIApp, *, hosts: tuple[str, ...], body_bytes: int) -> None:
        self._app, self._hosts, self._body_bytes = app, hosts, body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)

        async def dressed(message: Message) -> None:
            if message["type"] == "http.response.start":
                found = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    found.setdefault(name, value)
            await send(message)

        refused = self._refuse(scope, headers)
        if refused is None:
            body = _Body(receive, self._body_bytes)
            if await body.fits(headers):
                await self._app(scope, body.receive, dressed)
                return
            refused = Refused(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                f"a request may have {self._body_bytes:,} bytes",
            )
        await _answer(refused)(scope, receive, dressed)

    def _refuse(self, scope: Scope, headers: Headers) -> Refused | None:
        host = headers.get("host", "")
        name = host if host.endswith("]") else host.rpartition(":")[0] or host
        if self._hosts and name.lower() not in self._hosts:
            return Refused(HTTPStatus.MISDIRECTED_REQUEST, "this service has another name")
        if scope["method"] not in _SAFE and not _same_origin(headers, host):
            return Refused(HTTPStatus.FORBIDDEN, "a page from elsewhere may not ask for this")
        return None


class _Body:
    """A body that is read before the application is asked, as far as it may be."""

    def __init__(self, receive: Receive, most: int) -> None:
        self._receive, self._most = receive, most
        self._messages: list[Message] = []

    async def fits(self, headers: Headers) -> bool:
        announced = headers.get("content-length", "")
        if announced.isdecimal() and int(announced) > self._most:
            return False
        size, more = 0, True
        while more:
            message = await self._receive()
            self._messages.append(message)
            size += len(message.get("body", b""))
            more = message["type"] == "http.request" and message.get("more_body", False)
            if size > self._most:
                return False
        return True

    async def receive(self) -> Message:
        return self._messages.pop(0) if self._messages else await self._receive()


def _same_origin(headers: Headers, host: str) -> bool:
    """Whether the sender is no browser, or shows a page of this service."""
    if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return False
    origin = headers.get("origin")
    return origin is None or origin.partition("://")[2] == host


def add_problems(app: FastAPI) -> None:
    """Answer every error with a problem (RFC 9457)."""

    def refused(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, Refused)
        return _answer(error)

    def of_neuromfa(_: Request, error: Exception) -> JSONResponse:
        return _response(problem_of(error))

    def of_http(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        status, headers = HTTPStatus(error.status_code), dict(error.headers or {})
        if status == HTTPStatus.METHOD_NOT_ALLOWED:
            headers["Allow"] = ", ".join(_methods(app, request))
        return _response(problem(status, str(error.detail)), headers)

    def of_validation(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        broken = first["type"] == "json_invalid"
        status = HTTPStatus.BAD_REQUEST if broken else HTTPStatus.UNPROCESSABLE_ENTITY
        where = ".".join(str(part) for part in first["loc"])
        return _response(problem(status, f"{where}: {first['msg']}", None if broken else "usage"))

    def internal(_: Request, _error: Exception) -> JSONResponse:
        return _response(problem(HTTPStatus.INTERNAL_SERVER_ERROR, INTERNAL))

    app.add_exception_handler(Refused, refused)
    app.add_exception_handler(NeuromfaError, of_neuromfa)
    app.add_exception_handler(HTTPException, of_http)
    app.add_exception_handler(RequestValidationError, of_validation)
    app.add_exception_handler(Exception, internal)


def _methods(app: FastAPI, request: Request) -> list[str]:
    """What may be asked of a path, by all its routes together."""
    scopes = {method: dict(request.scope) | {"method": method} for method in _METHODS}
    return [
        method
        for method, scope in scopes.items()
        if any(route.matches(dict(scope))[0] is Match.FULL for route in app.routes)
    ]


def _answer(refused: Refused) -> JSONResponse:
    return _response(problem(refused.status, str(refused)), refused.headers)


def _response(record: dict[str, Any], headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse(record, record["status"], headers, media_type=MEDIA_TYPE)
