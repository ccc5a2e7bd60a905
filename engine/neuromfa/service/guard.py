"""What a worker may open: its roots, its own directory, and what Python itself is made of.

Names are resolved before a job begins; this looks again, at every file that is opened and every
directory that is listed, so that a link which was put there since leads nowhere.
"""

from __future__ import annotations

import errno
import os
import sys
import sysconfig
from pathlib import Path
from typing import Any

from neuromfa.service.roots import Roots

_OPENING = ("open", "os.listdir", "os.scandir")
_NEVER = (
    *("socket.connect", "socket.bind"),
    *("os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.Popen"),
)
CACHES = ("NUMBA_CACHE_DIR", "CUPY_CACHE_DIR")
"""Variables of the environment that name where compiled code is kept."""

_SYSTEM = ("/usr", "/lib", "/lib64", "/proc", "/sys", "/dev")
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def confine(roots: Roots, directory: Path) -> None:
    """From now on, and for good, open nothing else in this process and call nobody.

    Parameters
    ----------
    roots : Roots
        Where the process may read, and never write.
    directory : Path
        Where it writes.
    """
    python = [*sys.path, *sysconfig.get_paths().values(), sys.prefix, sys.base_prefix]
    own = [str(directory), *(os.environ.get(name, "") for name in CACHES)]
    places = (place for place in (*own, *python, *_SYSTEM) if place)
    readable = tuple(dict.fromkeys(map(os.path.realpath, places)))

    def check(event: str, arguments: tuple[Any, ...]) -> None:
        if event in _NEVER:
            raise PermissionError(errno.EACCES, f"a worker may not: {event}")
        if event not in _OPENING or not isinstance(arguments[0], str | bytes | os.PathLike):
            return  # a descriptor was opened once already
        given = os.path.abspath(os.fsdecode(arguments[0]))  # noqa: PTH100  (links stay)
        real = os.path.realpath(given)
        if roots.contain(given) or roots.contain(real):
            writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & _WRITING
            allowed = roots.contain(real) and not writes
        else:
            allowed = any(_below(real, place) for place in readable)
        if not allowed:
            raise PermissionError(errno.EACCES, "outside the roots", given)

    sys.addaudithook(check)


def _below(path: str, place: str) -> bool:
    return path == place or path.startswith(place.rstrip("/") + "/")
