"""The Hugging Face cache: found offline, and when not, the command that fetches it."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from broken.make import W, safetensors
from neuromfa.checkpoint import open_checkpoint
from neuromfa.errors import BadInputError, UsageError
from neuromfa.hub import cache_directory

A = "a" * 40
B = "ab" + "c" * 38
COMMAND = 'hf download org/name --revision {} --include "*.safetensors" --include "*.json"'
VARIABLES = (
    *("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"),
    *("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"),
)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache with two commits of org/name, in the layout that the Hugging Face tools write."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)
    repository = tmp_path / "hub" / "models--org--name"
    for commit, name in ((A, "first"), (B, "second")):
        blob = repository / "blobs" / name
        blob.parent.mkdir(parents=True, exist_ok=True)
        blob.write_bytes(safetensors({name: W}))
        snapshot = repository / "snapshots" / commit
        snapshot.mkdir(parents=True)
        (snapshot / "model.safetensors").symlink_to(f"../../blobs/{name}")
    for reference, commit in (("main", A), ("step64", B), ("refs/pr/1", B), ("lost", "d" * 40)):
        path = repository / "refs" / reference
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(commit)
    (repository / "refs" / "strange").write_text("../../..")
    (repository / "refs" / "long").write_bytes(b"\xff" * 200)
    return tmp_path / "hub"


@pytest.fixture
def download(monkeypatch):
    """Stands for huggingface_hub; its calls are kept, its answer can be set."""
    stand_in = SimpleNamespace(calls=[], answer=None)

    def snapshot_download(*args, **options):
        stand_in.calls.append((args, options))
        if isinstance(stand_in.answer, Exception):
            raise stand_in.answer
        return str(stand_in.answer)

    stand_in.snapshot_download = snapshot_download
    monkeypatch.setitem(sys.modules, "huggingface_hub", stand_in)
    return stand_in


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, "~/.cache/huggingface/hub"),
        ({"XDG_CACHE_HOME": "/x"}, "/x/huggingface/hub"),
        ({"XDG_CACHE_HOME": "/x", "HF_HOME": "/h"}, "/h/hub"),
        ({"HF_HOME": "~/h"}, "~/h/hub"),
        ({"HF_HOME": "/h", "HUGGINGFACE_HUB_CACHE": "/old"}, "/old"),
        ({"HF_HOME": "/h", "HUGGINGFACE_HUB_CACHE": "/old", "HF_HUB_CACHE": "~/c"}, "~/c"),
        ({"HF_HUB_CACHE": "", "HF_HOME": ""}, "~/.cache/huggingface/hub"),
    ],
)
def test_where_the_cache_is(variables, expected):
    assert cache_directory(variables) == Path(expected).expanduser()


@pytest.mark.parametrize(
    ("source", "revision", "commit"),
    [
        ("org/name", None, A),
        ("org/name", "main", A),
        ("org/name@main", None, A),
        ("org/name@main", "main", A),
        ("org/name@step64", None, B),
        ("org/name", "step64", B),
        ("org/name@refs/pr/1", None, B),
        (f"org/name@{A}", None, A),
        (f"org/name@{B}", None, B),
        ("org/name@aaaa", None, A),
        ("org/name@abccccc", None, B),
    ],
)
def test_revisions(cache, source, revision, commit):
    with open_checkpoint(source, revision=revision) as checkpoint:
        assert checkpoint.commit == commit
        assert list(checkpoint.tensors) == ["first" if commit == A else "second"]
        asked = revision or source.partition("@")[2] or "main"
        assert checkpoint.source == f"org/name@{asked}"
        assert [file.name for file in checkpoint.files] == ["model.safetensors"]
        assert checkpoint.read(next(iter(checkpoint.tensors))).shape == (2, 3)


@pytest.mark.parametrize(
    "revision", ["step1", "lost", "strange", "long", "abcd", "aaa", "e" * 40, "refs/pr", "pr/1"]
)
def test_revision_that_is_not_there(cache, revision):
    with pytest.raises(BadInputError) as refused:
        open_checkpoint(f"org/name@{revision}")
    assert str(refused.value) == (
        f"org/name@{revision}: no such path, and not in the cache {cache}; "
        f"fetch it: {COMMAND.format(revision)}"
    )


def test_start_of_two_commits(cache):
    other = "aaaa" + "0" * 36
    (cache / "models--org--name" / "snapshots" / other).mkdir()
    with pytest.raises(BadInputError) as refused:
        open_checkpoint("org/name@aaaa")
    assert str(refused.value) == (
        f"org/name@aaaa: fits 2 cached commits, {other} and {A}; give more digits"
    )


@pytest.mark.parametrize(
    ("source", "revision", "sentence"),
    [
        ("org/name@a", "b", "org/name@a: but revision b is asked for too; give it once"),
        ("org/name@../x", None,
         "org/name@../x: '../x' cannot be a revision; give a branch, tag or commit"),
        ("org/name@", None, "org/name@: '' cannot be a revision; give a branch, tag or commit"),
        ("org/name", "/etc", "org/name: '/etc' cannot be a revision; give a branch, tag or commit"),
        ("org/name", "a b", "org/name: 'a b' cannot be a revision; give a branch, tag or commit"),
    ],
)  # fmt: skip
def test_what_cannot_be_a_revision(cache, source, revision, sentence):
    with pytest.raises(UsageError) as refused:
        open_checkpoint(source, revision=revision)
    assert str(refused.value) == sentence


@pytest.mark.parametrize(
    "source", ["./org/name", "a/b/c", "name", "../name", "org/../x", "/org/name"]
)
def test_what_cannot_be_a_hub_name(cache, source):
    with pytest.raises(BadInputError) as refused:
        open_checkpoint(source)
    assert str(refused.value) == f"{source}: no such path; give a path or org/name[@revision]"


def test_path_wins_over_a_hub_name(cache, tmp_path):
    for name in ("org/name", "org/name@main"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "model.safetensors").write_bytes(safetensors({"local": W}))
        with open_checkpoint(name) as checkpoint:
            assert list(checkpoint.tensors) == ["local"]
            assert (checkpoint.source, checkpoint.commit) == (name, None)


def test_incomplete_snapshot(cache):
    snapshot = cache / "models--org--name" / "snapshots" / A
    (snapshot / "model.safetensors").unlink()
    with pytest.raises(BadInputError) as refused:
        open_checkpoint("org/name")
    fetch = f"fetch it: {COMMAND.format('main')}"
    assert str(refused.value) == f"{snapshot}: has no safetensors files; {fetch}"
    index = snapshot / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"w": "model-00001-of-00002.safetensors"}}))
    with pytest.raises(BadInputError) as refused:
        open_checkpoint("org/name")
    assert str(refused.value) == (
        f"{index}: names model-00001-of-00002.safetensors, which is not there; {fetch}"
    )


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize("variable", ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
@pytest.mark.parametrize("value", ["1", "true", "YES", "on"])
def test_offline_asks_nobody(download, monkeypatch, variable, value):
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv(variable, value)
    with pytest.raises(BadInputError, match="fetch it: hf download org/other --revision main "):
        open_checkpoint("org/other")
    assert download.calls == []


def test_download(cache, download, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    with open_checkpoint("org/name@step64"):
        assert download.calls == []  # it is in the cache
    download.answer = cache / "models--org--name" / "snapshots" / B
    with open_checkpoint("org/name@step1") as checkpoint:
        assert checkpoint.commit == B
    assert download.calls == [
        (
            ("org/name",),
            {
                "revision": "step1",
                "cache_dir": cache,
                "allow_patterns": ["*.safetensors", "*.json"],
            },
        )
    ]


def test_download_that_fails(cache, download, monkeypatch):
    monkeypatch.delenv("HF_HUB_OFFLINE")
    download.answer = ConnectionError("404 Client Error.\n\nRepository Not Found")
    with pytest.raises(BadInputError) as refused:
        open_checkpoint("org/name@step1")
    assert str(refused.value) == (
        f"org/name@step1: no such path, and not in the cache {cache}, and the download failed "
        f"(ConnectionError: 404 Client Error.); fetch it: {COMMAND.format('step1')}"
    )


def test_without_huggingface_hub(cache, monkeypatch):
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(BadInputError) as refused:
        open_checkpoint("org/name@step1")
    assert str(refused.value) == (
        f"org/name@step1: no such path, and not in the cache {cache}; "
        f"fetch it: {COMMAND.format('step1')}"
    )


def test_unreadable_cache(cache, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(BadInputError) as refused:
        open_checkpoint("org/name@aaaa")
    assert str(refused.value) == (
        f"{cache / 'models--org--name'}: cannot be read: permission denied; check its permissions"
    )
