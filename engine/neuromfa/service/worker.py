"""One job, in a process of its own: ``python -m neuromfa.service.worker``.

The job comes on standard input, as one line of JSON. Standard input then stays open: when it ends,
the service is gone, and so is the worker. What happens goes to standard output, one JSON object on
each line: ``{"progress": ...}`` and, last, ``{"state": ..., "summary" | "problem": ...}``.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from pathlib import Path
from threading import Thread
from typing import Any

from neuromfa.errors import BadInputError, NeuromfaError, PartialError
from neuromfa.service.guard import confine
from neuromfa.service.problems import problem_of
from neuromfa.service.roots import Roots

LEAST_SECONDS = 0.25
"""Between two reports of progress."""


def main() -> None:
    """Do the job that standard input tells of."""
    job = json.loads(sys.stdin.readline())
    Thread(target=_end_with_service, daemon=True).start()
    answers, sys.stdout = sys.stdout, sys.stderr  # nothing else may speak there
    roots = Roots(job["roots"])
    directory = Path(job["directory"])

    def answer(record: dict[str, Any]) -> None:
        print(json.dumps(record), file=answers, flush=True)

    try:
        answer(_do(job, roots, directory, answer))
    except BaseException as error:
        if not isinstance(error, NeuromfaError | MemoryError):
            traceback.print_exc()
        if isinstance(error, OSError):  # which the analysis did not expect: a file of the client
            error = BadInputError(f"cannot be read ({error.strerror or error})")
        answer({"state": "failed", "problem": _clean(problem_of(error), roots, directory)})


def _do(job: dict[str, Any], roots: Roots, directory: Path, answer: Any) -> dict[str, Any]:
    # Everything slow, and everything that starts processes, comes before the doors are shut.
    from neuromfa.service import operations  # noqa: PLC0415

    told = 0.0

    def tell(progress: dict[str, Any]) -> None:
        nonlocal told
        if time.monotonic() - told >= LEAST_SECONDS:
            told = time.monotonic()
            answer({"progress": progress})

    directory.mkdir(parents=True, exist_ok=True)
    confine(roots, directory)
    place = operations.Place(
        roots=roots,
        directory=directory,
        resources=job["resources"],
        weight_bytes=job["weight_bytes"],
        moments=job["moments"],
        tell=tell,
    )
    try:
        summary = operations.OPERATIONS[job["kind"]](job["request"], place)
    except operations.SomeFailedError as partial:
        error = problem_of(PartialError(str(partial.__cause__)))
        found = {"state": "partial", "summary": partial.args[0]}
        return found | {"problem": _clean(error, roots, directory)}
    return {"state": "done", "summary": summary}


def _clean(problem: dict[str, Any], roots: Roots, directory: Path) -> dict[str, Any]:
    """Without the places of this machine."""
    detail = roots.hide(problem["detail"]).replace(str(directory), "results")
    return problem | {"detail": detail}


def _end_with_service() -> None:
    sys.stdin.read()
    os._exit(1)


if __name__ == "__main__":
    main()
