"""Who is heard: tokens of every kind but the right one, pages from elsewhere, start-up."""

import json
import subprocess
import sys
from hashlib import sha256

import pytest

from neuromfa.errors import BadInputError, ResourceError, UsageError
from neuromfa.service import command
from neuromfa.service.settings import is_loopback
from neuromfa.service.tokens import Tokens, read_tokens
from serving import client_of, settings_for, write_models

TOKEN = "0123456789abcdef0123456789abcdef"
OTHER = "fedcba9876543210fedcba9876543210"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    found = tmp_path_factory.mktemp("tokens")
    write_models(found)
    return found


@pytest.fixture(scope="module")
def tokens(folder):
    path = folder / "tokens"
    path.write_text(
        f"# who may ask\n\nalice {TOKEN}\nbob sha256:{sha256(OTHER.encode()).hexdigest()}\n"
    )
    path.chmod(0o600)
    return read_tokens(path)


@pytest.fixture(scope="module")
def client(folder, tokens):
    """Never started: what gets in stays in the queue, where it is seen."""
    return client_of(settings_for(folder, tokens=tokens, limits={"queued": 9999}), TOKEN)


AUTHORIZATIONS = {
    "none": None,
    "empty": "",
    "only the scheme": "Bearer",
    "blank": "Bearer ",
    "wrong": f"Bearer {'x' * 32}",
    "truncated": f"Bearer {TOKEN[:-1]}",
    "longer": f"Bearer {TOKEN}0",
    "upper case": f"Bearer {TOKEN.upper()}",
    "blank in front": f"Bearer  {TOKEN} x",
    "quoted": f'Bearer "{TOKEN}"',
    "two": f"Bearer {OTHER[:16]}, Bearer {TOKEN}",
    "basic": f"Basic {TOKEN}",
    "no scheme": TOKEN,
    "the hash": f"Bearer {sha256(OTHER.encode()).hexdigest()}",
    "the hash as it is written": f"Bearer sha256:{sha256(OTHER.encode()).hexdigest()}",
    "owner": "Bearer alice",
    "latin": "Bearer \u00e9",
    "very long": f"Bearer {'0' * 8000}",
}
OPERATIONS = (
    ("GET", "/v1/roots"), ("GET", "/v1/jobs"), ("POST", "/v1/plans"), ("POST", "/v1/analyses"),
    ("GET", "/v1/jobs/0123456789abcdef"), ("POST", "/v1/jobs/0123456789abcdef/cancel"),
    ("DELETE", "/v1/jobs/0123456789abcdef"), ("GET", "/v1/jobs/0123456789abcdef/files/x"),
)  # fmt: skip


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
@pytest.mark.parametrize("name", AUTHORIZATIONS)
def test_tokens_are_refused(folder, tokens, name, method, path):
    client = client_of(settings_for(folder, tokens=tokens))
    given = AUTHORIZATIONS[name]
    headers = {} if given is None else {"authorization": given.encode("latin-1")}
    body = {"json": {"checkpoint": "models/tiny/step0"}} if method == "POST" else {}
    answer = client.request(method, path, headers=headers, **body)
    assert answer.status_code == 401, answer.text
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert answer.headers["content-type"] == "application/problem+json"


def test_tokens_elsewhere_do_not_count(folder, tokens):
    client = client_of(settings_for(folder, tokens=tokens))
    for query in ("access_token", "token", "authorization", "bearer"):
        assert client.get("/v1/jobs", params={query: TOKEN}).status_code == 401
    for header in ("x-api-key", "x-authorization", "proxy-authorization", "x-forwarded-user"):
        assert client.get("/v1/jobs", headers={header: f"Bearer {TOKEN}"}).status_code == 401
    client.cookies.set("neuromfa_token", TOKEN)
    assert client.get("/v1/jobs").status_code == 401  # so no page can ask in a reader's name
    assert client.get("/").text.count("Sign out") == 1


def test_jobs_of_others_are_not_there(client, folder, tokens):
    mine = client.post("/v1/plans", json={"checkpoint": "models/tiny/step0"}).json()["id"]
    bob = {"authorization": f"Bearer {OTHER}"}
    for method, path in (
        ("GET", ""), ("POST", "/cancel"), ("DELETE", ""), ("GET", "/files/plan.json"),
    ):  # fmt: skip
        answer = client.request(method, f"/v1/jobs/{mine}{path}", headers=bob)
        assert answer.status_code == 404, method
    assert client.get("/v1/jobs", headers=bob).json() == []
    assert client.get(f"/v1/jobs/{mine}").json()["state"] == "queued"
    client.post(f"/v1/jobs/{mine}/cancel")
    assert client.delete(f"/v1/jobs/{mine}").status_code == 204


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (421, {"host": "evil.example"}),
        (421, {"host": "localhost.evil.example:80"}),
        (421, {"host": ""}),
        (403, {"origin": "http://evil.example"}),
        (403, {"origin": "null"}),
        (403, {"origin": "http://localhost:81"}),
        (403, {"sec-fetch-site": "cross-site"}),
        (403, {"sec-fetch-site": "same-site"}),
        (202, {"origin": "http://localhost"}),
        (202, {"host": "127.0.0.1:8765"}),
        (422, {"content-type": "text/plain"}),
    ],
)
def test_pages_from_elsewhere_may_not_ask(folder, status, headers):
    client = client_of(settings_for(folder))
    body = json.dumps({"checkpoint": "models/tiny/step0"}).encode()
    headers = {"content-type": "application/json"} | headers
    answer = client.post("/v1/plans", content=body, headers=headers)
    assert answer.status_code == status, answer.text
    if status in (403, 421):
        assert client.post("/submit", content=b"", headers=headers).status_code == status


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no tokens"),
        ("alice", "write OWNER TOKEN"),
        ("alice short", "5 characters"),
        (f"alice {TOKEN} more", "write OWNER TOKEN"),
        (f"alice {TOKEN}\nalice {OTHER}", "already"),
        (f"al/ice {TOKEN}", "write OWNER TOKEN"),
        (f"alice {TOKEN}", "chmod 600"),
    ],
)
def test_token_files_that_are_refused(tmp_path, text, message):
    path = tmp_path / "tokens"
    path.write_text(text)
    path.chmod(0o644)
    with pytest.raises(UsageError, match=message):
        read_tokens(path)
    with pytest.raises(BadInputError):
        read_tokens(tmp_path / "nothing")


def test_tokens_keep_hashes_only(tokens):
    assert (tokens.owner(TOKEN), tokens.owner(OTHER), tokens.owner("alice")) == (
        "alice", "bob", None,
    )  # fmt: skip
    assert TOKEN not in repr(vars(tokens))
    assert Tokens().owner(None) == "anyone"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--host=0.0.0.0"], "others can reach it"),
        (["--host=::"], "others can reach it"),
        (["--host=192.0.2.1"], "others can reach it"),
        (["--host=example.org"], "others can reach it"),
        (["--state=models/state"], "within the other"),
        (["--state=."], "within the other"),
        (["--root=x/models"], "is both"),
        (["--max-size=much"], "--max-size much"),
        (["--max-jobs=0"], "at least 1"),
    ],
)
def test_service_refuses_to_start(folder, options, message):
    (folder / "x/models").mkdir(parents=True, exist_ok=True)
    words = [sys.executable, "-m", "neuromfa", "serve", "--root=models", "--state=st", *options]
    run = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False, timeout=60)
    assert run.returncode == 2, run.stderr
    assert message in run.stderr


def test_absent_packages_are_named(monkeypatch):
    known = command.find_spec
    absent = ("uvicorn", "vl_convert")
    monkeypatch.setattr(command, "find_spec", lambda name: None if name in absent else known(name))
    for verb in (command.serve, command.mcp):
        with pytest.raises(ResourceError, match=r"neuromfa\[service\]"):
            verb.main(["--root=x=."], standalone_mode=False)


def test_loopback():
    assert all(map(is_loopback, ("127.0.0.1", "127.9.9.9", "::1", "[::1]", "localhost")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "10.0.0.1", "localhost.example", "")))
