"""HTTP: the same operations as the command line, for other programs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, FastAPI, Query, Request, Response
from fastapi import Path as PathParameter
from fastapi.responses import FileResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel, Field

from neuromfa.provenance import versions
from neuromfa.service import page
from neuromfa.service.door import Door, add_problems
from neuromfa.service.files import Result, file_response, results_of
from neuromfa.service.jobs import Job, QueueFullError
from neuromfa.service.problems import MEDIA_TYPE, Refused
from neuromfa.service.requests import (
    AnalysisRequest,
    ComparisonRequest,
    PlanRequest,
    SuiteRequest,
    SuiteStatusRequest,
)
from neuromfa.service.requests import Request as JobRequest
from neuromfa.service.runner import Runner
from neuromfa.service.settings import Settings

RETRY_SECONDS = 5
_POLL_SECONDS = 0.25

JobState = Literal["queued", "running", "done", "partial", "failed", "cancelled"]
JobId = Annotated[str, PathParameter(pattern="^[0-9a-f]{16}$", description="The `id` of a job.")]


class Problem(BaseModel):
    """Why a request was refused, or a job failed (RFC 9457)."""

    type: str = Field(examples=["urn:neuromfa:problem:usage", "about:blank"])
    title: str
    status: int
    detail: str


class JobRecord(BaseModel):
    """A job: what was asked for, how far it is, what came out."""

    id: str
    kind: Literal["analysis", "plan", "comparison", "suite", "suite_status"]
    state: JobState
    request: dict[str, Any]
    attempts: int
    created: str
    started: str | None
    finished: str | None
    progress: dict[str, Any] | None
    summary: dict[str, Any] | None
    problem: Problem | None
    files: list[Result]


class RootRecord(BaseModel):
    """A directory below which checkpoints may be named."""

    name: str


def _answers(*statuses: HTTPStatus) -> dict[int | str, dict[str, Any]]:
    """Problems that an operation may answer with, beside those that all have."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    every = (
        HTTPStatus.BAD_REQUEST,
        HTTPStatus.UNAUTHORIZED,
        HTTPStatus.FORBIDDEN,
        HTTPStatus.UNPROCESSABLE_ENTITY,
    )
    return {
        int(status): {"description": status.phrase, "content": content}
        for status in (*every, *statuses)
    }


_OF_JOB = _answers(HTTPStatus.NOT_FOUND)
_SUBMISSION: dict[str, Any] = {
    "status_code": HTTPStatus.ACCEPTED,
    "responses": {
        202: {
            "description": "It is in the queue",
            "links": {
                name: {"operationId": name, "parameters": {"job_id": "$response.body#/id"}}
                for name in ("get_job", "cancel_job", "delete_job")
            },
        },
        **_answers(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            HTTPStatus.TOO_MANY_REQUESTS,
        ),
    },
}
_BEARER = HTTPBearer(auto_error=False, description="A token of the token file.")
_ROUTES = APIRouter(prefix="/v1")


def _runner(request: Request) -> Runner:
    runner: Runner = request.app.state.runner
    return runner


Service = Annotated[Runner, Depends(_runner)]


def _owner(
    runner: Service, given: Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)]
) -> str:
    found = runner.settings.tokens.owner(given.credentials if given else None)
    if found is None:
        raise Refused(
            HTTPStatus.UNAUTHORIZED,
            "give a valid token: Authorization: Bearer TOKEN",
            {"WWW-Authenticate": 'Bearer realm="neuromfa"'},
        )
    return found


Owner = Annotated[str, Depends(_owner)]


def _job(job_id: JobId, owner: Owner, runner: Service) -> Job:
    if (job := runner.jobs.get(job_id, owner)) is None:
        raise Refused(HTTPStatus.NOT_FOUND, f"job {job_id}: there is none of that name")
    return job


OwnJob = Annotated[Job, Depends(_job)]


def _record(runner: Runner, job: Job) -> JobRecord:
    files = [] if job.active else results_of(runner.jobs.directory(job.id))
    return JobRecord(**job.to_dict(), files=files)


def _submit(
    runner: Runner, owner: str, asked: JobRequest, answer: Response, *, kind: str
) -> JobRecord:
    try:
        job = runner.submit(owner, kind, asked.model_dump(mode="json", exclude_unset=True))
    except QueueFullError as full:
        raise Refused(
            HTTPStatus.TOO_MANY_REQUESTS,
            f"{full}, which is as many as may be; come back later",
            {"Retry-After": str(RETRY_SECONDS)},
        ) from None
    answer.headers["Location"] = f"/v1/jobs/{job.id}"
    return _record(runner, job)


@_ROUTES.post("/analyses", **_SUBMISSION)
def submit_analysis(
    asked: AnalysisRequest, runner: Service, owner: Owner, answer: Response
) -> JobRecord:
    """Analyse every neuron of a checkpoint, exactly."""
    return _submit(runner, owner, asked, answer, kind="analysis")


@_ROUTES.post("/plans", **_SUBMISSION)
def submit_plan(asked: PlanRequest, runner: Service, owner: Owner, answer: Response) -> JobRecord:
    """Tell what an analysis would read and need, from headers alone."""
    return _submit(runner, owner, asked, answer, kind="plan")


@_ROUTES.post("/comparisons", **_SUBMISSION)
def submit_comparison(
    asked: ComparisonRequest, runner: Service, owner: Owner, answer: Response
) -> JobRecord:
    """Put two checkpoints side by side, by role and block."""
    return _submit(runner, owner, asked, answer, kind="comparison")


@_ROUTES.post("/suites", **_SUBMISSION)
def submit_suite(asked: SuiteRequest, runner: Service, owner: Owner, answer: Response) -> JobRecord:
    """Analyse the checkpoints of a suite file."""
    return _submit(runner, owner, asked, answer, kind="suite")


@_ROUTES.post("/suite-statuses", **_SUBMISSION)
def submit_suite_status(
    asked: SuiteStatusRequest, runner: Service, owner: Owner, answer: Response
) -> JobRecord:
    """Tell what has become of a suite that was run beside its file, not by the service."""
    return _submit(runner, owner, asked, answer, kind="suite_status")


@_ROUTES.get("/roots", responses=_answers())
def list_roots(_: Owner, runner: Service) -> list[RootRecord]:
    """Names that paths may begin with."""
    return [RootRecord(name=name) for name in runner.settings.roots.directories]


@_ROUTES.get("/jobs", responses=_answers())
def list_jobs(
    owner: Owner,
    runner: Service,
    state: Annotated[JobState | None, Query(description="Only in this state.")] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> list[JobRecord]:
    """Jobs of this token, the latest first."""
    return [_record(runner, job) for job in runner.jobs.list(owner, state=state, limit=limit)]


@_ROUTES.get("/jobs/{job_id}", responses=_OF_JOB)
async def get_job(
    job: OwnJob,
    runner: Service,
    wait: Annotated[float, Query(ge=0, le=60, description="Wait so many seconds for its end.")] = 0,
) -> JobRecord:
    """How far a job is, and what came out of it."""
    end = time.monotonic() + min(wait, runner.settings.limits.wait_seconds)
    now: Job | None = job
    while now and now.active and time.monotonic() < end:
        await asyncio.sleep(_POLL_SECONDS)
        now = runner.jobs.get(job.id, job.owner)
    return _record(runner, now or job)


@_ROUTES.post("/jobs/{job_id}/cancel", responses=_OF_JOB)
def cancel_job(job: OwnJob, runner: Service) -> JobRecord:
    """End a job that waits or runs; a job that has ended stays as it is."""
    runner.cancel(job)
    return _record(runner, runner.jobs.get(job.id, job.owner) or job)


@_ROUTES.delete(
    "/jobs/{job_id}",
    status_code=HTTPStatus.NO_CONTENT,
    responses=_answers(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT),
)
def delete_job(job: OwnJob, runner: Service) -> None:
    """Forget a job that has ended, and its results."""
    if job.active:
        raise Refused(HTTPStatus.CONFLICT, f"job {job.id}: is {job.state}; cancel it first")
    runner.jobs.delete(job.id)


@_ROUTES.get(
    "/jobs/{job_id}/files/{name:path}",
    response_class=FileResponse,
    responses={200: {"description": "The file", "content": {"*/*": {}}}, **_OF_JOB},
)
def get_file(job: OwnJob, name: str, runner: Service) -> Response:
    """A file of the results: JSON, Parquet or the report."""
    return file_response(runner.jobs.directory(job.id), name)


def create_app(settings: Settings) -> FastAPI:
    """The service as an ASGI application, which begins to work when it is started.

    Parameters
    ----------
    settings : Settings
        What the operator allows.

    Raises
    ------
    UsageError
        At the start, if another service is at work in the same state directory.
    """
    runner = Runner(settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await asyncio.to_thread(runner.start)
        try:
            yield
        finally:
            await asyncio.to_thread(runner.stop)

    app = FastAPI(
        title="neuromfa",
        summary="Exact multifractal analysis of the weights of language models, as a service.",
        version=versions(("neuromfa",))["neuromfa"] or "unknown",
        lifespan=lifespan,
        docs_url=None,  # these pages load programs from elsewhere
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.runner = runner
    add_problems(app)
    app.include_router(_ROUTES)
    app.include_router(page.ROUTES, include_in_schema=False)
    app.add_middleware(Door, hosts=settings.hosts, body_bytes=settings.limits.body_bytes)
    return app
