"""The written pages: what they link to, name and tell a reader to type exists."""

import ast
import contextlib
import io
import re
import sys
from functools import cache
from pathlib import Path
from unittest import mock

import pytest

import neuromfa
from neuromfa.cli import main

ROOT = Path(__file__).parent.parent
PAGES = [
    path
    for pattern in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/*.md")
    for path in sorted(ROOT.glob(pattern))
]
EVERY_PAGE = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
SOURCES = [path for room in ("engine", "kernels") for path in sorted((ROOT / room).rglob("*.py"))]
VERBS = (
    *("analyse", "plan", "architectures", "compare", "doctor", "report", "scores"),
    *("graph", "network", "hops"),
    *("serve", "mcp"),
)
GROUPS = ("suite",)
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
PATH = re.compile(r"(?<![\w/.-])((?:engine|kernels|tests|bench|docs|\.ci)/[\w./*-]*)")


@cache
def text_of(page):
    return page.read_text(encoding="utf-8")


def anchors(page):
    """Fragment names that a browser will find, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", text_of(page), re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", heading).strip().lower() for heading in headings)
    return {heading.replace(" ", "-") for heading in plain}


def blocks(page, language=r"\w*"):
    return re.findall(rf"^```{language}\n(.*?)^```", text_of(page), re.MULTILINE | re.DOTALL)


def code(page):
    """Everything that a page sets as code: blocks and inline."""
    prose = re.sub(r"^```.*?^```", "", text_of(page), flags=re.MULTILINE | re.DOTALL)
    return [*blocks(page), *re.findall(r"`([^`\n]+)`", prose)]


def commands(text):
    """Arguments of each call of the command in a piece of code."""
    for line in text.replace("\\\n", " ").splitlines():
        if match := re.match(r"\s*(?:\$ )?(?:[\w./]*/)?neuromfa (?!-?error)(.+)", line):
            yield match[1].split(" #")[0].split()


@cache
def help_text(*verb):
    """What ``neuromfa VERB --help`` prints; None if there is no such verb."""
    printed = io.StringIO()
    with (
        mock.patch.object(sys, "argv", ["neuromfa", *verb, "--help"]),
        contextlib.redirect_stdout(printed),
        contextlib.redirect_stderr(io.StringIO()),
        pytest.raises(SystemExit) as stop,
    ):
        main()
    return printed.getvalue() if not stop.value.code else None


def options_of(verb):
    return set(OPTION.findall(help_text(*verb.split())))


def test_there_are_pages():
    assert {"README.md", "definitions.md", "tutorial.md", "commands.md"} <= {p.name for p in PAGES}


@EVERY_PAGE
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", text_of(page)):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, fragment = target.partition("#")
        linked = (page.parent / name) if name else page
        assert linked.exists(), target
        assert not fragment or fragment in anchors(linked), target


@EVERY_PAGE
def test_paths_exist(page):
    for name in PATH.findall(text_of(page)):
        assert any(ROOT.glob(name.rstrip("./"))), name


@EVERY_PAGE
def test_make_targets_exist(page):
    targets = set(re.findall(r"^([\w-]+):", text_of(ROOT / "Makefile"), re.MULTILINE))
    for text in code(page):
        for target in re.findall(r"\bmake ([a-z][\w-]*)", text):
            assert target in targets, target


@EVERY_PAGE
def test_commands_exist(page):
    for text in code(page):
        for words in commands(text):
            verb = words[:1] if re.fullmatch("[a-z]+", words[0]) else []
            verb = words[:2] if words[0] in GROUPS or " ".join(words[:2]) in VERBS else verb
            explained = help_text(*verb)
            assert explained is not None, words
            for option in OPTION.findall(" ".join(words)):
                assert option in OPTION.findall(explained), (words, option)


@pytest.mark.parametrize("verb", VERBS)
def test_command_reference_is_complete(verb):
    sections = re.split(r"^## ", text_of(ROOT / "docs" / "commands.md"), flags=re.MULTILINE)
    (own,) = (section for section in sections if section.startswith(f"`neuromfa {verb}"))
    documented = set(re.findall(r"^\| `(--[a-z][a-z-]*)", own, re.MULTILINE))
    if verb in ("compare", "plan"):  # take the options of an analysis that they refer to
        (analyse,) = (section for section in sections if section.startswith("`neuromfa analyse"))
        documented |= set(re.findall(r"^\| `(--[a-z][a-z-]*)", analyse, re.MULTILINE))
        assert options_of(verb) - {"--help"} <= documented
    else:
        assert options_of(verb) - {"--help"} == documented


@EVERY_PAGE
def test_python_names_exist(page):
    for block in blocks(page, "python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "neuromfa":
                assert hasattr(neuromfa, node.attr), node.attr
            if isinstance(node, ast.ImportFrom) and node.module == "neuromfa":
                for alias in node.names:
                    assert hasattr(neuromfa, alias.name), alias.name


def test_sections_that_docstrings_cite_exist():
    page = text_of(ROOT / "docs" / "definitions.md")
    existing = {int(n) for n in re.findall(r"^## (\d)\. ", page, re.MULTILINE)}
    assert existing == set(range(8))
    cited = 0
    for path in SOURCES:
        for where in re.findall(r"efinitions,\s+sections? ((?:\d|, | and | to )+)", text_of(path)):
            numbers = {int(n) for n in re.findall(r"\d", where)}
            assert numbers <= existing, path.name
            cited += 1
    assert cited


def test_the_checks_see_what_they_should():
    assert list(commands("$ .venv/bin/neuromfa analyse x --json  # all\nmake demo")) == [
        ["analyse", "x", "--json"]
    ]
    assert list(commands("neuromfa plan \\\n  here")) == [["plan", "here"]]
    assert help_text("analyse")
    assert help_text("analyze") == help_text("analyse").replace("analyse ", "analyze ", 1)
    assert help_text("guess") is None
    assert PATH.findall("see bench/table.py, (docs/*.md) or x/tests/y") == [
        "bench/table.py",
        "docs/*.md",
    ]
