"""An MPI job of two ranks: the same bits as here. Skipped where there is no MPI."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import neuromfa
from neuromfa.cluster import connecting
from neuromfa.errors import ResourceError, UsageError

TINY = Path(__file__).parent / "expected" / "tiny-neox" / "step3000"
BESIDE = str(Path(sys.executable).parent)
MPIEXEC = shutil.which("mpiexec", path=BESIDE) or shutil.which("mpiexec")


def missing():
    """Why there is no MPI to test with; empty if there is one."""
    try:
        import mpi4py.MPI  # noqa: F401, PLC0415
    except (ImportError, RuntimeError) as error:
        return f"no MPI: {error}"
    return "" if MPIEXEC else "no mpiexec"


needs_mpi = pytest.mark.skipif(bool(missing()), reason=missing())


def ranks(count, *arguments):
    return subprocess.run(
        [MPIEXEC, "-n", str(count), sys.executable, "-m", "neuromfa", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def numbers(record):
    record["content_hash"] = record.pop("provenance")["content_hash"]
    return record


@needs_mpi
@pytest.mark.parametrize("count", [2, 3])
def test_ranks_give_the_same_bits(count, tmp_path):
    done = ranks(count, "analyse", TINY, "--mpi", "--json", "--output", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    there = json.loads(done.stdout)
    assert there == json.loads((tmp_path / "analysis.json").read_text())
    assert 1 <= there["provenance"]["threads"] < count
    assert numbers(there) == numbers(neuromfa.analyse(str(TINY)).to_dict())


@needs_mpi
def test_a_failure_ends_all_ranks(tmp_path):
    done = ranks(2, "analyse", tmp_path / "nothing", "--mpi")
    assert done.returncode
    assert done.stderr.count("no such path") == 1


@needs_mpi
def test_one_rank_is_refused():
    with pytest.raises(UsageError, match="leaves nobody to work"), connecting.connect(mpi=True):
        pass


@pytest.mark.parametrize(
    ("package", "place", "extra"),
    [("mpi4py", {"mpi": True}, "mpi"), ("distributed", {"cluster": "tcp://x:1"}, "cluster")],
)
def test_what_is_not_installed_is_named(monkeypatch, package, place, extra):
    monkeypatch.setitem(sys.modules, package, None)
    with (
        pytest.raises(ResourceError, match=rf"pip install 'neuromfa\[{extra}\]'"),
        connecting.connect(**place),
    ):
        pass


def test_one_place_is_named():
    with (
        pytest.raises(UsageError, match="--cluster and --mpi: name one"),
        connecting.connect(mpi=True, cluster="tcp://x:1"),
    ):
        pass
