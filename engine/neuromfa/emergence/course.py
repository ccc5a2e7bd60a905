"""The degree of emergence over the checkpoints of a training run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from neuromfa.emergence.controls import Controls
from neuromfa.emergence.record import Emergence, EmergenceGroup
from neuromfa.errors import UsageError
from neuromfa.jackknife import jackknife_stderr
from neuromfa.results import Analysis, Group

__all__ = ["Emergence", "EmergenceGroup", "degree_of_emergence", "measure_emergence"]

KINDS = ("network", "blocks", "roles")


def degree_of_emergence(
    width: float, alpha_0: float, baseline_width: float, baseline_alpha_0: float
) -> float:
    """Degree of emergence E = (w/w_b) ln(alpha_0,b/alpha_0) of a checkpoint.

    Parameters
    ----------
    width, alpha_0 : float
        Heterogeneity and regularity of the checkpoint, dimensionless.
    baseline_width, baseline_alpha_0 : float
        Of the checkpoint from which emergence is counted.

    Returns
    -------
    float
        NaN where it is undefined.

    References
    ----------
    Definitions, section 6; NeuroMFA (ICLR 2025), section 3.

    Examples
    --------
    >>> from neuromfa import degree_of_emergence
    >>> round(degree_of_emergence(0.73, 0.93, 0.69, 1.26), 3)
    0.321
    """
    if _why_undefined(width, alpha_0, baseline_width, baseline_alpha_0):
        return math.nan
    return width / baseline_width * math.log(baseline_alpha_0 / alpha_0)


def measure_emergence(
    analyses: Mapping[str, Analysis] | Sequence[Analysis],
    *,
    baseline: str | None = None,
    controls: Mapping[str, Controls] | None = None,
) -> Emergence:
    """Follow the degree of emergence over the checkpoints of a training run.

    Parameters
    ----------
    analyses : mapping of str to Analysis, or sequence of Analysis
        In the order of training, by label; a sequence is labelled by source.
    baseline : str, optional
        Label of the checkpoint from which emergence is counted; the first by default.
    controls : mapping of str to Controls, optional
        By label, from `measure_controls`; some may be missing.

    Returns
    -------
    Emergence
        With jackknife standard errors of E, from leaving out the same part in both checkpoints.

    Raises
    ------
    UsageError
        If there is no analysis, a label is doubled or unknown, protocols differ, or controls are
        not of these checkpoints.

    References
    ----------
    Definitions, section 6; NeuroMFA (ICLR 2025), section 3.

    Examples
    --------
    >>> import numpy as np, neuromfa
    >>> start = np.random.default_rng(0).normal(0, 0.02, (256, 128))
    >>> analyses = {f"x{k}": neuromfa.analyse({"map": k * start}) for k in (1, 2)}
    >>> found = neuromfa.measure_emergence(analyses)
    >>> [(point["label"], point["E"] is not None) for point in found.network.points]
    [('x1', True), ('x2', True)]
    """
    series = _by_label(analyses)
    baseline = next(iter(series)) if baseline is None else baseline
    for label in (baseline, *(controls or {})):
        if label not in series:
            raise UsageError(f"emergence: {label} is none of {', '.join(series)}")
    start = series[baseline]
    for label, analysis in series.items():
        if dict(analysis.protocol) != dict(start.protocol):
            raise UsageError(
                f"emergence: {label} and {baseline} were analysed under different protocols; "
                "analyse both again under one"
            )
    for label, found in (controls or {}).items():
        _check_controls(found, label, series[label], start)
    return Emergence(
        baseline=baseline,
        protocol=start.protocol,
        labels=tuple(series),
        content_hashes=tuple(a.provenance.get("content_hash") for a in series.values()),
        groups=tuple(
            EmergenceGroup(
                kind=kind,
                name=group.name,
                points=tuple(
                    {"label": label}
                    | _point(
                        _groups(analysis).get((kind, group.name)),
                        group,
                        controls[label].group(kind, group.name)
                        if controls and label in controls
                        else None,
                    )
                    for label, analysis in series.items()
                ),
            )
            for (kind, _), group in _groups(start).items()
        ),
    )


def _by_label(analyses: Mapping[str, Analysis] | Sequence[Analysis]) -> dict[str, Analysis]:
    if isinstance(analyses, Mapping):
        series = dict(analyses)
    else:
        series = {analysis.source: analysis for analysis in analyses}
        if len(series) < len(analyses):
            raise UsageError("emergence: two analyses have the same source; give them labels")
    if not series:
        raise UsageError("emergence: no analyses; give at least the baseline's")
    return series


def _groups(analysis: Analysis) -> dict[tuple[str, str], Group]:
    return {(kind, group.name): group for kind, group in analysis.groups() if kind in KINDS}


def _check_controls(controls: Controls, label: str, own: Analysis, start: Analysis) -> None:
    if dict(controls.protocol) != dict(own.protocol):
        raise UsageError(f"emergence: controls of {label} were measured under another protocol")
    wanted = tuple(a.provenance.get("content_hash") for a in (own, start))
    if (controls.content_hash, controls.baseline_content_hash) != wanted:
        raise UsageError(
            f"emergence: the controls given for {label} belong to {controls.source} with the "
            f"baseline {controls.baseline}, whose weights are others; measure them again"
        )


def _why_undefined(
    width: float, alpha_0: float, baseline_width: float, baseline_alpha_0: float
) -> str | None:
    if not all(map(math.isfinite, (width, alpha_0))):
        return "the checkpoint has no exponents"
    if not all(map(math.isfinite, (baseline_width, baseline_alpha_0))):
        return "the baseline has no exponents"
    if baseline_width <= 0:
        return "the baseline has the width 0"
    if alpha_0 <= 0 or baseline_alpha_0 <= 0:
        return "alpha_0 is not positive"
    return None


def _point(group: Group | None, start: Group, controls: Mapping[str, Any] | None) -> dict[str, Any]:
    """One checkpoint of the course of a group."""
    if group is None:
        empty = ("E", "E_stderr", "alpha_0", "alpha_0_stderr", "width", "width_stderr")
        reason = "the checkpoint has no such group"
        return dict.fromkeys(empty, math.nan) | {
            "undefined": reason,
            "stderr_undefined": reason,
            "controls": None,
            "nulls": None,
        }
    errors = group.jackknife or {}
    value = degree_of_emergence(group.width, group.alpha_0, start.width, start.alpha_0)
    stderr, why_not = _stderr(group, start)
    return {
        "E": value,
        "E_stderr": stderr,
        "undefined": _why_undefined(group.width, group.alpha_0, start.width, start.alpha_0),
        "stderr_undefined": why_not,
        "alpha_0": group.alpha_0,
        "alpha_0_stderr": errors.get("alpha_0_stderr", math.nan),
        "width": group.width,
        "width_stderr": errors.get("width_stderr", math.nan),
        "controls": None if controls is None else _controls(controls, start),
        "nulls": None
        if controls is None
        else {
            model: {of: controls[model][of] for of in ("alpha_0", "width")}
            for model in ("shuffled", "gaussian")
        },
    }


def _stderr(group: Group, start: Group) -> tuple[float, str | None]:
    """Jackknife standard error of E: each part left out of both checkpoints at once."""
    own, first = group.jackknife or {}, start.jackknife or {}
    if not own or not first:
        return math.nan, "a group of fewer than two parts has no jackknife"
    if "left_out" not in own or "left_out" not in first:
        return math.nan, "the analysis was written without its jackknife replicates"
    if own["left_out"] != first["left_out"]:
        return math.nan, "the checkpoint and its baseline have not the same parts"
    columns = (own["width"], own["alpha_0"], first["width"], first["alpha_0"])
    replicates = np.array([degree_of_emergence(*row) for row in zip(*columns, strict=True)])
    if not np.isfinite(replicates).all():
        return math.nan, "E is undefined without some part"
    return float(jackknife_stderr(replicates)), None


def _controls(found: Mapping[str, Any], start: Group) -> dict[str, Any]:
    """E as the controls have it, against the true baseline."""

    def degree(width: float | None, alpha_0: float | None) -> float:
        known = [math.nan if value is None else value for value in (width, alpha_0)]
        return degree_of_emergence(known[0], known[1], start.width, start.alpha_0)

    controls: dict[str, Any] = {
        name: {
            "E": degree(found[name]["width"], found[name]["alpha_0"]),
            "alpha_0": found[name]["alpha_0"],
            "width": found[name]["width"],
        }
        for name in ("scale", "scale_free")
    }
    drawn = found["shuffled"]["replicates"]
    values = np.array(
        [degree(*pair) for pair in zip(drawn["width"], drawn["alpha_0"], strict=True)]
    )
    controls["shape"] = {
        "E": float(values.mean()) if len(values) else math.nan,
        "E_sd": float(values.std(ddof=1)) if len(values) > 1 else math.nan,
        "alpha_0": found["shuffled"]["alpha_0"]["mean"],
        "width": found["shuffled"]["width"]["mean"],
    }
    return controls
