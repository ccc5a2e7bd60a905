"""The numbers of a whole suite as one long table and one cube."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from neuromfa.suites.entries import Entry
from neuromfa.suites.procedures import OVER_Q, Number, Spectrum

if TYPE_CHECKING:
    import pyarrow as pa

Arrays = dict[str, np.ndarray[Any, Any]]
Rows = Iterable[tuple[Entry, Number]]


def emergence_numbers(record: Mapping[str, Any]) -> Iterator[tuple[str, Number]]:
    """The degrees of emergence in the record of one model, by label, and those of its controls."""
    for group in record.get("groups", ()):
        for point in group["points"]:
            number = Number(group["kind"], group["name"], "E", point["E"], point["E_stderr"])
            yield point["label"], number
            for name, control in (point["controls"] or {}).items():
                found = number._replace(quantity=f"E_{name}", value=control["E"], stderr=None)
                yield point["label"], found
    for point in record.get("points", ()):  # of sampled networks
        spread, n = point["degree_sd"], sum(degree is not None for degree in point["degrees"])
        stderr = None if spread is None else spread / math.sqrt(n)
        yield point["label"], Number("network", "network", "E", point["degree"], stderr)


def long_table(rows: Rows) -> pa.Table:
    """One row for each checkpoint, group and quantity; what is undefined is null."""
    import pyarrow as pa  # noqa: PLC0415  (slow to import)

    columns: dict[str, tuple[pa.DataType, list[Any]]] = {
        **{name: (pa.string(), []) for name in ("model", "revision")},
        **{name: (pa.int64(), []) for name in ("step", "tokens")},
        **{name: (pa.string(), []) for name in ("key", "kind", "group", "quantity")},
        **{name: (pa.float64(), []) for name in ("value", "stderr")},
    }
    for entry, number in rows:
        place = (entry.model, entry.revision, entry.step, entry.tokens, entry.key)
        for (_, column), cell in zip(columns.values(), (*place, *number), strict=True):
            column.append(cell)
    return pa.table(
        {name: pa.array(cells, kind, from_pandas=True) for name, (kind, cells) in columns.items()}
    )


def cube(entries: Sequence[Entry], spectra: Sequence[Sequence[Spectrum]]) -> Arrays:
    """Spectra of all checkpoints and groups; NaN where there is none.

    Parameters
    ----------
    entries : sequence of Entry
        Finished ones.
    spectra : sequence of sequence of Spectrum
        Theirs.

    Returns
    -------
    dict of str to array
        ``q`` [n_q]; `OVER_Q`, float64 [checkpoint, group, q]; ``alpha_0`` and ``width``, float64
        [checkpoint, group]; ``model``, ``revision``, ``key``, str, and ``step``, ``tokens``,
        float64 [checkpoint]; ``kind`` and ``group``, str [group].
    """
    groups: dict[tuple[str, str], int] = {}
    for spectrum in chain.from_iterable(spectra):
        groups.setdefault((spectrum.kind, spectrum.group), len(groups))
    q = np.asarray(spectra[0][0].arrays["q"] if spectra else ())
    shape = (len(spectra), len(groups))
    found: Arrays = {"q": q}
    found |= {name: np.full((*shape, len(q)), np.nan) for name in OVER_Q}
    found |= {name: np.full(shape, np.nan) for name in ("alpha_0", "width")}
    for at, of_checkpoint in enumerate(spectra):
        for spectrum in of_checkpoint:
            for name in spectrum.arrays.keys() - {"q"}:
                values = spectrum.arrays[name]
                found[name][at, groups[spectrum.kind, spectrum.group]] = values
    for name in ("model", "revision", "key"):
        found[name] = np.array([getattr(entry, name) for entry in entries], dtype=np.str_)
    for name in ("step", "tokens"):
        found[name] = np.array([getattr(entry, name) for entry in entries], dtype=np.float64)
    found["kind"] = np.array([kind for kind, _ in groups], dtype=np.str_)
    found["group"] = np.array([name for _, name in groups], dtype=np.str_)
    return found


def cube_bytes(arrays: Arrays) -> bytes:
    """Contents of an ``.npz`` file; the same bytes for the same arrays."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()
