"""What kind of storage a path lies on: pages of a file across a network are dear one by one."""

from __future__ import annotations

import os
import re
from functools import lru_cache
from pathlib import Path

MOUNT_TABLE = Path("/proc/self/mountinfo")
NETWORK = {
    *("9p", "afs", "beegfs", "ceph", "cifs", "gfs2", "glusterfs", "gpfs", "lustre", "ncpfs"),
    *("nfs", "nfs4", "ocfs2", "orangefs", "panfs", "pvfs2", "smb3", "smbfs", "vastnfs", "virtiofs"),
    *("wekafs",),
}
"""File systems whose files lie on other machines."""
LOCAL_FUSE = {"fuse.bindfs", "fuse.ecryptfs", "fuse.mergerfs", "fuse.squashfuse", "fuseblk"}
"""Those of user space that are none of these; the others nearly always are."""


def is_remote(path: str | os.PathLike[str]) -> bool:
    """Whether a file lies on another machine, as the mount table says.

    Parameters
    ----------
    path : path
        Of an existing file; links are followed.

    Returns
    -------
    bool
        False where there is no mount table.
    """
    kind = file_system(os.path.realpath(path), _mount_table())
    return kind in NETWORK or (kind.startswith("fuse") and kind not in LOCAL_FUSE)


def file_system(path: str, table: str) -> str:
    """Type of the file system that a path lies on.

    Parameters
    ----------
    path : str
        Absolute, without links.
    table : str
        As in ``/proc/self/mountinfo``.

    Returns
    -------
    str
        Such as ``"ext4"``; empty if no mount point leads to the path.
    """
    longest, kind = "", ""
    for line in table.splitlines():
        front, _, back = line.partition(" - ")
        fields = front.split()
        if len(fields) < 5 or not back:
            continue
        point = re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), fields[4])
        inside = path == point or path.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(longest):  # a later mount hides an earlier one
            longest, kind = point, back.split()[0]
    return kind


@lru_cache(maxsize=1)
def _mount_table() -> str:
    try:
        return MOUNT_TABLE.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return ""
