"""The service does what the library does, says how far it is, and keeps its limits."""

import io
import json
import os
import signal

import pyarrow.parquet as pq
import pytest

import neuromfa
from neuromfa.service.jobs import Jobs, QueueFullError
from neuromfa.service.settings import Limits
from serving import URL, client_of, ended, settings_for, submit, until, write_models

PROBLEM = "application/problem+json"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    found = tmp_path_factory.mktemp("service")
    write_models(found)
    return found


@pytest.fixture(scope="module")
def client(folder):
    with client_of(settings_for(folder)) as found:
        yield found


def without_run(record):
    """A record without what tells of one run only."""
    told = ("finished", "seconds", "gigabytes_per_second", "started", "threads", "units")
    kept = {k: v for k, v in record["provenance"].items() if k not in told}
    return record | {"provenance": kept, "source": None}


def test_analysis_is_that_of_the_library(client, folder):
    asked = {"protocol": {"cutoff": 100, "q": [-1, 0, 1]}, "fractal_dimensions": True}
    job = ended(client, submit(client, "analyses", checkpoint="models/tiny/step8", **asked))
    assert job["state"] == "done", job["problem"]
    assert job["attempts"] == 1
    files = {file["name"]: file for file in job["files"]}
    assert set(files) == {
        "analysis.json", "fractal_dimensions.parquet", "groups.parquet", "report.html",
        "spectra.parquet",
    }  # fmt: skip
    at = f"/v1/jobs/{job['id']}/files"
    found = client.get(f"{at}/analysis.json").json()
    protocol = neuromfa.Protocol(cutoff=100, q=(-1, 0, 1))
    own = neuromfa.analyse(folder / "models/tiny/step8", protocol, fractal_dimensions=True)
    assert found["source"] == "models/tiny/step8"
    assert without_run(found) == without_run(json.loads(own.to_json()))
    assert job["summary"]["network"]["alpha_0"] == own.network.alpha_0
    groups = pq.read_table(io.BytesIO(client.get(f"{at}/groups.parquet").content))
    assert groups.equals(own.to_arrow("groups"))
    report = client.get(f"{at}/report.html")
    assert report.headers["content-type"] == "text/html; charset=utf-8"
    assert report.headers["content-security-policy"].startswith("sandbox ")
    assert str(folder) not in json.dumps(found) + report.text


def test_plan_comparison_and_suite(client, folder):
    plan = submit(client, "plans", checkpoint="models/tiny/step0")
    both = submit(client, "comparisons", a="models/tiny/step0", b="models/tiny/step8")
    suite = submit(client, "suites", suite="models/suite.toml")
    status = submit(client, "suite-statuses", suite="models/suite.toml")
    plan, both, suite, status = (ended(client, job) for job in (plan, both, suite, status))
    assert [job["state"] for job in (plan, both, suite, status)] == ["done"] * 4
    assert plan["summary"]["weights"] == 3 * 24 * 24 * 12
    assert both["summary"]["same_weights"] is False
    assert suite["summary"]["states"] == {"done": 2}
    assert status["summary"]["states"] == {"pending": 2}  # beside the file nothing was run
    emergence = client.get(f"/v1/jobs/{suite['id']}/files/emergence.json").json()
    assert emergence
    assert "report.html" in {file["name"] for file in suite["files"]}
    listed = client.get("/v1/jobs", params={"state": "done", "limit": 2}).json()
    assert [job["id"] for job in listed] == [status["id"], suite["id"]]


def test_failures_say_why_and_nothing_of_the_inside(client, folder):
    broken = folder / "models/broken"
    broken.mkdir(exist_ok=True)
    (broken / "model.safetensors").write_bytes(b"\x10")
    (folder / "models/pickle.bin").write_bytes(b"\x80")
    (folder / "models/mixed.toml").write_text(
        'controls = false\n[[model]]\nname = "mixed"\ncheckpoints = ["tiny/step0", "broken"]\n'
    )
    job = ended(client, submit(client, "analyses", checkpoint="models/broken"))
    assert job["state"] == "failed"
    assert job["problem"] == {
        "type": "urn:neuromfa:problem:bad-input",
        "title": "Unprocessable Entity",
        "status": 422,
        "detail": "models/broken/model.safetensors: is 1 bytes, too short for safetensors; "
        "write or download the file again",
    }
    job = ended(client, submit(client, "analyses", checkpoint="models/pickle.bin"))
    assert (job["problem"]["type"], job["problem"]["status"]) == (
        "urn:neuromfa:problem:unsupported", 415,
    )  # fmt: skip
    job = ended(client, submit(client, "suites", suite="models/mixed.toml"))
    assert job["state"] == "partial"
    assert job["summary"]["states"] == {"done": 1, "failed": 1}
    assert job["problem"]["type"] == "urn:neuromfa:problem:partial"
    assert str(folder) not in json.dumps(job)


def test_requests_are_answered_with_problems(client):
    for status, answer in (
        (404, client.get("/v1/jobs/0123456789abcdef")),
        (404, client.get("/v1/nothing")),
        (405, client.put("/v1/jobs")),
        (422, client.get("/v1/jobs/x")),
        (405, client.patch("/v1/jobs/0123456789abcdef")),
        (400, client.post("/v1/plans", content="{", headers={"content-type": "application/json"})),
        (422, client.post("/v1/plans", json={"checkpoint": "models/tiny", "other": 1})),
        (422, client.post("/v1/plans", json={"checkpoint": "models/nothing"})),
        (422, client.post("/v1/plans", json={"checkpoint": "models", "protocol": {"cutoff": 1}})),
        (422, client.post("/v1/plans", json={"checkpoint": "models",
                                             "protocol": {"q": [*range(1001)]}})),
        (413, client.post("/v1/plans", json={"checkpoint": "x" * 70_000})),
    ):  # fmt: skip
        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"] == PROBLEM
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.json()["status"] == status
        assert answer.json()["detail"]
    assert answer.status_code == 413
    assert client.patch("/v1/jobs/0123456789abcdef").headers["allow"] == "DELETE, GET"


def test_body_of_unknown_length_is_limited(client):
    def pieces():
        for _ in range(70):
            yield b" " * 1024

    answer = client.post(
        "/v1/plans", content=pieces(), headers={"content-type": "application/json"}
    )
    assert answer.status_code == 413


def test_too_large_or_too_slow(folder, tmp_path):
    (tmp_path / "models").symlink_to(folder / "models")
    limits = {"weight_bytes": 1000, "job_seconds": 1, "workers": 2}
    with client_of(settings_for(tmp_path, limits=limits | {"job_seconds": 60})) as client:
        jobs = [
            submit(client, "analyses", checkpoint="models/tiny/step0"),
            submit(client, "suites", suite="models/suite.toml"),
        ]
        for job in jobs:
            found = ended(client, job)
            assert (found["state"], found["problem"]["status"]) == ("failed", 507)
            assert "1,000 at most" in found["problem"]["detail"]
    with client_of(settings_for(tmp_path, limits={"job_seconds": 1})) as client:
        client.app.state.runner.settings.resources["memory"] = 1 << 28
        write_slow_suite(folder / "models")
        found = ended(client, submit(client, "suites", suite="models/slow.toml"))
        assert found["state"] == "failed"
        assert "longer than 1 seconds" in found["problem"]["detail"]


def write_slow_suite(models):
    """A suite that takes minutes: thousands of null models."""
    (models / "slow.toml").write_text(
        '[controls]\nreplicates = 20000\n[[model]]\nname = "tiny"\ncheckpoints = ["tiny/step*"]\n'
    )


def test_queue_is_bounded(folder, tmp_path):
    (tmp_path / "models").symlink_to(folder / "models")
    client = client_of(settings_for(tmp_path, limits={"queued": 3, "queued_per_token": 2}))
    runner = client.app.state.runner  # never started: nothing leaves the queue
    for _ in range(2):
        submit(client, "plans", checkpoint="models/tiny/step0")
    full = client.post("/v1/plans", json={"checkpoint": "models/tiny/step0"})
    assert full.status_code == 429
    assert int(full.headers["retry-after"]) > 0
    runner.submit("another", "plan", {"checkpoint": "models/tiny/step0"})
    with pytest.raises(QueueFullError, match="3 jobs"):
        runner.submit("a third", "plan", {"checkpoint": "models/tiny/step0"})
    waiting = client.get("/v1/jobs").json()[0]["id"]
    assert client.delete(f"/v1/jobs/{waiting}").status_code == 409
    assert client.post(f"/v1/jobs/{waiting}/cancel").json()["state"] == "cancelled"
    assert client.delete(f"/v1/jobs/{waiting}").status_code == 204
    assert client.get(f"/v1/jobs/{waiting}").status_code == 404
    submit(client, "plans", checkpoint="models/tiny/step0")
    runner.jobs.close()


def test_cancelled_and_killed_workers(folder, tmp_path):
    (tmp_path / "models").symlink_to(folder / "models")
    write_slow_suite(folder / "models")
    with client_of(settings_for(tmp_path)) as client:
        runner = client.app.state.runner
        job = submit(client, "suites", suite="models/slow.toml")
        until(lambda: client.get(f"/v1/jobs/{job}").json()["progress"])
        worker = runner._processes[job]
        assert client.post(f"/v1/jobs/{job}/cancel").json()["state"] == "cancelled"
        assert worker.wait(30) == -signal.SIGKILL
        job = submit(client, "suites", suite="models/slow.toml")
        until(lambda: client.get(f"/v1/jobs/{job}").json()["progress"])
        os.kill(runner._processes[job].pid, signal.SIGSEGV)
        found = ended(client, job)
        assert found["state"] == "failed"
        assert "signal 11" in found["problem"]["detail"]
        job = submit(client, "plans", checkpoint="models/tiny/step0")
        assert ended(client, job)["state"] == "done"  # the service is none the worse
        job = submit(client, "suites", suite="models/slow.toml")
        until(lambda: client.get(f"/v1/jobs/{job}").json()["progress"])
    # Ended in good order: what ran waits, and was not counted as an attempt.
    jobs = Jobs(tmp_path / "state", Limits())
    (found,) = jobs.list("anyone", state="queued")
    assert (found.id, found.attempts) == (job, 0)
    jobs.close()


def test_one_service_for_one_directory(client, folder):
    with (
        pytest.raises(neuromfa.UsageError, match="another service"),
        client_of(settings_for(folder)),
    ):
        pass
    assert client.get("/v1/roots", headers={"host": URL.removeprefix("http://")}).is_success
