"""The queue keeps its order and its bounds, and survives the death of the service."""

import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx2

from neuromfa.service.jobs import Jobs
from neuromfa.service.settings import Limits
from serving import client_of, ended, settings_for, submit, until, write_models


def test_oldest_results_go_first(tmp_path):
    jobs = Jobs(tmp_path, Limits(kept_per_token=2))
    made = [jobs.submit("someone", "plan", {}).id for _ in range(4)]
    other = jobs.submit("another", "plan", {}).id
    for job_id in made:
        jobs.directory(job_id).mkdir(parents=True)
    for job_id in (other, *made):
        assert jobs.finish(job_id, "done")
        assert not jobs.finish(job_id, "failed")
    assert [job.id for job in jobs.list("someone")] == made[:1:-1]
    assert {path.name for path in (tmp_path / "results").iterdir()} == set(made[2:])
    assert jobs.get(other, "another")
    assert jobs.get(other, "someone") is None
    jobs.close()


def test_owners_with_less_at_work_come_first(tmp_path):
    jobs = Jobs(tmp_path, Limits())
    first, second = (jobs.submit("busy", "plan", {}).id for _ in range(2))
    third = jobs.submit("patient", "plan", {}).id
    assert [jobs.claim().id for _ in range(3)] == [first, third, second]
    assert jobs.claim() is None
    jobs.close()


def test_killed_and_started_again(tmp_path):
    """Kill the service within a suite: the next one finishes it, nothing is lost."""
    write_models(tmp_path)
    kept = tmp_path / "state"
    port = free_port()
    command = [sys.executable, "-m", "neuromfa", "serve", f"--root={tmp_path / 'models'}",
               f"--state={kept}", f"--port={port}"]  # fmt: skip
    client = httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=60)

    def start():
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        until(lambda: answers(client))
        return process

    def answers(client):
        try:
            return client.get("/v1/roots").is_success
        except httpx2.TransportError:
            return False

    service = start()
    try:
        suite = submit(client, "suites", suite="models/suite.toml")
        others = [submit(client, "plans", checkpoint="models/tiny/step0") for _ in range(3)]
        journal = kept / "results" / suite / "log.jsonl"
        until(lambda: journal.exists() and journal.read_text().count("\n") >= 1)
        (worker,) = children(service.pid)
        service.send_signal(signal.SIGKILL)
        service.wait()
        until(lambda: not Path(f"/proc/{worker}").exists() or is_zombie(worker))
        before = journal.read_text().splitlines()
        service = start()
        found = ended(client, suite)
        assert (found["state"], found["attempts"]) == ("done", 2)
        after = journal.read_text().splitlines()
        assert after[: len(before)] == before  # it went on where it was
        assert len(after) == 4  # two analyses, two controls, none of them twice
        assert [ended(client, job)["state"] for job in others] == ["done"] * 3
    finally:
        service.terminate()
        service.wait()
        client.close()


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def children(pid):
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    threads = Path(f"/proc/{pid}/task").iterdir()
    return [int(c) for t in threads for c in (t / "children").read_text().split()] or text.split()


def is_zombie(pid):
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def test_a_job_that_ends_the_service_is_not_started_for_ever(tmp_path):
    write_models(tmp_path)
    settings = settings_for(tmp_path, limits={"attempts": 2})
    jobs = Jobs(settings.state, settings.limits)
    job = jobs.submit("anyone", "plan", {"checkpoint": "models/tiny/step0"})
    for _ in range(2):
        jobs.recover({})
        assert jobs.claim()
    jobs.close()
    with client_of(settings) as client:
        found = client.get(f"/v1/jobs/{job.id}").json()
    assert (found["state"], found["attempts"]) == ("failed", 2)
    assert "ended 2 times" in found["problem"]["detail"]
