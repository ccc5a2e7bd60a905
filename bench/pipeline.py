"""A whole checkpoint, from its file to the spectrum: speed, share of the floor, private memory.

    python bench/pipeline.py [--gigabytes 2] [--device cpu|cuda] [--record]

Writes a Llama-shaped bfloat16 checkpoint into a temporary directory (so that it lies in the page
cache), analyses it in a fresh process, and compares with the machine's read bandwidth and with the
authors' procedure on a few neurons of the same file, all in one run.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import ml_dtypes
import numpy as np

import neuromfa
from kernels import authors_way, read_bandwidth
from neuromfa.devices import find_devices
from neuromfa_kernels.cuda_driver import Driver
from record import RESULTS, record

HIDDEN, INNER = 4096, 11008
SHAPES = {
    "self_attn.q_proj": (HIDDEN, HIDDEN),
    "self_attn.k_proj": (HIDDEN, HIDDEN),
    "self_attn.v_proj": (HIDDEN, HIDDEN),
    "self_attn.o_proj": (HIDDEN, HIDDEN),
    "mlp.gate_proj": (INNER, HIDDEN),
    "mlp.up_proj": (INNER, HIDDEN),
    "mlp.down_proj": (HIDDEN, INNER),
}
REPEATS = 3
"""Runs in one process, of which the best counts: the first also compiles."""
AUTHORS_NEURONS = 16


def write_checkpoint(folder: Path, gigabytes: float) -> int:
    """Write a model of whole blocks, at least that large; the bytes of its weights."""
    block_bytes = 2 * sum(a * b for a, b in SHAPES.values())
    blocks = max(1, round(gigabytes * 1e9 / block_bytes))
    header, offset = {}, 0
    for block in range(blocks):
        for name, shape in SHAPES.items():
            size = 2 * shape[0] * shape[1]
            header[f"model.layers.{block}.{name}.weight"] = {
                "dtype": "BF16",
                "shape": shape,
                "data_offsets": [offset, offset + size],
            }
            offset += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    rng = np.random.default_rng(0)
    # one block's worth of values, shifted for every tensor: normal weights, none alike in place
    values = rng.normal(0, 0.02, max(a * b for a, b in SHAPES.values()) + 1024)
    values = values.astype(np.float32).astype(ml_dtypes.bfloat16).view(np.uint16)
    with (folder / "model.safetensors").open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for entry in header.values():
            start = int(rng.integers(1024))
            file.write(values[start : start + entry["shape"][0] * entry["shape"][1]].data)
    (folder / "config.json").write_text(json.dumps({"model_type": "llama"}))
    return offset


class PeakMemory(threading.Thread):
    """Highest private (anonymous) memory of this process while it runs, by sampling."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.private = self.mapped = 0
        self._ended = threading.Event()

    def run(self) -> None:
        """Sample every few milliseconds."""
        while not self._ended.wait(0.005):
            fields = dict(
                line.split(":", 1)
                for line in Path("/proc/self/status").read_text().splitlines()
                if line.startswith(("RssAnon", "RssFile"))
            )
            kilobytes = {name: int(value.split()[0]) for name, value in fields.items()}
            self.private = max(self.private, 1024 * kilobytes["RssAnon"])
            self.mapped = max(self.mapped, 1024 * kilobytes["RssFile"])

    def stop(self) -> None:
        """End the sampling."""
        self._ended.set()
        self.join()


def worker(folder: str, device: str) -> None:
    """Analyse in this process and print what it took, as JSON."""
    memory = PeakMemory()
    memory.start()
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        analysis = neuromfa.analyse(folder, device=device)
        seconds.append(time.perf_counter() - start)
    memory.stop()
    print(
        json.dumps(
            {
                "seconds": min(seconds),
                "first": seconds[0],
                "private": memory.private,
                "mapped": memory.mapped,
                "bytes": analysis.provenance["weight_bytes"],
                "neurons": analysis.network.neurons,
            }
        )
    )


def command_line(folder: str, device: str) -> float:
    """Seconds of a whole ``neuromfa analyse``, interpreter and imports included."""
    start = time.perf_counter()
    command = [sys.executable, "-m", "neuromfa", "analyse", folder, "--quiet", "--device", device]
    subprocess.run(command, check=True)
    return time.perf_counter() - start


def main() -> None:
    """Run and print, and record if asked to."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--gigabytes", type=float, default=2.0)
    arguments.add_argument("--device", default="cpu")
    arguments.add_argument("--record", action="store_true")
    arguments.add_argument("--worker", help=argparse.SUPPRESS)
    options = arguments.parse_args()
    if options.worker:
        worker(options.worker, options.device)
        return
    with tempfile.TemporaryDirectory(prefix="neuromfa-bench-") as name:
        folder = Path(name)
        write_checkpoint(folder, options.gigabytes)
        run = subprocess.run(
            [sys.executable, __file__, "--worker", name, "--device", options.device],
            check=True,
            capture_output=True,
            text=True,
        )
        found = json.loads(run.stdout)
        whole = command_line(name, options.device)
        tensor = "model.layers.0.self_attn.o_proj.weight"
        with neuromfa.open_checkpoint(folder) as checkpoint:
            few = checkpoint.read(tensor)[:, :AUTHORS_NEURONS].copy()
    start = time.perf_counter()
    authors_way(few)
    peer = few.size / (time.perf_counter() - start)  # weights a second
    floor = read_bandwidth()
    speed = found["bytes"] / found["seconds"]
    row = {
        "kind": "pipeline",
        "what": "analysis of a checkpoint",
        "dtype": "bfloat16",
        "layout": "columns",
        "bytes": found["bytes"],
        "neurons": found["neurons"],
        "seconds": found["seconds"],
        "gbytes_per_s": speed / 1e9,
        "floor_gbytes_per_s": floor / 1e9,
        "share": speed / floor,
        "peer": "authors' procedure",
        "ratio": speed / 2 / peer,
        "first_seconds": found["first"],
        "command_line_seconds": whole,
        "private_bytes": found["private"],
        "mapped_bytes": found["mapped"],
    }
    print(
        f"{found['bytes'] / 1e9:.2f} GB in {found['seconds']:.3f} s = {speed / 1e9:.2f} GB/s, "
        f"{row['share']:.0%} of the read bandwidth ({floor / 1e9:.1f} GB/s), "
        f"{row['ratio']:,.0f} times the authors' procedure\n"
        f"first run {found['first']:.2f} s, command line {whole:.2f} s, private memory "
        f"{found['private'] / 1e6:.0f} MB, mapped {found['mapped'] / 1e6:.0f} MB"
    )
    if options.record:
        gpus = find_devices(options.device)
        record([row], RESULTS, gpu=", ".join(Driver(n).name for n in gpus.gpus))


if __name__ == "__main__":
    main()
