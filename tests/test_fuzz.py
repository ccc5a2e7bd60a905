"""Any bytes at all are either a checkpoint or one sentence about why not."""

import json
import math
import tempfile
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from broken.make import CASES, safetensors
from neuromfa.checkpoint import open_checkpoint
from neuromfa.errors import NeuromfaError

MOST_BYTES = 4_000_000
"""Memory that opening a file of a few kilobytes may take."""

FAULTLESS = safetensors(
    {
        "__metadata__": {"format": "pt"},
        "h.0.w": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
        "h.0.b": {"dtype": "BF16", "shape": [5], "data_offsets": [24, 34]},
        "h.1.e": {"dtype": "F8_E4M3", "shape": [0, 7], "data_offsets": [34, 34]},
        "h.1.q": {"dtype": "F4", "shape": [6], "data_offsets": [34, 37]},
    },
    37,
)
SEEDS = (FAULTLESS, *(case.files.get("model.safetensors", b"") for case in CASES))
SMALL_SEEDS = tuple(s for s in SEEDS if isinstance(s, bytes) and len(s) < 1000)

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["F32", "BF16", "F4", "U8", "__metadata__"])
)
values = st.recursive(
    scalars, lambda x: st.lists(x, max_size=4) | st.dictionaries(st.text(max_size=8), x, max_size=4)
)
sizes = st.integers(0, 40) | st.integers(-2, 2**64)
entries = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["F32", "BF16", "F8_E5M2", "F4", "BOOL", "F7"]) | values,
        "shape": st.lists(sizes, max_size=4) | values,
        "data_offsets": st.tuples(sizes, sizes) | values,
    }
)
headers = st.dictionaries(st.text(max_size=8), entries | values, max_size=4)


def survives(content, name="model.safetensors"):
    """Open the bytes as a file; True if it is a checkpoint, which must then read entirely."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / name
        path.write_bytes(content)
        tracemalloc.start()
        try:
            checkpoint = open_checkpoint(path if name == "model.safetensors" else directory)
        except NeuromfaError as refused:
            text = str(refused)
            assert text.isprintable()
            assert len(text) < 2000
            assert "; " in text
            return False
        finally:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            assert peak < MOST_BYTES
        with checkpoint:
            read = 0
            for tensor, ref in checkpoint.tensors.items():
                assert len(checkpoint.digest(tensor)) == 32
                checkpoint.prefetch(tensor)
                checkpoint.release(tensor)
                read += ref.nbytes
                if not ref.dtype.startswith(("float4", "float6")):
                    assert checkpoint.read(tensor).size == math.prod(ref.shape)
            length = int.from_bytes(content[:8], "little")
            assert read == len(content) - 8 - length
        return True


def test_faultless_file():
    assert survives(FAULTLESS)


@given(st.binary(max_size=200))
def test_random_bytes(content):
    assert not survives(content)


@settings(max_examples=400)
@given(st.data())
def test_mutated_files(data):
    content = bytearray(data.draw(st.sampled_from(SMALL_SEEDS)))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content)))
        change = data.draw(st.sampled_from(["replace", "insert", "delete", "repeat"]))
        if change == "replace" and place < len(content):
            content[place] = data.draw(st.integers(0, 255))
        elif change == "insert":
            content[place:place] = data.draw(
                st.binary(max_size=8)
                | st.sampled_from([b"-", b"9", b"0", b'"', b"[", b"}", b"\\u"])
            )
        elif change == "delete":
            del content[place : place + data.draw(st.integers(1, 20))]
        else:
            content[place:place] = content[place : place + 40]
    # The length field is repaired half of the time: else nothing behind it would be reached.
    end = content.find(b"}}", 8) + 2
    if data.draw(st.booleans()) and end > 1:
        content[:8] = (end - 8).to_bytes(8, "little")
    survives(bytes(content))


@pytest.mark.parametrize("stop", range(len(FAULTLESS)))
def test_truncated_files(stop):
    assert not survives(FAULTLESS[:stop])


@settings(max_examples=400)
@given(headers, st.binary(max_size=64))
@example({"w": {"dtype": "U8", "shape": [2**63 - 1] * 3000, "data_offsets": [0, 0]}}, b"")
@example({"w": {"dtype": "U8", "shape": [2**62] * 3000 + [0], "data_offsets": [0, 0]}}, b"")
@example({"w" * 5000: {"dtype": "U8" * 5000, "shape": [1], "data_offsets": [0, 1]}}, b"x")
@example({"w": {"dtype": "F32", "shape": [1] * 100, "data_offsets": [0, 4]}}, b"1234")
def test_any_header(header, data):
    survives(safetensors(header, data))


@given(st.dictionaries(st.text(max_size=8), values, max_size=3), st.booleans())
def test_any_index(weight_map, whole):
    content = {"weight_map": weight_map} if whole else weight_map
    name = "model.safetensors.index.json"
    assert not survives(json.dumps(content).encode(), name)
