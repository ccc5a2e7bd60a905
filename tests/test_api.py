"""The public API: frozen, documented to the last parameter, with examples that run."""

import ast
import doctest
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import api_page
import neuromfa

ROOT = Path(__file__).parent.parent
PUBLIC = [
    pytest.param(package, name, thing, id=f"{package}.{name}")
    for package, name, thing in api_page.public()
]
CALLABLE = [case for case in PUBLIC if callable(case.values[2])]
AGAIN = "run: python tests/api_page.py"


def test_the_surface_is_frozen():
    stored = api_page.SURFACE.read_text(encoding="utf-8").splitlines()
    found = api_page.surface().splitlines()
    gone, new = sorted(set(stored) - set(found)), sorted(set(found) - set(stored))
    assert (gone, new) == ([], []), f"a change for callers: {AGAIN}, and tell it in CHANGELOG.md"


def test_the_page_is_fresh():
    assert api_page.PAGE.read_text(encoding="utf-8") == api_page.page(), AGAIN


def documented_names(doc, *sections):
    """Names that a docstring describes in some sections."""
    _, *parts = api_page.SECTION.split(inspect.cleandoc(doc or ""))
    names = set()
    for title, body in zip(parts[::2], parts[1::2], strict=True):
        if title in sections:
            heads = re.findall(r"^\S.*$", body, re.MULTILINE)
            names |= {
                name.strip(" *") for head in heads for name in head.split(" : ")[0].split(",")
            }
    return names


@pytest.mark.parametrize(("package", "name", "thing"), CALLABLE)
def test_every_parameter_is_documented(package, name, thing):
    if api_page.kind_of(thing) == "Errors":
        return
    wanted = {p for p in inspect.signature(thing).parameters if not p.startswith("_")}
    sections = ("Parameters", "Attributes")
    assert wanted - documented_names(thing.__doc__, *sections) == set()


@pytest.mark.parametrize(("package", "name", "thing"), CALLABLE)
def test_everything_is_typed(package, name, thing):
    def untyped(function):
        found = inspect.signature(function)
        return [
            p.name
            for p in found.parameters.values()
            if p.annotation is inspect.Parameter.empty and p.name not in ("self", "cls")
        ]

    if api_page.kind_of(thing) == "Errors":
        return
    assert untyped(thing) == []
    if inspect.isclass(thing):
        for member, function, _ in api_page.members(thing):
            assert untyped(function) == [], member
            assert function.__doc__, member


EXAMPLES = [
    pytest.param(test, id=test.name)
    for package, name, thing in api_page.public()
    if api_page.kind_of(thing) in ("Functions", "Classes")
    for test in doctest.DocTestFinder(recurse=False).find(thing, f"{package}.{name}", globs={})
    if test.examples
]


@pytest.mark.parametrize("test", EXAMPLES)
def test_examples_run(test, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    result = doctest.DocTestRunner(verbose=False).run(test, clear_globs=False)
    assert result.failed == 0, capsys.readouterr().out


def test_functions_have_examples():
    shown = {case.values[0].name.split(".")[1] for case in EXAMPLES}
    needs_files = {"associate", "join", "read_analysis", "read_suite", "reference_emergence"}
    functions = {n for _, n, thing in api_page.public() if api_page.kind_of(thing) == "Functions"}
    assert functions - shown == needs_files | {"analyse_hops", "run_suite"}


def test_names_are_those_of_the_package():
    tree = ast.parse(Path(neuromfa.__file__).read_text(encoding="utf-8"))
    (checked,) = (node for node in tree.body if isinstance(node, ast.If))
    typed = {alias.name for node in checked.body for alias in node.names}
    assert sorted(neuromfa.__all__) == neuromfa.__all__
    assert typed == set(neuromfa.__all__) == set(neuromfa._HOME)
    assert set(neuromfa.__all__) <= set(dir(neuromfa))


def test_importing_costs_nothing():
    code = "import sys, neuromfa; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"numpy", "numba", "torch", "pyarrow"} & set(run.stdout.split())


def test_the_checks_see_what_they_should():
    def example(first, second: int = 3, *rest: str, **others: "float") -> None:
        """Do.

        Parameters
        ----------
        first : int
            One.
        second, *rest : int
            More.
        """

    assert api_page.signature(example) == (
        "(first, second: int = 3, *rest: str, **others: float) -> None"
    )
    assert api_page.laid_out("f", example).startswith("f(first, second: int")
    assert documented_names(example.__doc__, "Parameters") == {"first", "second", "rest"}
