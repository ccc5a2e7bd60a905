"""The house rules that a machine can check: layering, size, docstrings, start-up, honest pages."""

import ast
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ENGINE = ROOT / "engine" / "neuromfa"
KERNELS = ROOT / "kernels" / "neuromfa_kernels"

RANKS = (
    ("errors",),
    ("protocol",),
    ("neuromfa_kernels",),
    ("checkpoint", "dequantise"),
    ("architectures",),
    ("network",),
    ("multifractal",),
    ("surrogates", "reference"),
    ("results",),
    ("scheduler", "storage"),
    ("cluster",),
    ("analysis",),
    ("emergence", "scores", "graph"),
    ("report",),
    ("cli",),
    ("__init__",),
    ("__main__",),
)
"""Low to high; a module imports only lower ranks. A new module needs a place here."""

KERNEL_RANKS = (("radius",), ("cpu", "cuda"), ("__init__",))
WITHOUT_KERNELS = ("multifractal", "report", "cli")
"""These see arrays or results only: they work where the kernels do not."""

HEAVY = {
    *("cugraph", "cupy", "dask", "distributed", "huggingface_hub", "matplotlib", "mpi4py"),
    *("networkx", "numba", "pandas", "pylibcugraph", "torch", "transformers"),
}
HEAVY_IN_KERNELS = HEAVY - {"numba"}
SLOW_TO_START = {"llvmlite", "ml_dtypes", "numba", "numpy", "pyarrow", *HEAVY}
MAX_LINES = 300
PAGES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/*.md")
NOT_NOUNS = ("util", "utils", "helper", "helpers", "manager", "handler", "core", "base", "common")


def sources(folder):
    return sorted(folder.rglob("*.py"))


def module_name(path):
    return path.stem


@cache
def tree(path):
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def imported(node):
    """Full names that an import statement asks for; relative ones begin with a dot."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        base = "." * node.level + (node.module or "")
        joint = "" if base.endswith(".") else "."
        return [f"{base}{joint}{alias.name}" for alias in node.names]
    return []


def is_for_types_only(node):
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


def at_import_time(node):
    """Statements that run when the module is imported."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if is_for_types_only(child):
            continue
        yield child
        yield from at_import_time(child)


def rank_of(name, ranks):
    return next((rank for rank, names in enumerate(ranks) if name in names), None)


def modules_used(path, package):
    """(line, module) for every import of `package` or the kernels, also inside functions."""
    for node in ast.walk(tree(path)):
        for name in imported(node):
            parts = name.replace("..", ".").split(".")
            if parts[0] == "neuromfa_kernels" != package:
                yield node.lineno, "neuromfa_kernels"
            elif parts[0] in (package, ""):
                known = len(parts) > 1 and (path.parent / f"{parts[1]}.py").exists()
                yield node.lineno, parts[1] if known else "__init__"


@pytest.mark.parametrize(
    ("folder", "package", "ranks"),
    [(ENGINE, "neuromfa", RANKS), (KERNELS, "neuromfa_kernels", KERNEL_RANKS)],
    ids=["engine", "kernels"],
)
def test_nothing_imports_upwards(folder, package, ranks):
    wrong = []
    for path in sources(folder):
        own = rank_of(module_name(path), ranks)
        assert own is not None, f"{path.relative_to(ROOT)} has no rank: give it a place in RANKS"
        for line, name in modules_used(path, package):
            if name == "__init__" and path.stem == "cli":
                continue  # the version lives at the door
            if (rank := rank_of(name, ranks)) is None or rank >= own:
                wrong.append(f"{path.relative_to(ROOT)}:{line} imports {name}")
    assert not wrong


def test_kernels_know_nothing_above_them():
    for path in sources(KERNELS):
        for node in ast.walk(tree(path)):
            for name in imported(node):
                assert name.split(".")[0] not in {"neuromfa", "torch"}, (path.name, node.lineno)
                assert not name.startswith("cupy") or path.stem == "cuda", (path.name, node.lineno)


@pytest.mark.parametrize("name", WITHOUT_KERNELS)
def test_works_without_kernels(name):
    path = ENGINE / f"{name}.py"
    if path.exists():
        assert "neuromfa_kernels" not in {used for _, used in modules_used(path, "neuromfa")}


@pytest.mark.parametrize(
    ("folder", "heavy"), [(ENGINE, HEAVY), (KERNELS, HEAVY_IN_KERNELS)], ids=["engine", "kernels"]
)
def test_heavy_packages_wait_until_needed(folder, heavy):
    wrong = [
        f"{path.relative_to(ROOT)}:{node.lineno} imports {name}"
        for path in sources(folder)
        for node in at_import_time(tree(path))
        for name in imported(node)
        if name.split(".")[0] in heavy
    ]
    assert not wrong


def test_start_up_imports_nothing_slow():
    code = (
        "import sys\n"
        "sys.argv = ['neuromfa', '--help']\n"
        "from neuromfa.cli import main\n"
        "try:\n"
        "    main()\n"
        "except SystemExit as stop:\n"
        "    assert not stop.code, stop.code\n"
        "print('LOADED', *sys.modules)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    loaded = run.stdout.rsplit("LOADED", 1)[1].split()
    assert not SLOW_TO_START & set(loaded)


def test_files_fit_one_head():
    files = [p for f in (ENGINE, KERNELS) for p in f.rglob("*") if p.suffix in {".py", ".cu"}]
    files += [p for f in (ENGINE, KERNELS) for p in f.rglob("*.cuh")]
    assert files
    too_long = {
        str(path.relative_to(ROOT)): lines
        for path in files
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > MAX_LINES
    }
    assert not too_long


def test_files_are_named_after_what_they_hold():
    names = {path.stem for folder in (ENGINE, KERNELS, ROOT / "tests") for path in sources(folder)}
    assert not names & set(NOT_NOUNS)


def public_definitions(node, prefix=""):
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            if child.name.startswith("_"):
                continue
            yield f"{prefix}{child.name}", child
            if isinstance(child, ast.ClassDef):
                yield from public_definitions(child, f"{prefix}{child.name}.")


def is_overload(node):
    return any(ast.unparse(d).split(".")[-1] == "overload" for d in node.decorator_list)


def test_public_names_are_documented():
    missing = []
    for path in (*sources(ENGINE), *sources(KERNELS)):
        if not ast.get_docstring(tree(path)):
            missing.append(str(path.relative_to(ROOT)))
        missing += [
            f"{path.relative_to(ROOT)}:{node.lineno} {name}"
            for name, node in public_definitions(tree(path))
            if not ast.get_docstring(node) and not is_overload(node)
        ]
    assert not missing


def pages():
    return sorted(path for pattern in PAGES for path in ROOT.glob(pattern))


def anchors(page):
    """Fragment names that a reader's browser will find, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", heading).strip().lower() for heading in headings)
    return {heading.replace(" ", "-") for heading in plain}


def test_sections_that_docstrings_cite_exist():
    text = (ROOT / "docs" / "definitions.md").read_text(encoding="utf-8")
    existing = {int(n) for n in re.findall(r"^## (\d)\b", text, re.MULTILINE)}
    assert existing == set(range(8))
    for path in (*sources(ENGINE), *sources(KERNELS)):
        source = path.read_text(encoding="utf-8")
        for cited in re.findall(r"efinitions,\s+sections? ((?:\d|, | and | to )+)", source):
            assert {int(n) for n in re.findall(r"\d", cited)} <= existing, path.name


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, fragment = target.partition("#")
        linked = (page.parent / name) if name else page
        assert linked.exists(), f"{page.name} links to {target}"
        assert not fragment or fragment in anchors(linked), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_pages_name_no_missing_path(page):
    text = page.read_text(encoding="utf-8")
    for name in re.findall(
        r"(?<![\w/.])((?:engine|kernels|tests|bench|docs|\.ci)/[\w./*-]*)", text
    ):
        named = name.rstrip(".")
        assert any(ROOT.glob(named.rstrip("/"))), f"{page.name} names {named}"


def code(page):
    """Everything a page sets in code: blocks and inline."""
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    inline = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S))
    return [*blocks, *inline]


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_make_targets_exist(page):
    rules = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([\w-]+):", rules, re.MULTILINE))
    for text in code(page):
        for target in re.findall(r"\bmake ([a-z][\w-]*)", text):
            assert target in targets, f"{page.name} says make {target}"


@cache
def help_text(*verb):
    code = (
        "import sys\n"
        f"sys.argv = {['neuromfa', *verb, '--help']!r}\n"
        "from neuromfa.cli import main\n"
        "main()\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    return run.stdout if run.returncode == 0 else None


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_pages_name_no_missing_command(page):
    for text in code(page):
        for line in text.replace("\\\n", " ").splitlines():
            match = re.match(r"(?:\$ )?(?:\S*/)?neuromfa (.+)", line)
            if not match:
                continue
            words = match[1].split(" #")[0].split()
            verb = words[:1] if re.fullmatch("[a-z]+", words[0]) else []
            explained = help_text(*verb)
            assert explained is not None, f"{page.name}: neuromfa {' '.join(verb)} does not exist"
            for option in re.findall(r"(?<!\S)--[a-z][a-z-]*", match[1]):
                assert re.search(rf"{option}\b", explained), f"{page.name}: {line}"


def test_command_reference_is_complete():
    text = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    explained = help_text("analyse")
    in_help = set(re.findall(r"(?<!\S)--[a-z][a-z-]*", explained)) - {"--help"}
    in_page = set(re.findall(r"^\| `(?:-\w, )?(--[a-z][a-z-]*)", text, re.MULTILINE))
    everywhere = set(re.findall(r"--[a-z][a-z-]*", help_text() or ""))
    assert in_help <= in_page
    assert in_page <= in_help | everywhere | set(
        option
        for verb in ("plan", "architectures", "doctor")
        for option in re.findall(r"--[a-z][a-z-]*", help_text(verb) or "")
    )


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_python_in_pages_uses_names_that_exist(page):
    import neuromfa  # noqa: PLC0415  (the other tests here need no working package)

    text = page.read_text(encoding="utf-8")
    for block in re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "neuromfa":
                assert hasattr(neuromfa, node.attr), f"{page.name}: neuromfa.{node.attr}"
            if isinstance(node, ast.ImportFrom) and node.module == "neuromfa":
                for alias in node.names:
                    assert hasattr(neuromfa, alias.name), f"{page.name}: {alias.name}"


def project_files():
    git = shutil.which("git")
    if git and (ROOT / ".git").exists():
        command = [git, "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        return [
            path for name in listed.stdout.split("\0") if name and (path := ROOT / name).is_file()
        ]
    folders = ("engine", "kernels", "tests", "bench", "docs")
    inside = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file()]
    return [*inside, *(path for path in ROOT.glob("*") if path.is_file())]


ELSEWHERE = re.compile(
    r"(?<![\w.~}/-])/(?:work|home|root|tmp|Users)/\w"  # a path of one machine
    r"|\.\./shared|\bfindings/"  # papers that are not in the tree
)


def test_tree_stands_on_its_own():
    wrong = []
    for path in project_files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        if path == Path(__file__):
            continue
        for number, line in enumerate(text.splitlines(), 1):
            if ELSEWHERE.search(line):
                wrong.append(f"{path.relative_to(ROOT)}:{number} {line.strip()[:80]}")
    assert not wrong


def test_the_checks_see_what_they_should(tmp_path):
    # Each check above, on something that must not pass.
    module = tmp_path / "results.py"
    module.write_text(
        "import typing\n"
        "if typing.TYPE_CHECKING:\n    import pandas\n"
        "try:\n    import torch.nn\nexcept ImportError:\n    pass\n"
        "def public():\n    from neuromfa import cli\n    import cupy\n"
    )
    (tmp_path / "cli.py").write_text("")
    names = [name for node in at_import_time(tree(module)) for name in imported(node)]
    assert names == ["typing", "torch.nn"]
    assert list(modules_used(module, "neuromfa")) == [(9, "cli")]
    assert rank_of("cli", RANKS) > rank_of("results", RANKS)
    assert [name for name, _ in public_definitions(tree(module))] == ["public"]
    for line in ("open('/home/me/x')", "see ../shared/spec.md", "`/work/main`"):
        assert ELSEWHERE.search(line)
    for line in ("https://example.org/home/x", "$HOME/tmp/x", "a/tmp/b", "docs/work/x"):
        assert not ELSEWHERE.search(line)
