from pathlib import Path

import pytest

from neuromfa import mounts

TABLE = r"""
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:40 / /data rw shared:2 - nfs4 server:/export rw,vers=4.2
31 30 0:41 / /data/scratch rw - xfs /dev/nvme0n1 rw
32 22 0:42 / /mnt/with\040space rw shared:5 master:6 - lustre mgs:/fs rw
33 22 0:43 / /people/me/drive rw - fuse.sshfs host:/ rw
34 22 0:44 / /win rw - fuseblk /dev/sdb1 rw
35 22 0:45 / /over rw - nfs a:/b rw
36 22 0:46 / /over rw - tmpfs tmpfs rw
a line that means nothing
"""


@pytest.mark.parametrize(
    ("path", "kind", "remote"),
    [
        ("/x", "ext4", False),
        ("/database/x", "ext4", False),
        ("/data", "nfs4", True),
        ("/data/models/x", "nfs4", True),
        ("/data/scratch/x", "xfs", False),
        ("/mnt/with space/x", "lustre", True),
        ("/people/me/drive/x", "fuse.sshfs", True),
        ("/win/x", "fuseblk", False),
        ("/over/x", "tmpfs", False),
    ],
)
def test_longest_and_last_mount_point_decides(monkeypatch, path, kind, remote):
    assert mounts.file_system(path, TABLE) == kind
    monkeypatch.setattr(mounts, "_mount_table", lambda: TABLE)
    assert mounts.is_remote(path) is remote


def test_links_are_followed(monkeypatch, tmp_path):
    table = f"22 1 8:1 / / rw - ext4 d rw\n23 22 0:1 / {tmp_path}/far rw - nfs s:/ rw\n"
    monkeypatch.setattr(mounts, "_mount_table", lambda: table)
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "file").write_text("")
    (tmp_path / "near").symlink_to(tmp_path / "far" / "file")
    assert mounts.is_remote(tmp_path / "near")
    assert not mounts.is_remote(tmp_path)


def test_this_machine_answers(monkeypatch):
    mounts._mount_table.cache_clear()
    assert mounts.is_remote(Path(__file__)) in (True, False)
    mounts._mount_table.cache_clear()
    monkeypatch.setattr(mounts, "MOUNT_TABLE", Path("absent"))
    assert not mounts.is_remote(Path(__file__))
    mounts._mount_table.cache_clear()
