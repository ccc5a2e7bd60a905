"""Schemathesis asks for all that the OpenAPI description allows, and much that it does not."""

import re
import subprocess
import sys
import threading
from importlib.util import find_spec

import pytest
import uvicorn

from neuromfa.service.tokens import read_tokens
from serving import client_of, settings_for, until, write_models

TOKEN = "0123456789abcdef0123456789abcdef"
EXAMPLES = 30
CONFIG = f"""
seed = 1
[generation]
max-examples = {EXAMPLES}
database = "none"
[reports]
[checks.positive_data_acceptance]
# A path of the right form need not exist, nor need moments grow: that is 422 as well.
expected-statuses = ["2xx", "401", "404", "409", "415", "422", "429"]
"""


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    """Never started to work: what is accepted stays in the queue, so every run sees the same."""
    folder = tmp_path_factory.mktemp("openapi")
    models = write_models(folder)
    (models / "step3000").symlink_to("tiny/step8")  # the example of the description
    (folder / "tokens").write_text(f"alice {TOKEN}\n")
    (folder / "tokens").chmod(0o600)
    limits = {"queued": 50, "queued_per_token": 50, "wait_seconds": 0}
    settings = settings_for(folder, tokens=read_tokens(folder / "tokens"), limits=limits)
    found = client_of(settings).app
    yield found
    found.state.runner.jobs.close()


@pytest.mark.skipif(find_spec("schemathesis") is None, reason="schemathesis is not installed")
def test_schemathesis_finds_nothing(app, tmp_path):
    server = uvicorn.Server(uvicorn.Config(app, port=0, lifespan="off", log_level="critical"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        until(lambda: server.started)
        port = server.servers[0].sockets[0].getsockname()[1]
        (tmp_path / "schemathesis.toml").write_text(CONFIG)
        run = subprocess.run(
            [sys.executable, "-m", "schemathesis.cli", "run",
             f"http://127.0.0.1:{port}/openapi.json", "-H", f"Authorization: Bearer {TOKEN}"],
            cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip
    finally:
        server.should_exit = True
        thread.join()
    assert run.returncode == 0, run.stdout[-8000:] + run.stderr[-2000:]
    found = re.search(r"([\d,]+) generated, ([\d,]+) passed", run.stdout)
    assert found, run.stdout
    assert found[1] == found[2] != "0"


def test_description_is_complete(app):
    paths = app.openapi()["paths"]
    assert len(paths) == 10
    for path, operations in paths.items():
        for method, operation in operations.items():
            assert operation["description"], path
            assert operation["security"], path
            for status, answer in operation["responses"].items():
                assert int(status) < 400 or list(answer["content"]) == ["application/problem+json"]
            assert "401" in operation["responses"], (path, method)
