"""Everything that should not get in, and does not: paths, links, suite files, names of results."""

import asyncio
import json
import os
import subprocess
import sys
from urllib.parse import unquote

import pytest

from neuromfa.errors import NeuromfaError
from neuromfa.service.roots import Roots
from neuromfa.service.settings import Settings
from serving import client_of, ended, settings_for, write_models
from tiny_training import weights, write_checkpoint

SECRET = "the content of a file that nobody may see"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A root with good checkpoints, and links in it that lead out of it in every way."""
    found = tmp_path_factory.mktemp("attacks")
    models, outside = write_models(found), found / "outside"
    write_checkpoint(outside / "step0", weights(0, seed=5))
    (outside / "secret.json").write_text(json.dumps(SECRET))
    (outside / "suite.toml").write_text('[[model]]\nname = "x"\ncheckpoints = ["step0"]\n')
    (models / "link").symlink_to(outside / "step0")
    (models / "up").symlink_to("..")
    (models / "parent").symlink_to(outside)
    (models / "loop").symlink_to("loop")
    (models / "gone").symlink_to(found / "nothing")
    (models / "suite-link.toml").symlink_to(outside / "suite.toml")
    (found / "models-more").mkdir()
    write_checkpoint(found / "models-more/step0", weights(0))
    return found


@pytest.fixture(scope="module")
def client(folder):
    """Never started: what gets in stays in the queue, where it is seen."""
    return client_of(settings_for(folder, limits={"queued": 9999}))


@pytest.fixture(scope="module")
def at_work(folder):
    settings = settings_for(folder)
    settings = Settings(roots=settings.roots, state=folder / "state-at-work")
    with client_of(settings) as found:
        yield found


PATHS = {
    "empty": "",
    "root of the system": "/",
    "absolute": "/etc/passwd",
    "absolute within": "{models}/tiny/step0",
    "parent": "models/../outside/step0",
    "only a parent": "models/..",
    "parents, then back": "models/../models/tiny/step0",
    "parent at the front": "../outside/step0",
    "here": "models/./tiny/step0",
    "twice the slash": "models//tiny/step0",
    "slashes at the end": "models/tiny/step0//",
    "backslashes": "models\\..\\outside\\step0",
    "percent": "models/%2e%2e/outside/step0",
    "percent slash": "models%2ftiny%2fstep0",
    "percent twice": "models/%252e%252e/outside/step0",
    "overlong": "models/\u00c0\u00ae\u00c0\u00ae/outside/step0",
    "full-width dots": "models/\uff0e\uff0e/outside/step0",
    "two-dot leader": "models/\u2025/outside/step0",
    "division slash": "models\u2215tiny\u2215step0",
    "full-width slash": "models\uff0ftiny",
    "override": "models/\u202etiny",
    "zero width": "models/\u200btiny/step0",
    "NUL": "models/tiny\0/step0",
    "NUL at the end": "models/tiny/step0\0.safetensors",
    "newline": "models/tiny/step0\n",
    "tab": "models/\ttiny",
    "half a surrogate": "models/\ud800",
    "blank": "models/ tiny/step0",
    "blank around": " models/tiny/step0",
    "case": "Models/tiny/step0",
    "case within": "models/Tiny/step0",
    "name that begins so": "models-more/step0",
    "another root": "outside/step0",
    "home": "~/models",
    "variable": "$HOME/models",
    "link": "models/link",
    "file behind a link": "models/link/model.safetensors",
    "linked parent": "models/parent/step0",
    "link up": "models/up/outside/step0",
    "link up and back": "models/up/models-more/step0",
    "loop": "models/loop",
    "broken link": "models/gone",
    "nothing": "models/nothing",
    "behind a file": "models/suite.toml/x",
    "file URL": "file:///etc/passwd",
    "http": "http://127.0.0.1/models",
    "hub": "org/name",
    "hub revision": "org/name@main",
    "process": "/proc/self/root/etc/passwd",
    "descriptor": "/dev/fd/3",
    "standard input": "-",
    "too long": "models/" + "x" * 1100,
    "too long a part": "models/" + "x" * 300,
    "too deep": "models" + "/x" * 500,
    "wildcard": "models/tiny/step*",
    "number": 7,
    "list": ["models/tiny/step0"],
    "null": None,
}


@pytest.mark.parametrize("kind", ["plans", "analyses", "suites", "suite-statuses", "comparisons"])
@pytest.mark.parametrize("name", PATHS)
def test_paths_are_refused(client, folder, name, kind):
    path = PATHS[name]
    if isinstance(path, str):
        path = path.format(models=folder / "models")
    fields = {"suites": "suite", "suite-statuses": "suite"}
    request = {fields.get(kind, "checkpoint"): path}
    if kind == "comparisons":
        request = {"a": "models/tiny/step0", "b": path}
    body = json.dumps(request).encode()
    answer = client.post(f"/v1/{kind}", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert str(folder / "outside") not in answer.text
    assert client.get("/v1/jobs").json() == []


def test_outside_and_missing_are_told_alike(client):
    """A client learns nothing about what is outside."""
    details = {
        client.post("/v1/plans", json={"checkpoint": f"models/{name}"}).json()["detail"]
        .replace(f"models/{name}:", "NAME")
        for name in ("link", "nothing", "gone", "parent/step0", "parent/nothing", "loop")
    }  # fmt: skip
    assert len(details) == 1


@pytest.mark.parametrize("slash", ["", "/"])
def test_good_paths_are_taken(folder, slash):
    roots = Roots({"models": folder / "models"})
    assert roots.resolve(f"models/tiny/step0{slash}") == (folder / "models/tiny/step0").resolve()
    assert roots.resolve(f"models{slash}") == (folder / "models").resolve()


def test_links_within_a_root_are_followed(folder, tmp_path):
    """As in the cache of the hub, where snapshots are made of links."""
    (tmp_path / "cache/blobs").mkdir(parents=True)
    (tmp_path / "cache/snapshot").mkdir()
    source = folder / "models/tiny/step0"
    for name in ("config.json", "model.safetensors"):
        (tmp_path / "cache/blobs" / name).write_bytes((source / name).read_bytes())
        (tmp_path / "cache/snapshot" / name).symlink_to(f"../blobs/{name}")
    roots = Roots({"hub": tmp_path / "cache"})
    settings = Settings(roots=roots, state=tmp_path / "state")
    with client_of(settings) as client:
        job = client.post("/v1/plans", json={"checkpoint": "hub/snapshot"}).json()
        found = ended(client, job["id"])
    assert found["state"] == "done", found["problem"]


def checkpoint_whose(name, folder, number):
    """A checkpoint below the root with one file that is a link out of it."""
    place = folder / "models" / f"trap{number}"
    write_checkpoint(place, weights(0))
    source, target = place / name, folder / "outside/step0" / name
    source.unlink(missing_ok=True)
    if name == "model.safetensors.index.json":
        (place / "model.safetensors").unlink()
        target = folder / "outside/secret.json"
    if name == "part.safetensors":
        (place / "model.safetensors").unlink()
        index = {"weight_map": dict.fromkeys(weights(0), name)}
        (place / "model.safetensors.index.json").write_text(json.dumps(index))
        target = folder / "outside/step0/model.safetensors"
    source.symlink_to(target)
    return f"models/trap{number}"


TRAPS = ("model.safetensors", "config.json", "model.safetensors.index.json", "part.safetensors")


@pytest.mark.parametrize("name", TRAPS)
def test_links_in_a_checkpoint_lead_nowhere(at_work, folder, name):
    checkpoint = checkpoint_whose(name, folder, TRAPS.index(name))
    job = at_work.post("/v1/analyses", json={"checkpoint": checkpoint}).json()
    found = ended(at_work, job["id"])
    assert found["state"] == "failed"
    assert "outside the roots" in found["problem"]["detail"]
    assert SECRET not in json.dumps(found)
    assert str(folder) not in json.dumps(found)


SUITES = {
    "parent": 'checkpoints = ["../outside/step0"]',
    "absolute": 'checkpoints = ["OUTSIDE/step0"]',
    "pattern": 'checkpoints = ["../outside/*"]',
    "pattern and up": 'checkpoints = ["tiny/*/../../../outside/step0"]',
    "named": 'checkpoints = [{ path = "../outside/step0", step = 1 }]',
    "link": 'checkpoints = ["link"]',
    "linked parent": 'checkpoints = ["parent/step*"]',
    "pattern over links": 'checkpoints = ["par*/step0"]',
    "pattern of links": 'checkpoints = ["lin*"]',
    "hub": 'hub = "org/name"\nrevisions = ["main"]',
    "looks like the hub": 'checkpoints = ["org/name"]',
}
HEADS = {
    "pickle": "allow_pickle = true",
    "architectures": 'architectures = "../outside/secret.json"',
    "scores": '[[scores]]\nfiles = ["../outside/*.json"]',
    "linked scores": '[[scores]]\nfiles = ["parent/*.json"]',
    "scores by a pattern": '[[scores]]\nfiles = ["par*/*.json"]',
}


@pytest.mark.parametrize("name", [*SUITES, *HEADS])
def test_suite_files_lead_nowhere(at_work, folder, name):
    good = 'checkpoints = ["tiny/step*"]'
    table = SUITES.get(name, good).replace("OUTSIDE", str(folder / "outside"))
    text = f'controls = false\n[[model]]\nname = "m"\n{table}\n'
    head = HEADS.get(name, "")
    text = f"{text}{head}\n" if head.startswith("[[") else f"{head}\n{text}"
    (folder / "models/attack.toml").write_text(text)
    job = at_work.post("/v1/suites", json={"suite": "models/attack.toml"}).json()
    found = ended(at_work, job["id"])
    assert found["state"] in ("failed", "partial")
    assert "done" not in (found["summary"] or {}).get("states", {})
    assert SECRET not in json.dumps(found)
    log = at_work.app.state.runner.jobs.directory(job["id"]) / "log.txt"
    assert "Traceback" not in log.read_text()


@pytest.mark.parametrize("name", ["large.toml", "pipe.toml", "tiny"])
def test_suite_files_are_small_files(at_work, folder, name):
    large, pipe = folder / "models/large.toml", folder / "models/pipe.toml"
    large.touch()
    os.truncate(large, 1 << 40)  # no memory holds it, and no disk needs to
    if not pipe.exists():
        os.mkfifo(pipe)
    job = at_work.post("/v1/suites", json={"suite": f"models/{name}"}).json()
    found = ended(at_work, job["id"])
    assert found["problem"]["type"] == "urn:neuromfa:problem:bad-input"
    assert "give a suite file" in found["problem"]["detail"]


def test_status_beside_a_file_that_writes_elsewhere(at_work, folder):
    (folder / "models/away.toml").write_text(
        'output = "../outside"\n[[model]]\nname = "m"\ncheckpoints = ["tiny/step*"]\n'
    )
    job = at_work.post("/v1/suite-statuses", json={"suite": "models/away.toml"}).json()
    assert ended(at_work, job["id"])["problem"]["status"] == 415


FILES = (
    "log.txt", "../log.txt", "%2e%2e/jobs.sqlite", "..%2f..%2fjobs.sqlite", "....//jobs.sqlite",
    "/etc/passwd", "%2fetc%2fpasswd", "plan.json%00", "plan.json/", "./plan.json", "PLAN.JSON",
    "plan.jso", "..", ".", "%252e%252e/jobs.sqlite", "\\..\\jobs.sqlite", "linked.json",
    ".hidden.json",
)  # fmt: skip


def raw_get(app, path):
    """Status and text, for a path just as it is: clients would tidy it up."""
    scope = {
        "type": "http", "method": "GET", "scheme": "http", "http_version": "1.1",
        "path": unquote(path), "raw_path": path.encode(), "query_string": b"", "root_path": "",
        "headers": [(b"host", b"localhost")], "client": ("127.0.0.1", 9), "server": ("x", 80),
    }  # fmt: skip
    sent, asked = [], [{"type": "http.request"}]

    async def receive():
        return asked.pop() if asked else await asyncio.Event().wait()

    async def send(message):
        sent.append(message)

    asyncio.run(app(scope, receive, send))
    text = b"".join(message.get("body", b"") for message in sent[1:])
    return sent[0]["status"], text.decode("utf-8", "replace")


@pytest.fixture(scope="module")
def planned(at_work, folder):
    job = at_work.post("/v1/plans", json={"checkpoint": "models/tiny/step0"}).json()
    assert ended(at_work, job["id"])["state"] == "done"
    directory = at_work.app.state.runner.jobs.directory(job["id"])
    (directory / "linked.json").symlink_to(folder / "outside/secret.json")
    (directory / ".hidden.json").write_text("{}")
    return job["id"]


@pytest.mark.parametrize("base", ["/v1/jobs", "/jobs"])
@pytest.mark.parametrize("name", FILES)
def test_files_are_only_those_of_the_results(at_work, planned, name, base):
    assert raw_get(at_work.app, f"{base}/{planned}/files/plan.json")[0] == 200
    status, text = raw_get(at_work.app, f"{base}/{planned}/files/{name}")
    assert status == 404
    assert SECRET not in text


GUARDED = """
import os, pathlib, socket, subprocess, sys, tempfile
tempfile.gettempdir()
from neuromfa.service.guard import confine
from neuromfa.service.roots import Roots
root, own, outside = map(pathlib.Path, sys.argv[1:])
confine(Roots({"r": root}), own)
(own / "file").write_text("x")
assert (root / "good").read_text() == "x"
assert os.listdir(root)
import json.tool, email.mime.image  # Python may still be imported
for attempt in (
    lambda: (root / "link").read_text(),
    lambda: (root / "parent/secret").read_text(),
    lambda: os.open(root / "link", os.O_RDONLY),
    lambda: os.listdir(root / "parent"),
    lambda: list(os.scandir(outside)),
    lambda: (outside / "secret").read_text(),
    lambda: (root / "../outside/secret").read_text(),
    lambda: open(b"/etc/passwd"),
    lambda: (root / "good").open("r+"),
    lambda: (root / "new").write_text("x"),
    lambda: os.open(root / "good", os.O_WRONLY),
    lambda: (outside / "new").write_text("x"),
    lambda: socket.create_connection(("127.0.0.1", 9)),
    lambda: os.system("true"),
    lambda: os.execv("/bin/true", ["true"]),
    lambda: subprocess.run(["true"]),
    lambda: open(os.path.join(tempfile.gettempdir(), "x"), "w"),
):
    try:
        attempt()
    except PermissionError:
        continue
    sys.exit(f"was not refused: {attempt.__code__.co_firstlineno}")
print("all refused")
"""


def test_guard_looks_when_files_are_opened(tmp_path):
    """A link that appears after a name was resolved leads nowhere either."""
    for name in ("root", "own", "outside"):
        (tmp_path / name).mkdir()
    (tmp_path / "root/good").write_text("x")
    (tmp_path / "outside/secret").write_text(SECRET)
    (tmp_path / "root/link").symlink_to(tmp_path / "outside/secret")
    (tmp_path / "root/parent").symlink_to(tmp_path / "outside")
    places = [str(tmp_path / name) for name in ("root", "own", "outside")]
    run = subprocess.run(
        [sys.executable, "-c", GUARDED, *places], capture_output=True, text=True, check=False
    )
    assert run.stdout == "all refused\n", run.stderr


def test_roots_have_names(tmp_path):
    for name in ("a", "b/a"):
        (tmp_path / name).mkdir(parents=True)
    roots = Roots.parse([str(tmp_path / "a"), f"other={tmp_path / 'b/a'}"])
    assert list(roots.directories) == ["a", "other"]
    assert roots.hide(f"see {tmp_path}/b/a/x") == "see other/x"
    for options in ([], ["x=/nothing"], [f"bad name={tmp_path}"], [str(tmp_path / "nothing")]):
        with pytest.raises(NeuromfaError):
            Roots.parse(options)
