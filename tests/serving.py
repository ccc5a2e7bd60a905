"""A service over a small training run, for the tests of the service."""

import time

from starlette.testclient import TestClient

from neuromfa.service.api import create_app
from neuromfa.service.roots import Roots
from neuromfa.service.settings import Limits, Settings
from tiny_training import write_suite, write_training

STEPS = (0, 8)
URL = "http://localhost"
SECONDS = 120
"""After which a test gives up waiting; nothing is measured."""


def write_models(folder):
    """A root with a training run and its suite file."""
    models = folder / "models"
    write_training(models / "tiny", STEPS)
    write_suite(models, "[controls]\nreplicates = 2\n")
    return models


def settings_for(folder, *, limits=None, **rest):
    """Settings of a service whose root is the folder ``models`` within a folder."""
    roots = Roots({"models": folder / "models"})
    given = Limits(**(limits or {}))
    return Settings(roots=roots, state=folder / "state", limits=given, **rest)


def client_of(settings, token=None):
    """A client within this process; as a context it starts and ends the workers."""
    headers = {"authorization": f"Bearer {token}"} if token else {}
    app = create_app(settings)
    return TestClient(app, base_url=URL, headers=headers, raise_server_exceptions=False)


def submit(client, path, **request):
    """The id of a job that was accepted."""
    answer = client.post(f"/v1/{path}", json=request)
    assert answer.status_code == 202, answer.text
    assert answer.headers["location"] == f"/v1/jobs/{answer.json()['id']}"
    return answer.json()["id"]


def ended(client, job_id):
    """A job once it has ended."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        job = client.get(f"/v1/jobs/{job_id}", params={"wait": 10}).json()
        if job["state"] not in ("queued", "running"):
            return job
    raise AssertionError(f"job {job_id} is still {job['state']}")


def until(condition):
    """Wait until something is so."""
    deadline = time.monotonic() + SECONDS
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found
