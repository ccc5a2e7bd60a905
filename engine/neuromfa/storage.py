"""Writing and reading the records of analyses; every file is whole or not there at all."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.resources import files
from pathlib import Path
from typing import Any, BinaryIO, Literal

from neuromfa.errors import BadInputError, ResourceError
from neuromfa.protocol import Protocol
from neuromfa.records import json_text
from neuromfa.results import SCHEMA_VERSION, Analysis, Group


def write_analysis(analysis: Analysis, directory: str | os.PathLike[str]) -> tuple[Path, ...]:
    """Write ``analysis.json``, ``groups.parquet`` and ``spectra.parquet``.

    The fractal dimensions of single neurons, if they were asked for, go to
    ``fractal_dimensions.parquet``.

    Parameters
    ----------
    analysis : Analysis
        What to write.
    directory : path
        Made if it does not exist.

    Returns
    -------
    tuple of Path
        The files.

    Raises
    ------
    ResourceError
        If the disk is full or the directory cannot be written.

    Examples
    --------
    >>> import tempfile, numpy as np, neuromfa
    >>> analysis = neuromfa.analyse({"map": np.full((20, 30), 0.1)})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     [path.name for path in neuromfa.write_analysis(analysis, folder)]
    ...     neuromfa.read_analysis(folder).network.neurons
    ['analysis.json', 'groups.parquet', 'spectra.parquet']
    30
    """
    import pyarrow.parquet as pq  # noqa: PLC0415  (slow to import)

    folder = Path(directory)
    written = [write_text(folder / "analysis.json", analysis.to_json())]
    tables = ["groups", "spectra"] + ["fractal_dimensions"] * bool(analysis.fractal_dimensions)
    for name in tables:
        path = folder / f"{name}.parquet"
        with atomic_file(path) as file:
            pq.write_table(analysis.to_arrow(name), file, compression="zstd")
        written.append(path)
    return tuple(written)


def make_directory(directory: Path) -> None:
    """Make the directory for results, before anything is computed for it.

    Raises
    ------
    ResourceError
        If it cannot be made or nothing can be written into it.
    """
    with atomic_file(directory / ".probe"):
        pass
    (directory / ".probe").unlink()


def write_layers(layers: Sequence[Group], protocol: Protocol, directory: Path) -> Path:
    """Write the layers that were finished when an analysis stopped, as ``layers.partial.json``.

    Raises
    ------
    ResourceError
        If it cannot be written.
    """
    record = {
        "schema_version": SCHEMA_VERSION,
        "protocol": protocol.to_dict(),
        "layers": [group.to_dict() for group in layers],
    }
    return write_text(directory / "layers.partial.json", json_text(record))


def read_analysis(path: str | os.PathLike[str]) -> Analysis:
    """Read an ``analysis.json``, or the one in a directory that `write_analysis` made.

    Parameters
    ----------
    path : path
        The file, or its directory.

    Raises
    ------
    BadInputError
        If there is no such file or it is not the record of an analysis.
    """
    file = Path(path)
    file = file / "analysis.json" if file.is_dir() else file
    try:
        return Analysis.from_dict(json.loads(file.read_text(encoding="utf-8")))
    except OSError as error:
        raise BadInputError(f"{file}: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInputError(f"{file}: not the record of an analysis ({error!r})") from error


def schema(
    record: Literal["analysis", "reference", "graph", "hops"] = "analysis",
) -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of the record of an analysis; complete in itself.

    Parameters
    ----------
    record : {"analysis", "reference", "graph", "hops"}
        Of ``analysis.json``, of ``reference.json``, of ``graph.json``, or of several hops.

    Examples
    --------
    >>> import neuromfa
    >>> neuromfa.schema()["title"]
    'neuromfa analysis'
    """
    text = files("neuromfa").joinpath(f"{record}.schema.json").read_text(encoding="utf-8")
    shared = "analysis.schema.json#/"
    loaded: dict[str, Any] = json.loads(text.replace(shared, "#/"))
    return loaded | {"$defs": schema()["$defs"]} if shared in text else loaded


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary sibling of `path` that takes its place once it is complete.

    A reader never meets half a file, and a full disk leaves the old one as it was.

    Raises
    ------
    ResourceError
        If it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise ResourceError(
            f"{path}: cannot be written ({error.strerror or error}); choose another place"
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> Path:
    """Write `text` whole or not at all; see `atomic_file`."""
    with atomic_file(path) as file:
        file.write(text.encode())
    return path
