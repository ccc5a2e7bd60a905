"""State dicts, modules and torch pickles: the same tensors as from files, shared where possible."""

import json
import os
import sys
from types import SimpleNamespace

import ml_dtypes
import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed import fsdp

from broken.make import safetensors
from neuromfa.checkpoint import open_checkpoint
from neuromfa.errors import BadInputError, ResourceError, UnsupportedError, UsageError


class Elsewhere(torch.Tensor):
    """Says that it is on a device of another kind."""

    device = torch.device("xpu:1")


class Negated(torch.Tensor):
    """Has no array."""

    def detach(self):
        return torch._neg_view(torch.ones(2))


def refusal(error, source, **options):
    with pytest.raises(error) as refused:
        open_checkpoint(source, **options)
    return str(refused.value)


def test_arrays_are_shared():
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    tensor = torch.arange(12.0).reshape(3, 4).bfloat16().requires_grad_()
    with open_checkpoint({"t": tensor, "a": array}) as checkpoint:
        assert checkpoint.source == "state dict"
        assert list(checkpoint.tensors) == ["a", "t"]
        assert (checkpoint.files, checkpoint.config, checkpoint.kinds) == ((), {}, {})
        assert (checkpoint.tensors["a"].file, checkpoint.tensors["a"].offset) == ("", 0)
        rows = {name: checkpoint.read(name, 1) for name in "at"}
    assert np.shares_memory(rows["a"], array)
    with torch.no_grad():
        tensor += 1
    assert np.array_equal(rows["t"], np.arange(5, 13).reshape(2, 4).astype(ml_dtypes.bfloat16))
    assert not rows["a"].flags.writeable
    assert array.flags.writeable


def strided():
    base = torch.arange(2 * 3 * 4 * 5, dtype=torch.float32)
    cube = base.reshape(2, 3, 4, 5)
    yield "transposed", base.reshape(12, 10).T
    yield "transposed-bfloat16", base.reshape(12, 10).bfloat16().T
    yield "every-other-row", base.reshape(12, 10)[::2]
    yield "every-other-column", base.reshape(12, 10)[:, ::2]
    yield "experts-swapped", base.reshape(4, 5, 6).transpose(1, 2)
    yield "experts-permuted", base.reshape(4, 5, 6).permute(2, 0, 1)
    yield "convolution", cube.permute(3, 0, 1, 2)
    yield "channels-last", cube.contiguous(memory_format=torch.channels_last)
    yield "expanded", torch.arange(5.0).expand(3, 5)
    yield "vector", base[::7]
    yield "empty", base.reshape(12, 10).T[:, :0]


@pytest.mark.parametrize("tensor", [pytest.param(t, id=name) for name, t in strided()])
def test_tensors_that_are_not_contiguous(tensor):
    plain = tensor.contiguous()
    with open_checkpoint({"w": tensor, "p": plain}) as checkpoint:
        assert checkpoint.digest("w") == checkpoint.digest("p")
        for axis in range(1, tensor.ndim):
            cols = int(np.prod(tensor.shape[axis:]))
            whole = checkpoint.read("p", cols=cols)
            for start in range(len(whole)):
                rows = checkpoint.read("w", start, start + 3 if start + 3 <= len(whole) else None,
                                       cols=cols)  # fmt: skip
                assert np.array_equal(rows, whole[start : start + 3])
                assert not rows.flags.writeable


def test_digest_does_not_depend_on_blocks(monkeypatch):
    values = np.arange(35, dtype=np.int16).reshape(5, 7)
    digests = set()
    for block in (1, 14, 15, 29, 1 << 20):
        monkeypatch.setattr("neuromfa.memory.BLOCK_BYTES", block)
        with open_checkpoint({"c": values, "f": np.asfortranarray(values)}) as checkpoint:
            digests |= {checkpoint.digest("c"), checkpoint.digest("f")}
    assert len(digests) == 1


def test_digest_of_a_file_does_not_depend_on_blocks(tmp_path, monkeypatch):
    entry = {"w": {"dtype": "U8", "shape": [20], "data_offsets": [0, 20]}}
    (tmp_path / "m.safetensors").write_bytes(safetensors(entry, bytes(range(20))))
    digests = set()
    for block in (1, 3, 19, 20, 21):
        monkeypatch.setattr("neuromfa.mapped_files.BLOCK_BYTES", block)
        with open_checkpoint(tmp_path) as checkpoint:
            digests.add(checkpoint.digest("w"))
    with open_checkpoint({"w": np.arange(20, dtype=np.uint8)}) as checkpoint:
        assert digests == {checkpoint.digest("w")}


def test_tied_tensors():
    weight = torch.ones(4, 4)
    array = np.ones((4, 4))
    tensors = {
        "z.10": weight, "z.9": weight, "same.values": weight.clone(), "turned": weight.T,
        "part": weight[:2], "other.type": weight.view(torch.int32), "b": array, "a": array[:],
        "e1": weight[:0], "e2": weight[:0],
    }  # fmt: skip
    with open_checkpoint(tensors) as checkpoint:
        assert checkpoint.aliases == {"z.10": "z.9", "b": "a"}
        assert set(checkpoint.tensors) == set(tensors)


ONE = torch.ones(2)


@pytest.mark.parametrize(
    ("value", "error", "sentence"),
    [
        (ONE.to("meta"), BadInputError, "has no values (device meta); load the weights first"),
        (ONE.as_subclass(Elsewhere), UnsupportedError,
         "is on xpu:1, which is not read; copy it to the host: .cpu()"),
        (ONE.to_sparse(), UnsupportedError, "is torch.sparse_coo; give it dense: .to_dense()"),
        (torch.empty(2, dtype=torch.uint4), UnsupportedError,
         "is stored as uint4; convert it to float32 or bfloat16"),
        (ONE.as_subclass(Negated), UnsupportedError, "is a Negated that has no array (Can't call "
         "numpy() on Tensor that has negative bit set. Use tensor.resolve_neg().numpy() instead.); "
         "give a dense tensor in host memory"),
        (np.ones(2, ">f8"), UnsupportedError,
         "is stored big-endian (>f8); convert it: .astype('float64')"),
        (np.array(["x"]), UnsupportedError,
         "is stored as str32; convert it to float32 or bfloat16"),
        (np.array([{}]), UnsupportedError,
         "is stored as object; convert it to float32 or bfloat16"),
        (np.longdouble([1]), UnsupportedError,
         f"is stored as {np.dtype(np.longdouble).name}; convert it to float32 or bfloat16"),
        (np.ones(2, ml_dtypes.int4), UnsupportedError,
         "is stored as int4; convert it to float32 or bfloat16"),
        ([[1.0]], UsageError, "is a list; give a NumPy array or a torch tensor"),
        (None, UsageError, "is a NoneType; give a NumPy array or a torch tensor"),
        (1.0, UsageError, "is a float; give a NumPy array or a torch tensor"),
    ],
)  # fmt: skip
def test_tensors_that_are_refused(value, error, sentence):
    assert refusal(error, {"fine": np.ones(2), "w": value}) == f"state dict: tensor w: {sentence}"


def test_tensors_without_memory_are_refused():
    with FakeTensorMode():
        fake = torch.ones(2)
    lazy = torch.nn.LazyLinear(3)
    sources = {
        "state dict: tensor w: is a FakeTensor": {"w": fake},
        "LazyLinear: tensor weight: is a UninitializedParameter": lazy,
    }
    for where, source in sources.items():
        assert refusal(UnsupportedError, source).startswith(f"{where} that has no array (")


@pytest.mark.filterwarnings("ignore:.*quantiz.*", "ignore:.*TypedStorage.*")
def test_quantised_tensors_are_refused():
    quantised = torch.quantize_per_tensor(ONE, 0.1, 0, torch.qint8)
    assert refusal(UnsupportedError, {"w": quantised}) == (
        "state dict: tensor w: is quantised (torch.qint8); give it: .dequantize()"
    )


@pytest.mark.parametrize("source", [{}, {"fp8._extra_state": None}, torch.nn.ReLU()], ids=repr)
def test_no_tensors(source):
    name = "state dict" if isinstance(source, dict) else "ReLU"
    assert refusal(BadInputError, source) == (
        f"{name}: has no tensors; give a state dict or a module"
    )


def test_names_are_text():
    assert refusal(UsageError, {1: ONE}) == "state dict: has the key 1; give names of tensors"


class Conv1D(torch.nn.Module):
    """As GPT-2 has it, with a state that is not a tensor."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(3, 4))
        self.register_buffer("scale", torch.ones(1))
        self.register_buffer("passing", torch.ones(1), persistent=False)

    def get_extra_state(self):
        return {"steps": 3}

    def set_extra_state(self, state):
        pass


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = torch.nn.Embedding(5, 4)
        self.layers = torch.nn.ModuleList([Conv1D(), torch.nn.Linear(4, 3)])
        self.again = self.layers[1]
        self.head = torch.nn.Linear(4, 5, bias=False)
        self.head.weight = self.embed.weight
        self.temperature = torch.nn.Parameter(torch.ones(()))
        self.config = SimpleNamespace(to_dict=lambda: {"model_type": "mine"})


def test_module():
    with open_checkpoint(Model()) as checkpoint:
        assert checkpoint.source == "Model"
        assert checkpoint.config == {"model_type": "mine"}
        assert checkpoint.kinds == {
            "again.bias": "Linear",
            "again.weight": "Linear",
            "embed.weight": "Embedding",
            "head.weight": "Linear",
            "layers.0.scale": "Conv1D",
            "layers.0.weight": "Conv1D",
            "layers.1.bias": "Linear",
            "layers.1.weight": "Linear",
            "temperature": "Model",
        }
        assert list(checkpoint.tensors) == sorted(checkpoint.kinds)
        assert checkpoint.aliases == {
            "head.weight": "embed.weight",
            "layers.1.bias": "again.bias",
            "layers.1.weight": "again.weight",
        }
        assert checkpoint.read("temperature").shape == (1, 1)


def compiled(module):
    return torch.compile(module, backend="eager")  # nothing is ever run


def wrapped():
    yield "plain", lambda model: model
    yield "compiled", compiled
    yield "parallel", torch.nn.DataParallel
    yield "both", lambda model: torch.nn.DataParallel(compiled(model))

    def inside(model):
        model.layers[1] = compiled(model.layers[1])
        return model

    yield "a part compiled", inside


@pytest.mark.parametrize("wrap", [pytest.param(w, id=name) for name, w in wrapped()])
def test_wrappers_leave_no_trace(wrap):
    def opened(source):
        with open_checkpoint(source) as checkpoint:
            hashes = {name: checkpoint.digest(name) for name in checkpoint.tensors}
            return hashes, checkpoint.kinds, checkpoint.config, checkpoint.source

    torch.manual_seed(0)
    expected = opened(Model())
    torch.manual_seed(0)
    module = wrap(Model())
    assert opened(module) == expected
    assert opened(module.state_dict())[0] == expected[0]


def test_names_that_only_look_like_wrappers_stay():
    with open_checkpoint({"module.a": ONE, "b": ONE}) as checkpoint:
        assert set(checkpoint.tensors) == {"module.a", "b"}
    with open_checkpoint({"a._orig_mod.b": ONE, "a.b": ONE}) as checkpoint:
        assert set(checkpoint.tensors) == {"a._orig_mod.b", "a.b"}


def test_flat_parameters_are_refused(monkeypatch):
    class Flat(torch.nn.Module):
        pass

    monkeypatch.setattr(fsdp, "FullyShardedDataParallel", Flat)
    assert refusal(UnsupportedError, torch.nn.Sequential(Flat())) == (
        "Sequential: has its weights in the flat parameters of FullyShardedDataParallel; shard it "
        "with fully_shard, or give its state_dict() of type SHARDED_STATE_DICT on a mesh"
    )


def test_tensors_that_stand_for_others_are_refused():
    class Quantised(torch.Tensor):
        def __tensor_flatten__(self):
            return ["codes", "scale"], None

    assert refusal(UnsupportedError, {"w": ONE.as_subclass(Quantised)}) == (
        "state dict: tensor w: is a Quantised, which stands for other tensors; give it dense and "
        "whole: .dequantize() if it is quantised"
    )


@pytest.mark.parametrize(
    "config", [None, {"model_type": "x"}, SimpleNamespace(to_dict=7)], ids=repr
)
def test_module_without_a_readable_config(config):
    module = torch.nn.Linear(2, 2)
    module.config = config
    with open_checkpoint(module) as checkpoint:
        assert checkpoint.config == {}


TENSORS = {"h.1.w": torch.arange(6.0).reshape(2, 3), "h.0.w": torch.ones(2).bfloat16()}


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("wrapper", [None, "state_dict", "model"])
@pytest.mark.filterwarnings("ignore:.*TypedStorage.*")
def test_pickle(tmp_path, wrapper, legacy):
    path = tmp_path / "m.ckpt"
    tied = TENSORS | {"tied": TENSORS["h.1.w"], "step": 7}
    saved = {wrapper: tied, "epoch": 3} if wrapper else tied
    torch.save(saved, path, _use_new_zipfile_serialization=not legacy)
    with open_checkpoint(path, allow_pickle=True) as checkpoint, open_checkpoint(TENSORS) as own:
        assert checkpoint.source == str(path)
        assert [f.name for f in checkpoint.files] == ["m.ckpt"]
        assert checkpoint.aliases == {"tied": "h.1.w"}
        assert list(checkpoint.tensors) == ["h.0.w", "h.1.w", "tied"]
        for name in TENSORS:
            assert checkpoint.digest(name) == own.digest(name)


def test_directory_of_pickles(tmp_path):
    for k, name in enumerate(TENSORS):
        torch.save({name: TENSORS[name]}, tmp_path / f"pytorch_model-0000{k + 1}-of-00002.bin")
    torch.save({"lr": 1.0}, tmp_path / "training_args.bin")
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    with open_checkpoint(tmp_path, allow_pickle=True) as plain:
        assert list(plain.tensors) == ["h.0.w", "h.1.w"]
        assert plain.config == {"model_type": "gpt2"}
    index = {name: f"pytorch_model-0000{k + 1}-of-00002.bin" for k, name in enumerate(TENSORS)}
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": index}))
    with open_checkpoint(tmp_path, allow_pickle=True) as indexed:
        assert [f.name for f in indexed.files] == sorted(index.values())
        assert np.array_equal(indexed.read("h.1.w"), TENSORS["h.1.w"].numpy())
        assert indexed.warnings == ()


class Harmful:
    def __reduce__(self):
        return os.mkdir, ("harmed",)


def test_harmful_pickle_runs_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "m.bin"
    torch.save({"w": TENSORS["h.0.w"], "x": Harmful()}, path)
    assert refusal(UnsupportedError, path, allow_pickle=True) == (
        f"{path}: holds objects that are not tensors, and only tensors are loaded; "
        "convert it to safetensors"
    )
    assert not (tmp_path / "harmed").exists()


@pytest.mark.parametrize("content", [b"", b"PK", b"\x80", b"not a pickle", bytes(100)])
def test_damaged_pickle(tmp_path, content):
    path = tmp_path / "m.bin"
    path.write_bytes(content)
    message = refusal((BadInputError, UnsupportedError), path, allow_pickle=True)
    assert message in {
        f"{path}: is not a torch file or is damaged; write or download it again",
        f"{path}: holds objects that are not tensors, and only tensors are loaded; "
        "convert it to safetensors",
    }


def test_truncated_pickle(tmp_path):
    path = tmp_path / "m.bin"
    torch.save(TENSORS, path)
    path.write_bytes(path.read_bytes()[:-40])
    assert refusal(BadInputError, path, allow_pickle=True) == (
        f"{path}: is not a torch file or is damaged; write or download it again"
    )


@pytest.mark.parametrize("saved", [{"epoch": 1}, [TENSORS["h.0.w"]], TENSORS["h.0.w"]], ids=repr)
def test_pickle_without_named_tensors(tmp_path, saved):
    path = tmp_path / "m.bin"
    torch.save(saved, path)
    assert refusal(BadInputError, path, allow_pickle=True) == (
        f"{path}: has no named tensors; give a file with a state dict"
    )


def test_old_torch_reads_no_pickle(tmp_path, monkeypatch):
    path = tmp_path / "m.bin"
    torch.save(TENSORS, path)
    monkeypatch.setattr(torch, "__version__", "2.9.1+cpu")
    assert refusal(ResourceError, path, allow_pickle=True) == (
        f"{path}: torch 2.9.1+cpu lets a crafted pickle corrupt memory (GHSA-63cw-57p8-fm3p); "
        "install torch 2.10 or newer, or convert it to safetensors"
    )
    monkeypatch.setattr(torch, "__version__", "2.10.0")
    open_checkpoint(path, allow_pickle=True).close()
    monkeypatch.setitem(sys.modules, "torch", None)
    assert refusal(ResourceError, path, allow_pickle=True) == (
        f"{path}: torch is not installed; install it: pip install 'neuromfa[torch]'"
    )
