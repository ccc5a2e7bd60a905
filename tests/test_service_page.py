"""The page for people: without scripts, with them in a browser, and for those who must sign in."""

import contextlib
import re
import threading
from http import HTTPStatus

import pytest
import uvicorn
from starlette.responses import HTMLResponse

from browsing import browse, needs_browser
from neuromfa.service.page import COOKIE
from neuromfa.service.settings import Settings
from neuromfa.service.tokens import read_tokens
from serving import client_of, ended, settings_for, until, write_models

TOKEN = "0123456789abcdef0123456789abcdef"
FORM = {"content-type": "application/x-www-form-urlencoded"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    found = tmp_path_factory.mktemp("page")
    write_models(found)
    return found


def elsewhere(settings, folder, name, **rest):
    """The same service with a queue of its own."""
    return Settings(roots=settings.roots, state=folder / name, **rest)


@contextlib.contextmanager
def served(app, *, lifespan="on"):
    """The address of an application."""
    config = uvicorn.Config(app, port=0, lifespan=lifespan, log_level="critical")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        until(lambda: server.started)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


def test_forms_work_without_scripts(folder):
    with client_of(settings_for(folder)) as client:
        assert "No jobs yet" in client.get("/").text
        sent = client.post("/submit", content="kind=plan&path=models/tiny/step0", headers=FORM)
        assert sent.history[0].status_code == HTTPStatus.SEE_OTHER
        (job,) = client.get("/v1/jobs").json()
        assert ended(client, job["id"])["state"] == "done"
        text = client.get("/").text
        assert "12 layers, 20,736 weights" in text
        assert f"/jobs/{job['id']}/files/plan.json" in text
        assert client.get(f"/jobs/{job['id']}/files/plan.json").json()["layers"]
        cancelled = client.post(f"/jobs/{job['id']}/cancel", headers=FORM)
        assert cancelled.is_success
        refused = client.post("/submit", content="kind=plan&path=<b>/../x", headers=FORM)
        assert refused.status_code == 422
        assert "&lt;b&gt;/../x" in refused.text
        assert "<b>" not in refused.text
        assert client.post("/submit", content="kind=x&path=models", headers=FORM).status_code == 422
        assert client.post("/submit", content="&" * 999, headers=FORM).status_code == 422


def test_page_loads_nothing_from_elsewhere(folder):
    client = client_of(elsewhere(settings_for(folder), folder, "state-quiet"))
    answer = client.get("/")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert not re.search(r"""(?:src|href)=["'](?:https?:)?//""", answer.text)
    assert " style=" not in answer.text
    assert " on" not in re.sub(r">[^<]*<", "><", answer.text).replace(' on"', "")
    for path in re.findall(r'(?:src|href)="(/[^"]+)"', answer.text):
        assert client.get(path).is_success, path
    assert "http" not in client.get("/page.css").text + client.get("/page.js").text


def test_sign_in_and_out(folder):
    path = folder / "tokens"
    path.write_text(f"alice {TOKEN}\n")
    path.chmod(0o600)
    settings = elsewhere(settings_for(folder), folder, "state-tokens", tokens=read_tokens(path))
    client = client_of(settings)
    assert "Sign in" in client.get("/").text
    for path in ("/submit", "/jobs/0123456789abcdef/cancel"):
        assert client.post(path, content="kind=plan&path=models", headers=FORM).status_code == 401
    assert client.get("/jobs/0123456789abcdef/files/x").status_code == 401
    wrong = client.post("/sign-in", content="token=wrong", headers=FORM)
    assert wrong.status_code == 401
    assert 'role="alert"' in wrong.text
    right = client.post("/sign-in", content=f"token={TOKEN}", headers=FORM, follow_redirects=False)
    cookie = right.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    page = client.get("/").text
    assert "alice" in page
    assert "New job" in page
    assert TOKEN not in page
    client.post("/sign-out", headers=FORM)
    assert COOKIE not in client.cookies
    assert "New job" not in client.get("/").text


@pytest.fixture(scope="module")
def open_page(folder):
    """The address of a service that has done something."""
    settings = elsewhere(settings_for(folder), folder, "state-browser")
    client = client_of(settings)
    with client:
        for kind, path in (("analyses", "models/tiny/step8"), ("plans", "models/tiny/step0")):
            job = client.post(f"/v1/{kind}", json={"checkpoint": path}).json()
            assert ended(client, job["id"])["state"] == "done"
    app = client_of(settings).app  # which finds what the other one has left
    waiting = app.state.runner.submit("anyone", "suite", {"suite": "models/suite.toml"})
    with served(app, lifespan="off") as address:
        yield address, app.state.runner, waiting, app


@needs_browser
def test_page_in_a_browser(open_page, tmp_path):
    address, _, waiting, _ = open_page
    dom, complaints = browse(tmp_path, f"{address}/")
    assert not complaints
    assert "data-seen=" in dom  # the script ran, and could ask for what is new
    assert f"cancel-{waiting.id}" in dom
    assert "0 running, 1 waiting" in dom
    assert dom.count("<tr data-id=") == 3


@needs_browser
def test_forms_in_a_browser(open_page, tmp_path):
    """A form that sends itself, at the service's own address: what a browser adds is let in."""
    address, runner, _, app = open_page
    form = (
        "<form method=post action=/submit><input name=kind value=plan>"
        "<input name=path value=models/tiny/step8></form>"
        "<script>document.forms[0].submit()</script>"
    )
    headers = {"Content-Security-Policy": "script-src 'unsafe-inline'; form-action 'self'"}

    @app.get("/form-of-a-test")
    def send_form():
        return HTMLResponse(form, headers=headers)

    before = len(runner.jobs.list("anyone"))
    dom, complaints = browse(tmp_path, f"{address}/form-of-a-test")
    assert not complaints
    assert len(runner.jobs.list("anyone")) == before + 1
    assert "models/tiny/step8" in dom


@needs_browser
def test_report_in_a_browser(open_page, tmp_path):
    """It draws its figures in an origin of its own."""
    address, runner, *_ = open_page
    analysis = next(job for job in runner.jobs.list("anyone") if job.kind == "analysis")
    dom, complaints = browse(tmp_path, f"{address}/jobs/{analysis.id}/files/report.html")
    assert not complaints
    assert re.search(r'data-drawn="\d+', dom)
