"""The public API, from the docstrings: docs/api.md, and the surface in tests/expected/api.txt.

    python tests/api_page.py

Both are compared with the code by test_api.py. A change of the surface is a change for callers:
it goes into CHANGELOG.md as well.
"""

import importlib
import inspect
import re
import textwrap
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "api.md"
SURFACE = ROOT / "tests" / "expected" / "api.txt"
PACKAGES = ("neuromfa", "neuromfa_kernels")
SECTION = re.compile(r"^(\w+)\n-{3,}\n", re.MULTILINE)
LISTS = {"Parameters", "Attributes", "Returns", "Yields", "Raises"}
KINDS = ("Functions", "Classes", "Errors", "Constants")
LONG = 60
HEAD = """# Python API

Written by `python tests/api_page.py` from the docstrings; do not edit. How to use it from another
program is told [on a page of its own](backend.md).
"""


class Raw:
    """Something whose representation is a given text."""

    def __init__(self, text):
        self.text = text

    def __repr__(self):
        return self.text


def signature(thing, *, longest=None):
    """Signature as it stands in the source, without self; defaults up to some length."""
    found = inspect.signature(thing)
    empty = inspect.Parameter.empty

    def raw(annotation):
        if annotation is empty or isinstance(annotation, type):
            return annotation
        return Raw(getattr(annotation, "__forward_arg__", str(annotation)))

    def default(value):
        text = repr(value)
        return Raw("...") if longest and len(text) > longest else value

    parameters = [
        p.replace(annotation=raw(p.annotation), default=default(p.default))
        for p in found.parameters.values()
        if p.name not in ("self", "cls")
    ]
    text = str(found.replace(parameters=parameters, return_annotation=raw(found.return_annotation)))
    return text.replace("NoneType", "None")


def kind_of(thing):
    if inspect.isclass(thing):
        return "Errors" if issubclass(thing, BaseException) else "Classes"
    return "Functions" if callable(thing) else "Constants"


def constant(thing):
    return ", ".join(dtype.name for dtype in thing) if isinstance(thing, tuple) else repr(thing)


def members(thing):
    """Public methods and properties of a class: name, function, and whether it is a property."""
    for name, value in vars(thing).items():
        if name.startswith("_"):
            continue
        if isinstance(value, property):
            yield name, value.fget, True
        elif inspect.isfunction(value):
            yield name, value, False
        elif isinstance(value, classmethod | staticmethod):
            yield name, value.__func__, False


def public():
    """Package, name and value of everything public."""
    for package in PACKAGES:
        module = importlib.import_module(package)
        for name in sorted(module.__all__, key=str.lower):
            yield package, name, getattr(module, name)


def surface():
    """One line for each name: what a caller depends on."""
    lines = []
    for package, name, thing in public():
        where, kind = f"{package}.{name}", kind_of(thing)
        if kind == "Constants":
            lines.append(f"{where} = {constant(thing)}")
        elif kind == "Errors":
            base = thing.__bases__[0].__name__
            lines.append(f"{where}({base}): exit code {thing.exit_code}")
        else:
            lines.append(f"{where}{signature(thing)}")
        if kind == "Classes":
            for member, function, is_property in members(thing):
                shown = "" if is_property else signature(function)
                lines.append(f"{where}.{member}{shown}" + ": property" * is_property)
    return "\n".join(lines) + "\n"


def documented(text):
    """Markdown of a NumPy-style docstring."""
    first, *rest = SECTION.split(inspect.cleandoc(text or "").replace("``", "`"))
    parts = [first.strip()]
    for title, body in zip(rest[::2], rest[1::2], strict=True):
        parts.append(f"*{title}*")
        if title == "Examples":
            code = re.sub(r" +# doctest: \+SKIP", "", body.strip())
            parts.append(f"```pycon\n{code}\n```")
        else:
            parts.append("\n".join(entries(body)) if title in LISTS else body.strip())
    return "\n\n".join(part for part in parts if part)


def entries(body):
    """List of parameters and the like: a name, its type, and what it is."""
    for entry in re.split(r"\n(?=\S)", body.strip()):
        head, _, about = entry.partition("\n")
        name, _, kind = head.partition(" : ")
        about = " ".join(textwrap.dedent(about).split())
        yield f"- `{name}`" + f" ({kind})" * bool(kind) + f": {about}" * bool(about)


def page():
    parts = [HEAD]
    for package in PACKAGES:
        module = importlib.import_module(package)
        parts.append(
            f"## {package}\n\n{inspect.cleandoc(module.__doc__).split('>>>')[0].strip()}\n"
        )
        for kind in KINDS:
            things = [(n, t) for p, n, t in public() if p == package and kind_of(t) == kind]
            if things:
                parts.append(f"### {kind} of {package}\n")
            parts += [described(name, thing, kind) for name, thing in things]
    return "\n".join(parts)


def described(name, thing, kind):
    if kind == "Constants":
        return f"#### {name}\n\n{constant(thing)}\n"
    if kind == "Errors":
        return f"#### {name}\n\n{documented(thing.__doc__)} Exit code {thing.exit_code}.\n"
    text = f"#### {name}\n\n```text\n{laid_out(name, thing)}\n```\n\n{documented(thing.__doc__)}\n"
    if kind == "Classes":
        for member, function, is_property in members(thing):
            shown = member if is_property else laid_out(member, function)
            text += f"\n```text\n{name}.{shown}\n```\n\n{documented(function.__doc__)}\n"
    return text


def laid_out(name, thing):
    """Signature on one line, or one line for each parameter."""
    text = signature(thing, longest=LONG)
    if len(name + text) <= LONG + 20:
        return name + text
    inside = re.match(r"\((.*)\)( -> .*)?$", text, re.DOTALL)
    parts, depth, last = [], 0, 0
    for at, letter in enumerate(inside[1]):
        depth += (letter in "[({") - (letter in "])}")
        if letter == "," and not depth:
            parts.append(inside[1][last:at].strip())
            last = at + 1
    parts.append(inside[1][last:].strip())
    return f"{name}(\n" + "".join(f"    {part},\n" for part in parts) + f"){inside[2] or ''}"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    SURFACE.write_text(surface(), encoding="utf-8")
