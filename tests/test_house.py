"""The house rules that a machine can check: layering, start-up, size, names, docstrings."""

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
    ("plug_ins", "protocol", "revisions"),
    ("neuromfa_kernels",),
    ("gpu_arrays",),
    ("tensors",),
    ("hub", "mounts", "safetensors_file"),
    ("mapped_files",),
    ("directory", "mapped_files", "memory", "npy_file", "pickle_file", "process_group", "shards"),
    ("sharded_arrays",),
    ("checkpoint", "dequantise"),
    ("patterns",),
    ("families",),
    ("architectures",),
    ("layers",),
    ("placing",),
    ("recognition",),
    ("network",),
    ("multifractal",),
    ("dimension", "jackknife", "records"),
    ("group",),
    ("results",),
    ("groups", "devices", "gpu_plan", "storage"),
    ("options",),
    ("units",),
    ("scheduler",),
    ("measure", "provenance", "read_ahead"),
    ("gpu",),
    ("lanes", "sharded"),
    ("cluster",),
    ("measuring",),
    ("scale", "spectral_norm"),
    ("structure",),
    ("analysis",),
    ("doctor", "preview"),
    ("console",),
    ("emergence",),
    ("graphs", "reference", "scores"),
    ("suites",),
    ("reports", "training"),
    ("graph_verbs",),
    ("service",),
    ("cli",),
    ("__init__",),
    ("__main__",),
)
"""Low to high; a module imports only lower ranks. A new module, or a room (a folder of modules, one
place), needs a place here."""

KERNEL_RANKS = (
    ("powers", "radius"),
    ("answers", "arrays", "cpu_jit", "cpu_memory", "cpu_threads", "cuda_driver"),
    ("cpu_bits", "cpu_slots", "cpu_vectors"),
    ("cpu_batches", "cpu_strips"),
    ("cpu_codes",),
    ("cpu_counts", "cpu_dimension", "cpu_hops", "cpu_partition", "cpu_paths"),
    ("cuda_arrays", "cuda_items"),
    ("cuda_feed",),
    ("cuda_counts", "cuda_dimension", "cuda_hops", "cuda_partition", "cuda_paths"),
    ("cpu", "cuda"),
    ("door",),
    ("hops",),
    ("__init__",),
)
ROOMS = pytest.mark.parametrize(
    ("folder", "ranks"), [(ENGINE, RANKS), (KERNELS, KERNEL_RANKS)], ids=["engine", "kernels"]
)
WITHOUT_KERNELS = ("multifractal", "results", "storage", "reports", "console", "cli")
"""These see arrays or results only: they work where the kernels do not."""

WITH_CUPY = {"cuda_arrays", "cuda_driver"}
HEAVY = {
    *(
        "cugraph",
        "cupy",
        "dask",
        "distributed",
        "huggingface_hub",
        "jinja2",
        "mpi4py",
    ),
    *("networkx", "numba", "pandas", "pylibcugraph", "scipy", "torch", "transformers"),
    *("accelerate", "lightning", "pytorch_lightning", "vl_convert"),
}
MADE_FOR = {
    "hugging_face_trainer": {"transformers"},
    "lightning_trainer": {"lightning", "pytorch_lightning"},
}
"""Modules that are loaded by name only, by those who have these packages."""
SLOW_TO_START = {"llvmlite", "ml_dtypes", "numpy", "pyarrow", "safetensors", *HEAVY}
MAX_LINES = 300
NOT_NOUNS = {
    *("base", "common", "constants", "core", "handler", "handlers", "helper", "helpers"),
    *("info", "manager", "misc", "util", "utils"),
}
ELSEWHERE = re.compile(
    r"(?<![\w.~}/-])/(?:work|home|root|tmp|Users)/\w"  # a path of one machine
    r"|\.\./shared|\bfindings/"  # papers that are not in the tree
)


def sources(folder):
    return sorted(folder.rglob("*.py"))


def shown(path):
    return str(path.relative_to(ROOT))


@cache
def tree(path):
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def imported(node):
    """Full names that an import statement asks for; relative ones begin with a dot."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        base = "." * node.level + (node.module or "")
        return [f"{base.rstrip('.')}.{alias.name}" for alias in node.names]
    return []


def at_import_time(node):
    """Statements that run when the module is imported."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING"):
            continue
        yield child
        yield from at_import_time(child)


def rank_of(name, ranks):
    return next((rank for rank, names in enumerate(ranks) if name in names), None)


def home(path, folder):
    """A module, or the room of its own that it stands in."""
    return path.relative_to(folder).parts[0].removesuffix(".py")


def modules_used(path, folder):
    """(line, module or room) for every import of the package or the kernels, also in functions."""
    for node in ast.walk(tree(path)):
        for name in imported(node):
            first, *rest = name.split(".")
            if first == "neuromfa_kernels" != folder.name:
                yield node.lineno, first
            elif first in (folder.name, ""):
                known = rest and any((folder / n).exists() for n in (rest[0], f"{rest[0]}.py"))
                yield node.lineno, rest[0] if known else "__init__"


@ROOMS
def test_nothing_imports_upwards(folder, ranks):
    wrong = []
    for path in sources(folder):
        here = home(path, folder)
        own = rank_of(here, ranks)
        assert own is not None, f"{shown(path)} has no rank: give it a place in RANKS"
        for line, name in modules_used(path, folder):
            if (here, name) == ("cli", "__init__") or here == name != path.stem:
                continue  # the version lives at the door; a room is one place
            rank = rank_of(name, ranks)
            if rank is None or rank >= own:
                wrong.append(f"{shown(path)}:{line} imports {name}")
    assert not wrong


def test_kernels_know_nothing_above_them():
    for path in sources(KERNELS):
        for node in ast.walk(tree(path)):
            for name in imported(node):
                first = name.split(".")[0]
                assert first not in {"neuromfa", "torch"}, f"{shown(path)}:{node.lineno}"
                assert first != "cupy" or path.stem in WITH_CUPY, f"{shown(path)}:{node.lineno}"


@pytest.mark.parametrize("name", WITHOUT_KERNELS)
def test_works_without_kernels(name):
    paths = [path for path in sources(ENGINE) if home(path, ENGINE) == name]
    used = {module for path in paths for _, module in modules_used(path, ENGINE)}
    assert paths
    assert "neuromfa_kernels" not in used


@ROOMS
def test_heavy_packages_wait_until_needed(folder, ranks):
    heavy = HEAVY if ranks is RANKS else HEAVY - {"numba"}  # which is what its kernels are
    wrong = [
        f"{shown(path)}:{node.lineno} imports {name}"
        for path in sources(folder)
        for node in at_import_time(tree(path))
        for name in imported(node)
        if name.split(".")[0] in heavy - MADE_FOR.get(path.stem, set())
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
    loaded = set(run.stdout.rsplit("LOADED", 1)[1].split())
    assert "neuromfa.cli" in loaded
    assert not SLOW_TO_START & loaded


def test_files_fit_one_head():
    files = [path for folder in (ENGINE, KERNELS) for path in folder.rglob("*")]
    lengths = {
        shown(path): len(path.read_text(encoding="utf-8").splitlines())
        for path in files
        if path.suffix in {".py", ".cu", ".cuh"}
    }
    assert lengths
    assert not {name: lines for name, lines in lengths.items() if lines > MAX_LINES}


def test_files_are_named_after_what_they_hold():
    folders = (ENGINE, KERNELS, ROOT / "tests", ROOT / "bench")
    names = {path.stem for folder in folders for path in sources(folder)}
    assert not names & NOT_NOUNS


def public_definitions(node, prefix=""):
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            overload = any(ast.unparse(d).endswith("overload") for d in child.decorator_list)
            if child.name.startswith("_") or overload:
                continue
            yield f"{prefix}{child.name}", child
            if isinstance(child, ast.ClassDef):
                yield from public_definitions(child, f"{prefix}{child.name}.")


def test_public_names_are_documented():
    missing = []
    for path in (*sources(ENGINE), *sources(KERNELS)):
        if not ast.get_docstring(tree(path)):
            missing.append(shown(path))
        missing += [
            f"{shown(path)}:{node.lineno} {name}"
            for name, node in public_definitions(tree(path))
            if not ast.get_docstring(node)
        ]
    assert not missing


def project_files():
    """What git tracks or would; without git, what lies in the folders of the project."""
    git = shutil.which("git")
    if git and (ROOT / ".git").exists():
        command = [git, "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        paths = [ROOT / name for name in listed.stdout.split("\0") if name]
    else:
        folders = ("engine", "kernels", "tests", "bench", "docs")
        paths = [path for folder in folders for path in (ROOT / folder).rglob("*")]
        paths += ROOT.glob("*")
    return [path for path in paths if path.is_file() and path != Path(__file__)]


def test_tree_stands_on_its_own():
    wrong = []
    for path in project_files():
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(lines, 1):
            if ELSEWHERE.search(line):
                wrong.append(f"{shown(path)}:{number} {line.strip()[:80]}")
    assert not wrong


def test_the_checks_see_what_they_should(tmp_path):
    package = tmp_path / "neuromfa"
    package.mkdir()
    (package / "cli.py").write_text("")
    module = package / "results.py"
    module.write_text(
        "import typing\n"
        "if typing.TYPE_CHECKING:\n    import pandas\n"
        "try:\n    import torch.nn\nexcept ImportError:\n    pass\n"
        "def public():\n"
        "    from neuromfa import cli\n"
        "    from . import cli\n"
        "    from .cli import main\n"
        "    import neuromfa_kernels\n"
    )
    names = [name for node in at_import_time(tree(module)) for name in imported(node)]
    assert names == ["typing", "torch.nn"]
    assert list(modules_used(module, package)) == [
        *((line, "cli") for line in (9, 10, 11)),
        (12, "neuromfa_kernels"),
    ]
    assert rank_of("cli", RANKS) > rank_of("results", RANKS)
    assert [name for name, _ in public_definitions(tree(module))] == ["public"]
    for line in ("open('/home/me/x')", "see ../shared/spec.md", "`/work/main`"):
        assert ELSEWHERE.search(line)
    for line in ("https://example.org/home/x", "$HOME/tmp/x", "a/tmp/b", "docs/work/x"):
        assert not ELSEWHERE.search(line)
