"""A page for people: jobs, a form to submit one, and the reports.

It works without scripts; with them, the list of jobs follows what happens. The token is kept in a
cookie that scripts cannot read and that pages elsewhere cannot send; the operations under ``/v1``
do not look at it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from http import HTTPStatus
from importlib.resources import files
from typing import Any
from urllib.parse import parse_qs

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from neuromfa.errors import NeuromfaError, UsageError
from neuromfa.reports import chart
from neuromfa.service.files import file_response, results_of
from neuromfa.service.jobs import Job, QueueFullError
from neuromfa.service.problems import Refused
from neuromfa.service.roots import MOST_CHARACTERS
from neuromfa.service.runner import Runner

COOKIE = "neuromfa_token"
POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src data:; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
FORMS = {
    "analysis": ("Analysis of a checkpoint", "checkpoint"),
    "plan": ("Plan: what an analysis would need", "checkpoint"),
    "suite": ("Suite file", "suite"),
}
"""Kinds that can be submitted here: in words, and the name of the path."""

_SHOWN = 50


ROUTES = APIRouter()


@ROUTES.get("/")
def home(request: Request) -> Response:
    """The page."""
    return _show(request)


@ROUTES.post("/sign-in")
async def sign_in(request: Request) -> Response:
    """Keep a token that is valid."""
    token = (await _form(request)).get("token", "")
    if _runner(request).settings.tokens.owner(token) is None:
        return _show(request, "This token is not known.", HTTPStatus.UNAUTHORIZED)
    answer = RedirectResponse("/", HTTPStatus.SEE_OTHER)
    secure = request.url.scheme == "https"
    answer.set_cookie(COOKIE, token, httponly=True, samesite="strict", secure=secure)
    return answer


@ROUTES.post("/sign-out")
def sign_out() -> Response:
    """Forget the token."""
    answer = RedirectResponse("/", HTTPStatus.SEE_OTHER)
    answer.delete_cookie(COOKIE)
    return answer


@ROUTES.post("/submit")
async def submit(request: Request) -> Response:
    """Submit a job from the form."""
    form, owner = await _form(request), _owner(request)
    if owner is None:
        return _show(request, "Sign in first.", HTTPStatus.UNAUTHORIZED)
    kind, path = form.get("kind", ""), form.get("path", "").strip()
    try:
        if kind not in FORMS or not 0 < len(path) <= MOST_CHARACTERS:
            raise UsageError("choose what to do, and name a checkpoint as ROOT/PATH")
        _runner(request).submit(owner, kind, {FORMS[kind][1]: path})
    except NeuromfaError as error:
        return _show(request, str(error), HTTPStatus.UNPROCESSABLE_ENTITY, path)
    except QueueFullError as full:
        return _show(request, f"{full}; come back later.", HTTPStatus.TOO_MANY_REQUESTS, path)
    return RedirectResponse("/", HTTPStatus.SEE_OTHER)


@ROUTES.post("/jobs/{job_id}/cancel")
def cancel(request: Request, job_id: str) -> Response:
    """End a job."""
    _runner(request).cancel(_job(request, job_id))
    return RedirectResponse("/", HTTPStatus.SEE_OTHER)


@ROUTES.get("/jobs/{job_id}/files/{name:path}")
def get_file(request: Request, job_id: str, name: str) -> Response:
    """A file of the results, for who has signed in."""
    job = _job(request, job_id)
    return file_response(_runner(request).jobs.directory(job.id), name)


@ROUTES.get("/page.css")
def style() -> Response:
    """How the page looks."""
    return Response(_style(), media_type="text/css")


@ROUTES.get("/page.js")
def script() -> Response:
    """What follows the jobs."""
    return Response(_text("page.js"), media_type="text/javascript")


def _runner(request: Request) -> Runner:
    runner: Runner = request.app.state.runner
    return runner


def _owner(request: Request) -> str | None:
    return _runner(request).settings.tokens.owner(request.cookies.get(COOKIE))


def _job(request: Request, job_id: str) -> Job:
    if (owner := _owner(request)) is None:
        raise Refused(HTTPStatus.UNAUTHORIZED, "sign in first")
    if (job := _runner(request).jobs.get(job_id, owner)) is None:
        raise Refused(HTTPStatus.NOT_FOUND, "there is no such job")
    return job


def _show(
    request: Request, message: str = "", status: HTTPStatus = HTTPStatus.OK, path: str = ""
) -> Response:
    runner, owner = _runner(request), _owner(request)
    found = runner.jobs.list(owner, limit=_SHOWN) if owner else []
    text = _template().render(
        owner=owner,
        tokens=bool(runner.settings.tokens),
        roots=list(runner.settings.roots.directories),
        forms=FORMS,
        message=message,
        path=path,
        jobs=[_row(runner, job) for job in found],
        active=[job.state for job in found if job.active],
    )
    return HTMLResponse(text, status, headers={"Content-Security-Policy": POLICY})


def _row(runner: Runner, job: Job) -> dict[str, Any]:
    """What the list shows of a job."""
    asked = job.request
    names = [asked[name] for name in ("checkpoint", "suite", "a", "b") if name in asked]
    files = [] if job.active else [r.name for r in results_of(runner.jobs.directory(job.id))]
    return {
        "id": job.id,
        "kind": job.kind.replace("_", " "),
        "name": " and ".join(names),
        "state": job.state,
        "created": job.created[:19].replace("T", " "),
        "active": job.active,
        "share": (job.progress or {}).get("share"),
        "outcome": _outcome(job),
        "files": [name for name in files if "/" not in name],
    }


def _outcome(job: Job) -> str:
    """One line about what came out, or how far it is."""
    if job.problem:
        return str(job.problem["detail"])
    if job.state == "running" and "done" in (job.progress or {}):
        found: Mapping[str, Any] = job.progress or {}
        return f"{found['done']} of {found['total']} checkpoints, now {found['checkpoint']}"
    summary = job.summary or {}
    if "network" in summary:
        numbers = (f"{name} {_number(summary['network'][name])}" for name in ("alpha_0", "width"))
        return ", ".join(numbers)
    if "states" in summary:
        return ", ".join(f"{count} {state}" for state, count in summary["states"].items())
    if "weights" in summary:
        return f"{summary['layers']} layers, {summary['weights']:,} weights"
    return ""


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.4f}"


async def _form(request: Request) -> dict[str, str]:
    """The fields of a form, each once."""
    body = (await request.body()).decode("utf-8", "replace")
    try:
        found = parse_qs(body, keep_blank_values=True, max_num_fields=10)
    except ValueError:
        return {}
    return {name: values[0] for name, values in found.items()}


def _text(name: str) -> str:
    return files("neuromfa.service").joinpath(name).read_text(encoding="utf-8")


@cache
def _template() -> Any:
    return _environment().get_template("page.html.jinja")


@cache
def _style() -> str:
    colours = {mode: chart.palette(mode) for mode in ("light", "dark")}
    text: str = _environment().get_template("page.css").render(colours)
    return text


def _environment() -> Any:
    from jinja2 import Environment, PackageLoader, StrictUndefined  # noqa: PLC0415  (optional)

    return Environment(
        loader=PackageLoader("neuromfa.service", "."),
        autoescape=lambda name: name is not None and "html" in name,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
