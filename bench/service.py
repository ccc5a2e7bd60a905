"""Load on the service: many clients on loopback, who may be refused with 429 and nothing else.

    python bench/service.py [--clients 200] [--seconds 60]

It starts `neuromfa serve` over two small checkpoints, with eight tokens. Every client
submits plans and analyses, follows its jobs, lists them, fetches what came out, and never pauses.
The status of every answer is checked, and in the end that every job which was accepted is done.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import itertools
import os
import random
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx2
import numpy as np
from safetensors.numpy import save_file

OWNERS = 8
EXPECTED = {200, 202, 429}


def write_models(folder):
    """Two checkpoints of a few layers."""
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        (folder / name).mkdir(parents=True)
        tensors = {f"map{k}": rng.normal(0, 0.02, (64, 64)).astype(np.float32) for k in range(4)}
        save_file(tensors, folder / name / "model.safetensors")


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


class Tally:
    """What was answered, and how long it took."""

    def __init__(self):
        self.statuses = collections.Counter()
        self.seconds = []
        self.faults = []
        self.accepted = []

    async def ask(self, client, method, path, **rest):
        """Ask, and write down what came back."""
        began = time.perf_counter()
        try:
            answer = await client.request(method, path, **rest)
        except httpx2.HTTPError as error:
            self.statuses[type(error).__name__] += 1
            self.faults.append(repr(error))
            return None
        self.seconds.append(time.perf_counter() - began)
        self.statuses[answer.status_code] += 1
        if answer.status_code not in EXPECTED:
            self.faults.append(f"{method} {path}: {answer.status_code} {answer.text[:200]}")
        if answer.status_code == 429 and "retry-after" not in answer.headers:
            self.faults.append("429 without Retry-After")
        return answer


async def visit(tally, base, token, until):
    """One client."""
    headers, mine = {"authorization": f"Bearer {token}"}, []
    async with httpx2.AsyncClient(base_url=base, headers=headers, timeout=60) as client:
        for turn in itertools.count():
            if time.monotonic() >= until:
                return
            kind = random.choice(("plans", "analyses"))
            request = {"checkpoint": f"models/{random.choice('ab')}"}
            answer = await tally.ask(client, "POST", f"/v1/{kind}", json=request)
            if answer is not None and answer.status_code == 202:
                mine.append(answer.json()["id"])
                tally.accepted.append((token, mine[-1]))
            await tally.ask(client, "GET", "/v1/jobs", params={"limit": 5})
            await tally.ask(client, "GET", "/v1/roots")
            if mine:
                path = f"/v1/jobs/{mine[turn % len(mine)]}"
                found = await tally.ask(client, "GET", path)
                files = found.json()["files"] if found is not None else []
                if files:
                    await tally.ask(client, "GET", f"{path}/files/{files[0]['name']}")


async def load(base, tokens, clients, seconds):
    tally, until = Tally(), time.monotonic() + seconds
    pairs = zip(range(clients), itertools.cycle(tokens), strict=False)
    await asyncio.gather(*(visit(tally, base, token, until) for _, token in pairs))
    return tally


def ended_well(base, accepted):
    """How many of the accepted jobs are done, once none waits any more."""
    with httpx2.Client(base_url=base, timeout=60) as client:
        states = collections.Counter()
        for token, job in accepted:
            headers = {"authorization": f"Bearer {token}"}
            state = "queued"
            while state in ("queued", "running"):
                answer = client.get(f"/v1/jobs/{job}", params={"wait": 60}, headers=headers)
                state = answer.json().get("state", answer.status_code)
            states[state] += 1
    return states


def resident_bytes(pid):
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.partition("VmRSS:")[2].split()[0]) << 10


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=60)
    given = parser.parse_args()
    tokens = [secrets.token_hex(16) for _ in range(OWNERS)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_models(folder / "models")
        (folder / "tokens").write_text("".join(f"owner{k} {t}\n" for k, t in enumerate(tokens)))
        (folder / "tokens").chmod(0o600)
        port = free_port()
        command = [sys.executable, "-m", "neuromfa", "serve", f"--root={folder / 'models'}",
                   f"--state={folder / 'state'}", f"--token-file={folder / 'tokens'}",
                   f"--port={port}", "--max-jobs=10", "--max-jobs-per-token=2"]  # fmt: skip
        service = subprocess.Popen(command)
        try:
            base = f"http://127.0.0.1:{port}"
            wait_for(base)
            before = resident_bytes(service.pid)
            began = time.perf_counter()
            tally = asyncio.run(load(base, tokens, given.clients, given.seconds))
            seconds = time.perf_counter() - began
            after = resident_bytes(service.pid)
            states = ended_well(base, tally.accepted)
        finally:
            service.terminate()
            service.wait()
    times = np.array(tally.seconds)
    print(f"{given.clients} clients, {seconds:.0f} s, {os.cpu_count()} cores shared with them")
    counted = ", ".join(f"{n:,} of {s}" for s, n in sorted(tally.statuses.items(), key=str))
    print(f"{len(times):,} answers, {len(times) / seconds:,.0f} each second: {counted}")
    middle, most, worst = np.quantile(times, (0.5, 0.99, 1.0))
    print(f"time of an answer: median {middle:.3f} s, 99% within {most:.3f} s, worst {worst:.3f} s")
    print(f"memory of the service: {before >> 20} MB before, {after >> 20} MB after")
    print(f"{len(tally.accepted)} jobs accepted: {dict(states)}")
    for fault in tally.faults[:10]:
        print("FAULT", fault)
    sys.exit(bool(tally.faults) or set(states) != {"done"})


def wait_for(base):
    for _ in range(600):
        try:
            httpx2.get(f"{base}/openapi.json")
            return
        except httpx2.TransportError:
            time.sleep(0.1)
    sys.exit("the service does not start")


if __name__ == "__main__":
    main()
