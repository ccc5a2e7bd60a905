"""Draw what neighbourhoods of several hops add over training: a figure of docs/graphs.md.

    python bench/hops_over_training.py FOLDER [FILE]

The folder holds checkpoints step0, step1, ... Beside each stand two controls: `scale`, the weights
of step 0, each tensor rescaled to its present root mean square; `shape`, the present weights,
shuffled inside each tensor, twelve times: mean, and how many standard deviations (z) the present
weights are away.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import neuromfa
from neuromfa.reports import chart, pictures

ROOT = Path(__file__).parent.parent
HOPS = (1, 2, 3)
NAMES = ("1 hop", "2 hops", "3 hops")
CONTROLS = ("trained", "scale: step 0 rescaled", "shape: shuffled")
LAYERS = ("*.attention_output", "*.mlp_input")
"""Those from which three hops lead somewhere."""
SHUFFLES = 12
Numbers = tuple[float, float]


def tensors(folder: Path) -> dict[str, np.ndarray]:
    """Weights of the layers' tensors and of those behind them, as float64."""
    with neuromfa.open_checkpoint(folder) as checkpoint:
        return {
            name: checkpoint.read(name).astype(np.float64)
            for name, ref in checkpoint.tensors.items()
            if len(ref.shape) == 2 and ".layers." in name
        }


def numbers(state: dict[str, np.ndarray], hops: int) -> Numbers:
    """alpha_0 and width of the chosen layers together."""
    group = neuromfa.analyse_hops(state, hops, layers=LAYERS).network
    return group.alpha_0, group.width


def row(first: dict[str, np.ndarray], now: dict[str, np.ndarray]) -> np.ndarray:
    """Numbers of the present weights, of both controls, and z: [4, hops, numbers]."""
    rms = {name: np.sqrt((w * w).mean()) for name, w in now.items()}
    scale = {name: w * (rms[name] / np.sqrt((w * w).mean())) for name, w in first.items()}
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(SHUFFLES):
        shape = {name: rng.permutation(w.ravel()).reshape(w.shape) for name, w in now.items()}
        drawn.append([numbers(shape, hops) for hops in HOPS])
    mean, sd = np.mean(drawn, axis=0), np.std(drawn, axis=0, ddof=1)
    value = np.array([numbers(now, hops) for hops in HOPS])
    return np.array([value, [numbers(scale, hops) for hops in HOPS], mean, (value - mean) / sd])


def main() -> None:
    """Analyse every step, print a table and draw."""
    folder = Path(sys.argv[1])
    path = Path(sys.argv[2]) if len(sys.argv) > 2 else ROOT / "docs" / "hops_over_training.png"
    pictures.check(path)
    steps = sorted(int(p.name.removeprefix("step")) for p in folder.glob("step*"))
    first = tensors(folder / f"step{steps[0]}")
    found = np.array([row(first, tensors(folder / f"step{step}")) for step in steps])
    print(f"alpha_0, width after {', '.join(map(str, HOPS))} hops: value; scale; shape; z of shape")
    for step, numbers_of_step in zip(steps, found, strict=True):
        print(
            step, *("; " + " ".join(f"{x:.4f}" for x in part.ravel()) for part in numbers_of_step)
        )
    titles = ("Regularity α(0)", "Width")
    pictures.draw_beside(
        {title: panel(steps, found[..., k], title) for k, title in enumerate(titles)}, path
    )
    print(path)


def panel(steps: Sequence[int], found: np.ndarray, title: str) -> chart.Spec:
    """One number over training, [steps, 4, hops]: hops have colours, controls have dashes."""
    rows = [
        {"x": step + 1, "value": float(found[i, j, k]), "hops": hops, "of": control}
        for i, step in enumerate(steps)
        for j, control in enumerate(CONTROLS)
        for k, hops in enumerate(NAMES)
    ]
    x = chart.number("x", "step + 1", scale={"type": "log", "nice": False})
    del x["scale"]["zero"]  # a logarithmic axis has none
    line = chart.line(
        x,
        chart.number("value", title),
        color=chart.colour("hops", NAMES),
        strokeDash=chart.dash("of", CONTROLS),
        mark={"point": False},
    )
    return chart.chart(rows, [line])


if __name__ == "__main__":
    main()
