"""Opening files: what is read, what is refused with which sentence, and that bytes are shared."""

import json
import mmap
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from broken.make import CASES, W, safetensors
from neuromfa.checkpoint import open_checkpoint
from neuromfa.errors import BadInputError, NeuromfaError, UnsupportedError, UsageError
from neuromfa.mapped_files import MappedFiles
from neuromfa.safetensors_file import HEADER_LIMIT
from neuromfa.tensors import TensorRef, natural_key

TINY = Path(__file__).parent / "expected" / "tiny-neox" / "step0"
DTYPES = (
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.complex64, torch.bool),
    *(torch.int64, torch.int32, torch.int16, torch.int8),
    *(torch.uint64, torch.uint32, torch.uint16, torch.uint8),
    *(torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e8m0fnu),
    *(torch.float8_e4m3fnuz, torch.float8_e5m2fnuz),
)


def bytes_of(array):
    return np.ascontiguousarray(array).tobytes()


def torch_bytes(tensor):
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def write_index(directory, weight_map, name="model.safetensors.index.json"):
    (directory / name).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


@pytest.fixture(scope="module")
def tiny():
    return load_file(TINY / "model.safetensors")


@pytest.fixture
def shards(tmp_path, tiny):
    """The real model, its tensors dealt out to three files."""
    names = sorted(tiny)
    weight_map = {}
    for k in range(3):
        file = f"model-{k + 1:05d}-of-00003.safetensors"
        save_file({name: tiny[name] for name in names[k::3]}, tmp_path / file)
        weight_map |= dict.fromkeys(names[k::3], file)
    write_index(tmp_path, weight_map)
    (tmp_path / "config.json").write_bytes((TINY / "config.json").read_bytes())
    return tmp_path


@pytest.mark.parametrize(
    "case", CASES, ids=lambda case: f"{case.name}{case.opened and '-' + case.opened}"
)
def test_broken_checkpoints_are_refused(case, tmp_path):
    with pytest.raises(NeuromfaError) as refused:
        open_checkpoint(case.write(tmp_path / "c"))
    assert str(refused.value) == case.message(tmp_path / "c")
    assert refused.value.exit_code == case.code


def test_broken_cases_have_one_name_each():
    assert len({(case.name, case.opened) for case in CASES}) == len(CASES)


def test_header_above_the_limit_is_not_read(tmp_path):
    path = tmp_path / "model.safetensors"
    with path.open("wb") as file:
        file.write((HEADER_LIMIT + 1).to_bytes(8, "little"))
        file.truncate(HEADER_LIMIT + 9)  # a hole: takes no room
    with pytest.raises(BadInputError) as refused:
        open_checkpoint(path)
    assert str(refused.value) == (
        f"{path}: its header is 100000001 bytes, above the limit of 100000000; "
        "write or download the file again"
    )


@pytest.mark.parametrize(("method", "named"), [("open", "m.safetensors"), ("iterdir", "")])
def test_no_permission(tmp_path, monkeypatch, method, named):
    (tmp_path / "m.safetensors").write_bytes(safetensors({"w": W}))

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, method, refuse)
    with pytest.raises(BadInputError) as refused:
        open_checkpoint(tmp_path / named)
    assert str(refused.value) == (
        f"{tmp_path / named}: cannot be read: permission denied; check the path and its permissions"
    )


@pytest.mark.parametrize("source", ["", "a\0b", 7, None, b"model.safetensors", ["w"]])
def test_what_cannot_be_a_source(source):
    with pytest.raises(UsageError, match=r"; give a path"):
        open_checkpoint(source)


def test_revision_of_a_path(tmp_path):
    with pytest.raises(UsageError) as refused:
        open_checkpoint(tmp_path, revision="main")
    assert str(refused.value) == f"{tmp_path}: is a path, which has no revision main; leave it out"
    with pytest.raises(UsageError) as refused:
        open_checkpoint({"w": np.ones(1)}, revision="main")
    assert str(refused.value) == "revision main: only a hub checkpoint has revisions; leave it out"


@pytest.mark.parametrize("named", ["", "model.safetensors"])
def test_real_checkpoint(tiny, named):
    with open_checkpoint(TINY / named) as checkpoint:
        assert checkpoint.source == str(TINY / named)
        assert checkpoint.config["model_type"] == "gpt_neox"
        assert [(f.name, f.size) for f in checkpoint.files] == [("model.safetensors", 2519128)]
        assert checkpoint.warnings == ()
        assert checkpoint.kinds == checkpoint.aliases == {}
        assert checkpoint.commit is None
        assert set(checkpoint.tensors) == set(tiny)
        for name, tensor in tiny.items():
            ref = checkpoint.tensors[name]
            assert (ref.dtype, ref.shape) == ("float16", tuple(tensor.shape))
            assert ref.nbytes == tensor.nbytes
            assert ref.itemsize == 2
            expected = tensor.numpy().reshape(-1, tensor.shape[-1])
            assert np.array_equal(checkpoint.read(name), expected)


def test_configuration_may_repeat_a_key(tmp_path):
    # Others read such a file too, and it holds no weights: the last value counts, as for them.
    (tmp_path / "model.safetensors").write_bytes(safetensors({"w": W}))
    (tmp_path / "config.json").write_text('{"model_type": "a", "model_type": "b"}')
    with open_checkpoint(tmp_path) as checkpoint:
        assert checkpoint.config == {"model_type": "b"}


def test_shards_are_the_same_checkpoint(shards, tiny):
    with open_checkpoint(TINY) as whole, open_checkpoint(shards) as parts:
        assert list(parts.tensors) == list(whole.tensors)
        assert parts.config == whole.config
        assert not parts.warnings
        assert [file.name for file in parts.files] == [
            f"model-0000{k}-of-00003.safetensors" for k in (1, 2, 3)
        ]
        assert sum(ref.nbytes for ref in parts.tensors.values()) == sum(
            tensor.nbytes for tensor in tiny.values()
        )
        for name in tiny:
            assert parts.digest(name) == whole.digest(name)
            assert np.array_equal(parts.read(name), whole.read(name))


def test_index_is_optional_and_can_be_given(shards):
    with open_checkpoint(shards / "model.safetensors.index.json") as given:
        expected = [(ref.name, ref.file) for ref in given.tensors.values()]
    (shards / "model.safetensors.index.json").unlink()
    with open_checkpoint(shards) as found:
        assert [(ref.name, ref.file) for ref in found.tensors.values()] == expected


def test_shard_that_was_cut_is_refused_before_reading(shards):
    shard = shards / "model-00002-of-00003.safetensors"
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(BadInputError, match=r"00002-of-00003.safetensors: tensor .* ends at byte"):
        open_checkpoint(shards)


def test_index_of_any_name_in_subdirectories(tmp_path):
    (tmp_path / "part").mkdir()
    (tmp_path / "part" / "a.safetensors").write_bytes(safetensors({"w": W}))
    write_index(tmp_path, {"w": "part/a.safetensors"}, "other.safetensors.index.json")
    with open_checkpoint(tmp_path) as checkpoint:
        assert checkpoint.files[0].name == "part/a.safetensors"
        assert not checkpoint.warnings


def test_main_index_wins(tmp_path):
    (tmp_path / "a.safetensors").write_bytes(safetensors({"w": W}))
    (tmp_path / "b.safetensors").write_bytes(safetensors({"v": W}))
    write_index(tmp_path, {"v": "b.safetensors"}, "model.fp16.safetensors.index.json")
    write_index(tmp_path, {"w": "a.safetensors"})
    with open_checkpoint(tmp_path) as checkpoint:
        assert list(checkpoint.tensors) == ["w"]
        assert checkpoint.warnings == (f"{tmp_path}: not read: b.safetensors",)


def test_tensors_that_the_index_does_not_place(tmp_path):
    both = {"w": W, "v": W | {"data_offsets": [24, 48]}}
    (tmp_path / "a.safetensors").write_bytes(safetensors(both, b"a" * 48))
    (tmp_path / "b.safetensors").write_bytes(safetensors({"v": W, "u": both["v"]}, b"b" * 48))
    write_index(tmp_path, {"w": "a.safetensors", "v": "b.safetensors"})
    with open_checkpoint(tmp_path) as checkpoint:
        assert list(checkpoint.tensors) == ["u", "v", "w"]
        assert bytes_of(checkpoint.read("v")) == b"b" * 24  # as the index says
        named = "model.safetensors.index.json does not place 1 of its tensors there, such as"
        assert checkpoint.warnings == (
            f"{tmp_path}/a.safetensors: {named} v; read all the same: 0, read from another file: 1",
            f"{tmp_path}/b.safetensors: {named} u; read all the same: 1, read from another file: 0",
        )


@pytest.mark.parametrize(
    ("files", "read", "unread"),
    [
        (["model.safetensors", "extra.safetensors"], ["model"], "extra.safetensors"),
        (["model.safetensors", "consolidated.safetensors"], ["model"], "consolidated.safetensors"),
        (
            ["model-00001-of-00001.safetensors", "consolidated.00.safetensors"],
            ["model-00001-of-00001"],
            "consolidated.00.safetensors",
        ),
        (["consolidated.safetensors"], ["consolidated"], ""),
        (["adapter_model.safetensors"], ["adapter_model"], ""),
        (["b.safetensors", "a.safetensors"], ["a", "b"], ""),
        (["a.safetensors", "pytorch_model.bin", "x.gguf"], ["a"], ""),
    ],
)
def test_which_files_are_read(tmp_path, files, read, unread):
    for name in files:
        tensor = name.removesuffix(".safetensors")
        (tmp_path / name).write_bytes(safetensors({tensor: W}))
    with open_checkpoint(tmp_path) as checkpoint:
        assert list(checkpoint.tensors) == read
        assert checkpoint.warnings == ((f"{tmp_path}: not read: {unread}",) if unread else ())


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_type(tmp_path, dtype):
    raw = torch.arange(24 * dtype.itemsize, dtype=torch.uint8) % (2 if dtype == torch.bool else 251)
    tensors = {"a.w": raw.view(dtype).reshape(2, 3, 4), "a.e": torch.empty(0, 5, dtype=dtype)}
    save_file(tensors, tmp_path / "model.safetensors")
    name = str(dtype).removeprefix("torch.")
    scalar = getattr(ml_dtypes, name, None) or getattr(np, name.replace("bool", "bool_"))
    with open_checkpoint(tmp_path) as file, open_checkpoint(tensors) as memory:
        for checkpoint in (file, memory):
            assert checkpoint.tensors["a.w"].dtype == name
            assert checkpoint.tensors["a.w"].nbytes == raw.nbytes
            read = checkpoint.read("a.w", 1, 5)
            assert read.dtype == np.dtype(scalar)
            assert read.shape == (4, 4)
            assert bytes_of(read) == raw.numpy().tobytes()[4 * dtype.itemsize : 20 * dtype.itemsize]
            assert not read.flags.writeable
            assert checkpoint.read("a.e").shape == (0, 5)
        assert file.digest("a.w") == memory.digest("a.w") != file.digest("a.e")
        assert file.digest("a.e") == memory.digest("a.e")


def test_packed_types_open_but_are_not_read(tmp_path):
    header = {
        "f4": {"dtype": "F4", "shape": [2, 4], "data_offsets": [0, 4]},
        "f6": {"dtype": "F6_E2M3", "shape": [4], "data_offsets": [4, 7]},
    }
    path = tmp_path / "model.safetensors"
    path.write_bytes(safetensors(header, bytes(range(7))))
    packed = torch.arange(4, dtype=torch.uint8).view(torch.float4_e2m1fn_x2).reshape(2, 2)
    with open_checkpoint(path) as file, open_checkpoint({"f4": packed}) as memory:
        assert (file.tensors["f6"].nbytes, file.tensors["f6"].itemsize) == (3, 1)
        for checkpoint, where in ((file, path), (memory, "state dict")):
            ref = checkpoint.tensors["f4"]
            assert (ref.dtype, ref.shape, ref.nbytes) == ("float4_e2m1fn", (2, 4), 4)
            with pytest.raises(UnsupportedError) as refused:
                checkpoint.read("f4")
            assert str(refused.value) == (
                f"{where}: tensor f4: is stored as float4_e2m1fn, several values in a byte, "
                "which is not read; give the checkpoint in bfloat16"
            )
        assert file.digest("f4") == memory.digest("f4")


@pytest.mark.parametrize("padding", range(8))
def test_misaligned_data(tmp_path, padding):
    values = np.arange(6, dtype="<f4")
    header = json.dumps({"w": W}) + " " * padding
    (tmp_path / "model.safetensors").write_bytes(safetensors(header, values.tobytes()))
    with open_checkpoint(tmp_path) as checkpoint:
        assert np.array_equal(checkpoint.read("w", 1), values.reshape(2, 3)[1:])


SHAPES = ((), (5,), (3, 4), (2, 3, 4), (6, 2, 3, 2), (1, 1), (0, 4), (3, 0), (2, 0, 3))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_views(tmp_path, shape):
    values = torch.arange(int(np.prod(shape)), dtype=torch.float32).reshape(shape)
    save_file({"w": values}, tmp_path / "model.safetensors")
    with open_checkpoint(tmp_path) as file, open_checkpoint({"w": values}) as memory:
        for checkpoint in (file, memory):
            plain = values.numpy().reshape(
                (int(np.prod(shape[:-1])), shape[-1]) if shape else (1, 1)
            )
            assert np.array_equal(checkpoint.read("w"), plain)
            for start in range(len(plain) + 1):
                for stop in range(start, len(plain) + 1):
                    assert np.array_equal(checkpoint.read("w", start, stop), plain[start:stop])
            for axis in range(len(shape)):
                cols = int(np.prod(shape[axis:]))
                if values.numel():
                    expected = values.numpy().reshape(-1, cols)
                    assert np.array_equal(checkpoint.read("w", cols=cols), expected)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("v",), "{f}: has no tensor v"),
        (("w", 3), "{f}: tensor w: has 2 rows, not 3:2"),
        (("w", 0, 3), "{f}: tensor w: has 2 rows, not 0:3"),
        (("w", -1), "{f}: tensor w: has 2 rows, not -1:2"),
        (("w", 1, 0), "{f}: tensor w: has 2 rows, not 1:0"),
    ],
)
def test_what_cannot_be_read(tmp_path, arguments, sentence):
    path = tmp_path / "model.safetensors"
    path.write_bytes(safetensors({"w": W}))
    with open_checkpoint(path) as checkpoint:
        with pytest.raises(UsageError) as refused:
            checkpoint.read(*arguments)
        assert str(refused.value) == sentence.format(f=path)
        with pytest.raises(UsageError) as refused:
            checkpoint.read("w", cols=2)
        assert str(refused.value) == f"{path}: tensor w: [2, 3] has no view with 2 columns"


def test_arrays_outlive_the_checkpoint():
    with open_checkpoint(TINY) as checkpoint:
        name = next(iter(checkpoint.tensors))
        array = checkpoint.read(name)
        before = array.copy()
    base = array
    while isinstance(base, np.ndarray):
        base = base.base
    assert isinstance(base.obj if isinstance(base, memoryview) else base, mmap.mmap)
    assert np.array_equal(array, before)
    with pytest.raises(ValueError, match="read-only"):
        array[0, 0] = 1
    for use in (checkpoint.read, checkpoint.digest, checkpoint.prefetch, checkpoint.release):
        with pytest.raises(UsageError, match="the checkpoint is closed; open it again"):
            use(name)


def test_file_that_changed_since_it_was_opened(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(safetensors({"w": W}))
    with open_checkpoint(path) as checkpoint:
        size = path.stat().st_size
        path.write_bytes(b"")
        with pytest.raises(BadInputError) as refused:
            checkpoint.read("w")
    assert str(refused.value) == (
        f"{path}: is 0 bytes, but was {size} when its header was read; open the checkpoint again"
    )


def test_threads_read_and_release_at_the_same_time(tiny):
    with open_checkpoint(TINY) as checkpoint, ThreadPoolExecutor(8) as pool:
        names = [name for name in tiny if tiny[name].ndim == 2] * 10

        def equal(name):
            checkpoint.prefetch(name)
            rows = checkpoint.read(name, 3, 90)
            checkpoint.release(name)
            return np.array_equal(rows, tiny[name].numpy()[3:90])

        assert all(pool.map(equal, names))


class Advised(MappedFiles):
    """Keeps the ranges that would be passed on to the system."""

    def _advise(self, ref, advice, begin, end):
        self.range = range(begin, end)


@pytest.mark.parametrize("offset", [0, 1, 4095, 4096, 4097, 9000])
@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 4097, 8192, 20000])
def test_pages_that_are_given_back(offset, size):
    own = range(offset, offset + size)
    files = Advised({})
    files.release(TensorRef("w", "uint8", (size,), "f", offset))
    given = files.range
    assert given.start % mmap.PAGESIZE == given.stop % mmap.PAGESIZE == 0
    if given:
        assert own.start <= given.start < own.start + mmap.PAGESIZE
        assert own.stop - mmap.PAGESIZE < given.stop <= own.stop
    else:
        assert size < 2 * mmap.PAGESIZE


@pytest.mark.parametrize("remote", [True, False])
def test_remote_tensors_are_fetched_in_large_reads(tmp_path, monkeypatch, remote):
    save_file({"a": torch.ones(70_000), "b": torch.ones(9)}, tmp_path / "model.safetensors")
    reads = []
    real = os.preadv

    def counted(descriptor, buffers, position):
        reads.append((position, sum(map(len, buffers))))
        return real(descriptor, buffers, position)

    monkeypatch.setattr("neuromfa.mapped_files.is_remote", lambda _: remote)
    monkeypatch.setattr("neuromfa.mapped_files.BLOCK_BYTES", 100_000)
    monkeypatch.setattr(os, "preadv", counted)
    with open_checkpoint(tmp_path) as checkpoint:
        checkpoint.prefetch("a")
        offset = checkpoint.tensors["a"].offset
    expected = [(offset, 100_000), (offset + 100_000, 100_000), (offset + 200_000, 80_000)]
    assert reads == (expected if remote else [])


@pytest.mark.parametrize("kind", ["file", "arrays"])
def test_rows_copied_into_a_buffer(tmp_path, kind):
    values = np.arange(60, dtype=np.float16).reshape(5, 4, 3)
    save_file({"w": torch.from_numpy(values)}, tmp_path / "model.safetensors")
    source = tmp_path if kind == "file" else {"w": values}
    with open_checkpoint(source) as checkpoint:
        out = np.zeros(7 * 3 * 2, np.uint8)
        checkpoint.copy_rows("w", 2, 9, cols=3, out=out)
        assert np.array_equal(out.view(np.float16).reshape(7, 3), checkpoint.read("w", 2, 9))
        with pytest.raises(UsageError, match="42 bytes do not fit 41 exactly"):
            checkpoint.copy_rows("w", 2, 9, cols=3, out=out[:-1])
        with pytest.raises(UsageError, match="has 20 rows, not 2:21"):
            checkpoint.copy_rows("w", 2, 21, cols=3, out=out)


def test_a_file_that_was_cut_while_it_is_copied(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(safetensors({"w": W}))
    with open_checkpoint(path) as checkpoint:
        size = path.stat().st_size
        os.truncate(path, size - 5)
        with pytest.raises(BadInputError) as refused:
            checkpoint.copy_rows("w", 0, 2, cols=3, out=np.zeros(24, np.uint8))
    assert str(refused.value) == (
        f"{path}: ends at byte {size - 5}, but was {size} bytes when its header was read; "
        "open the checkpoint again"
    )


def resident(path):
    """Kilobytes of a file that are mapped into this process and present."""
    lines = Path("/proc/self/smaps").read_text().splitlines()
    start = next(k for k, line in enumerate(lines) if line.endswith(str(path)))
    return next(int(line.split()[1]) for line in lines[start:] if line.startswith("Rss:"))


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="the system does not say")
def test_release_gives_the_pages_back(tmp_path):
    save_file({"w": torch.zeros(1 << 20)}, tmp_path / "model.safetensors")
    with open_checkpoint(tmp_path) as checkpoint:
        assert not checkpoint.read("w").any()
        assert resident(tmp_path / "model.safetensors") > 4000
        checkpoint.release("w")
        assert resident(tmp_path / "model.safetensors") < 100
        assert not checkpoint.read("w").any()


def test_natural_order():
    names = ["h.10.w", "h.9.w", "h.09.w", "h.w", "h.2.b", "h.2", "", "10", "9" * 5000, "é"]
    expected = ["", "10", "9" * 5000, "h.2", "h.2.b", "h.09.w", "h.9.w", "h.10.w", "h.w", "é"]
    assert sorted(names, key=natural_key) == expected


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("shape", [(3, 4), (2, 3, 4), (5,), (), (0, 3)], ids=str)
def test_npy(tmp_path, shape, order):
    values = np.arange(np.prod(shape), dtype="f8").reshape(shape)
    np.save(tmp_path / "h.0.npy", np.asarray(values, order=order))
    with open_checkpoint(tmp_path / "h.0.npy") as checkpoint, open_checkpoint({"w": values}) as own:
        (ref,) = checkpoint.tensors.values()
        assert (ref.name, ref.dtype, ref.shape) == ("h.0", "float64", shape)
        assert checkpoint.files[0].name == "h.0.npy"
        read = checkpoint.read("h.0")
        assert np.array_equal(read, own.read("w"))
        assert not read.flags.writeable
        assert checkpoint.digest("h.0") == own.digest("w")
        checkpoint.prefetch("h.0")
        checkpoint.release("h.0")


def npy_bytes(tmp_path, array):
    np.save(tmp_path / "x.npy", array, allow_pickle=True)
    return (tmp_path / "x.npy").read_bytes()


@pytest.mark.parametrize(
    ("make", "error", "sentence"),
    [
        (lambda t: b"", BadInputError, r"is not a readable \.npy file \(.*\); write or download"),
        (lambda t: b"123456789", BadInputError, r"is not a readable \.npy file \(.*\); write"),
        (lambda t: npy_bytes(t, np.ones(3))[:-1], BadInputError, r"is not a readable \.npy file"),
        (lambda t: npy_bytes(t, np.ones(3)) + b"x", BadInputError, "is 153 bytes, but its header "
         "describes 152; write or download it again"),
        (lambda t: npy_bytes(t, np.array([{}])), BadInputError, r"is not a readable \.npy file"),
        (lambda t: npy_bytes(t, np.ones(3, ">f4")), UnsupportedError, "tensor w: is stored "
         r"big-endian \(>f4\); convert it: \.astype\('float32'\)"),
        (lambda t: npy_bytes(t, np.ones(3, ml_dtypes.bfloat16)), UnsupportedError,
         "tensor w: is stored as void16; convert it to float32 or bfloat16"),
    ],
)  # fmt: skip
def test_broken_npy(tmp_path, make, error, sentence):
    path = tmp_path / "w.npy"
    path.write_bytes(make(tmp_path))
    with pytest.raises(error, match=sentence) as refused:
        open_checkpoint(path)
    assert str(refused.value).startswith(f"{path}: ")


def test_archive_under_the_name_of_an_array(tmp_path):
    with (tmp_path / "w.npy").open("wb") as file:
        np.savez(file, w=np.ones(3))
    with pytest.raises(BadInputError) as refused:
        open_checkpoint(tmp_path / "w.npy")
    assert str(refused.value) == f"{tmp_path / 'w.npy'}: is an .npz archive; give one array as .npy"


WITHOUT_TORCH = """
import sys
sys.modules["torch"] = sys.modules["huggingface_hub"] = None  # importing them fails
import numpy as np
from neuromfa.checkpoint import open_checkpoint
from neuromfa.errors import ResourceError, UsageError
checkpoint = open_checkpoint(sys.argv[1])
print(*sorted(name + checkpoint.digest(name) for name in checkpoint.tensors))
arrays = {name: checkpoint.read(name) for name in checkpoint.tensors}
with open_checkpoint(arrays) as memory:
    assert all(memory.digest(n) == checkpoint.digest(n) for n in arrays)
for source, error in ((object(), UsageError), ({"w": 1}, UsageError), (sys.argv[2], ResourceError)):
    try:
        open_checkpoint(source, allow_pickle=True)
    except error as refused:
        last = refused
    else:
        raise AssertionError(source)
assert str(last).endswith("torch is not installed; install it: pip install 'neuromfa[torch]'"), last
assert sys.modules["torch"] is None
"""


def test_works_without_torch(tmp_path):
    tensors = {"w": torch.arange(12.0).reshape(3, 4).bfloat16(), "v": torch.ones(5)}
    save_file(tensors, tmp_path / "model.safetensors")
    (tmp_path / "m.bin").write_bytes(b"")
    command = [sys.executable, "-c", WITHOUT_TORCH, str(tmp_path), str(tmp_path / "m.bin")]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    with open_checkpoint(tensors) as checkpoint:
        assert run.stdout.split() == sorted(name + checkpoint.digest(name) for name in tensors)
