"""What was read and what was not, warnings, and where every number comes from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from neuromfa.reports.figure import Item, Note, Section, Table, TableBlock
from neuromfa.reports.material import Material, Point, Series

MOST_TENSORS = 60


def coverage(material: Material) -> Section:
    """Which checkpoints and tensors were analysed, which were not, and every warning."""
    items: list[Item] = []
    if material.suite is not None:
        items.append(_entries(material))
    items.append(_counted(material))
    items += [_excluded(series) for series in material.series]
    items.append(_warnings(material))
    return Section(
        name="coverage",
        title="Coverage and warnings",
        question="What was looked at, what was left out, and what should be read with care?",
        items=items,
    )


def provenance(material: Material) -> Section:
    """Protocol, versions, hashes."""
    _, first = material.analyses[0]
    record = first.analysis.provenance
    protocol = (material.suite or {}).get("protocol") or first.analysis.protocol
    return Section(
        name="provenance",
        title="Provenance",
        question="Could someone else arrive at the same numbers?",
        items=[
            settings_table(protocol),
            versions_table(record),
            _hashes(material),
        ],
    )


def settings_table(protocol: Mapping[str, Any]) -> TableBlock:
    """Every setting of a protocol."""
    return TableBlock(
        name="protocol",
        title="Protocol",
        caption="Every setting that can change a number.",
        table=Table(
            columns=["setting", "value"],
            rows=[(name, _plain(value)) for name, value in sorted(protocol.items())],
        ),
        wide=False,
    )


def versions_table(record: Mapping[str, Any]) -> TableBlock:
    """What an analysis ran on, from its provenance."""
    return TableBlock(
        name="versions",
        title="Versions",
        caption="Of the first analysis.",
        table=Table(
            columns=["what", "version"],
            rows=[
                *sorted((record.get("versions") or {}).items()),
                ("device", record.get("device")),
                ("machine", record.get("machine")),
            ],
        ),
        wide=False,
    )


def sampled(material: Material) -> bool:
    """Whether the protocol is the sampled one."""
    return any(series.sampled for series in material.series)


def _entries(material: Material) -> Item:
    """What became of each checkpoint that was not analysed."""
    left = [entry for entry in material.entries if entry["state"] != "done"]
    title = "Checkpoints without a result of their own"
    if not left:
        return Note(title=title, text="none; every checkpoint of the suite was analysed")
    return TableBlock(
        name="checkpoints",
        title=title,
        caption="A duplicate has the weights of an earlier checkpoint and is counted once.",
        table=Table(
            columns=["model", "checkpoint", "state", "why"],
            rows=[
                (e["model"], e["revision"], e["state"], e.get("error") or e.get("duplicate_of"))
                for e in left
            ],
        ),
    )


def _counted(material: Material) -> Item:
    rows = []
    for series, point in material.analyses:
        network, tensors = point.analysis.network, point.analysis.coverage
        weights = network.edges + network.zeros + network.nonfinite
        rows.append(
            (
                _name(material, series, point),
                *(len(tensors[kind]) for kind in ("analysed", "excluded", "unknown")),
                network.neurons,
                network.counted_neurons,
                weights,
                *(
                    _share(n, weights)
                    for n in (network.edges_in_range, network.edges_below, network.edges_above)
                ),
            )
        )
    return TableBlock(
        name="counted",
        title="Tensors, neurons and edges",
        caption=(
            "In range: 1 < d ≤ cutoff; below: d ≤ 1, the strongest weights; above: beyond the "
            "cutoff, the weakest." + (" Of the first sample." if sampled(material) else "")
        ),
        table=Table(
            columns=["checkpoint", "tensors analysed", "excluded", "unknown", "neurons", "counted",
                     "weights", "in range", "below", "above"],
            rows=rows,
        ),
    )  # fmt: skip


def _excluded(series: Series) -> Item:
    """Tensors left out, by rule, and those that no rule names."""
    title = series.titled("Tensors left out")
    tensors = series.last.analysis.coverage
    rules = Counter(tensors["excluded"].values())
    rows: list[tuple[Any, ...]] = [(rule, count) for rule, count in sorted(rules.items())]
    rows += [(f"unknown: {name}", 1) for name in tensors["unknown"][:MOST_TENSORS]]
    more = len(tensors["unknown"]) - MOST_TENSORS
    if not rows:
        return Note(title=title, text="none; every tensor was analysed")
    return TableBlock(
        name=f"excluded-{series.stem}",
        title=title,
        caption=f"At {series.last.label}. Unknown matrices were analysed by the generic rule.",
        table=Table(
            columns=["rule", "tensors"],
            rows=rows,
            note=f"{more:,} more unknown tensors are in the record." if more > 0 else None,
        ),
        wide=False,
    )


def _warnings(material: Material) -> Item:
    said: dict[str, list[str]] = {}
    for series, point in material.analyses:
        for warning in point.analysis.warnings:
            said.setdefault(warning, []).append(_name(material, series, point))
    if not said:
        return Note(title="Warnings", text="none")
    return TableBlock(
        name="warnings",
        title="Warnings",
        caption="",
        table=Table(
            columns=["warning", "of"],
            rows=[(text, _few(names)) for text, names in said.items()],
        ),
    )


def _hashes(material: Material) -> TableBlock:
    return TableBlock(
        name="weights",
        title="Weights",
        caption="The hash is of the bytes of every tensor, however they are cut into files.",
        table=Table(
            columns=["checkpoint", "source", "architecture", "content hash"],
            rows=[
                (
                    _name(material, series, point),
                    point.analysis.source,
                    point.analysis.architecture,
                    point.analysis.provenance.get("content_hash"),
                )
                for series, point in material.analyses
            ],
        ),
    )


def _name(material: Material, series: Series, point: Point) -> str:
    return point.label if len(material.series) == 1 else f"{series.model} {point.label}"


def _share(part: int, whole: int) -> str | None:
    return f"{part / whole:.1%}" if whole else None


def _few(names: list[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def _plain(value: Any) -> str:
    if isinstance(value, list | tuple):
        if len(value) > 6:
            return f"{value[0]:g}, {value[1]:g}, … {value[-1]:g} ({len(value)} values)"
        return ", ".join(map(str, value)) or "none"
    if isinstance(value, Mapping):
        return ", ".join(f"{k}: {v}" for k, v in value.items())
    return "none" if value is None else str(value)
