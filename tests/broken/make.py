"""Checkpoints that must be refused: what is in each, and the sentence that refuses it.

``python make.py DIRECTORY`` writes them all, each into a directory of its own.
"""

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

AGAIN = "write or download the file again"
AGAIN_ALL = "write or download the checkpoint again"
BAD, UNSUPPORTED = 5, 4
"""Exit codes."""

W = {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}
"""A header entry without fault, of 24 bytes."""


@dataclass(frozen=True)
class Link:
    """A symbolic link instead of a file."""

    target: str


@dataclass(frozen=True)
class Case:
    """A directory of files, what of it is opened, and how that fails.

    In the sentence ``{d}`` is the directory, ``{f}`` its ``model.safetensors``, ``{i}`` its
    ``model.safetensors.index.json``.
    """

    name: str
    sentence: str
    code: int = BAD
    files: dict[str, bytes | Link] = field(default_factory=dict)
    opened: str = ""

    def write(self, directory: Path) -> Path:
        """Make the files; return what to open."""
        directory.mkdir(parents=True, exist_ok=True)
        for name, content in self.files.items():
            path = directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, Link):
                path.symlink_to(content.target)
            else:
                path.write_bytes(content)
        return directory / self.opened if self.opened else directory

    def message(self, directory: Path) -> str:
        """The sentence for files in that directory."""
        return self.sentence.format(
            d=directory,
            f=directory / "model.safetensors",
            i=directory / "model.safetensors.index.json",
        )


def safetensors(header: Any, data: bytes | int = 24, length: int | None = None) -> bytes:
    """A file with any header (text and bytes as they are), data and stated header length."""
    if not isinstance(header, bytes | str):
        header = json.dumps(header)
    raw = header if isinstance(header, bytes) else header.encode()
    body = bytes(data) if isinstance(data, int) else data
    return (len(raw) if length is None else length).to_bytes(8, "little") + raw + body


def entry(**changed: Any) -> dict[str, Any]:
    """The faultless entry with some values changed."""
    return W | changed


def one(name: str, header: Any, sentence: str, *, code: int = BAD, **file: Any) -> Case:
    """A ``model.safetensors`` with that header."""
    content = safetensors(header, **file)
    return Case(name, "{f}: " + sentence, code, {"model.safetensors": content})


def raw(name: str, content: bytes, sentence: str) -> Case:
    """A ``model.safetensors`` of any bytes."""
    return Case(name, "{f}: " + sentence, BAD, {"model.safetensors": content})


def indexed(name: str, index: Any, sentence: str, **files: bytes | Link) -> Case:
    """An index beside a faultless shard a.safetensors that holds w."""
    text = index if isinstance(index, bytes) else json.dumps(index).encode()
    shards: dict[str, bytes | Link] = {"a.safetensors": safetensors({"w": W}), **files}
    return Case(name, "{i}: " + sentence, BAD, {"model.safetensors.index.json": text, **shards})


def _weight_map(**files: str) -> dict[str, Any]:
    return {"metadata": {"total_size": 24}, "weight_map": files}


def _deep(depth: int) -> str:
    return "[" * depth + "]" * depth


HEADERS = (
    raw("empty-file", b"", f"is 0 bytes, too short for safetensors; {AGAIN}"),
    raw("seven-bytes", b"1234567", f"is 7 bytes, too short for safetensors; {AGAIN}"),
    raw(
        "lfs-pointer",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n",
        "is a Git LFS pointer, not the weights; fetch them: git lfs pull",
    ),
    one(
        "header-beyond-file",
        {"w": W},
        f"its header should be 1000 bytes, but the file is 97 bytes; {AGAIN}",
        length=1000,
    ),
    raw(
        "web-page",
        b"<!DOCTYPE html><html></html>",
        f"its header should be {int.from_bytes(b'<!DOCTYP', 'little')} bytes, "
        f"but the file is 28 bytes; {AGAIN}",
    ),
    one(
        "not-json",
        "{w: 1}",
        "the header: is not JSON at character 1 (Expecting property name "
        f"enclosed in double quotes); {AGAIN}",
    ),
    one("empty-header", "", f"the header: is not JSON at character 0 (Expecting value); {AGAIN}"),
    one("not-utf8", b'{"\xff": 1}', f"the header: is not UTF-8 at byte 2; {AGAIN}"),
    one(
        "byte-order-mark",
        b"\xef\xbb\xbf{}",
        "the header: is not JSON at character 0 (Unexpected "
        f"UTF-8 BOM (decode using utf-8-sig)); {AGAIN}",
    ),
    one("header-array", [1], f"the header: is a JSON array, not an object; {AGAIN}"),
    one("header-number", "7", f"the header: is a JSON number, not an object; {AGAIN}"),
    one("too-deep", _deep(200_000), f"the header: is nested too deeply; {AGAIN}"),
    one(
        "endless-number",
        '{"w": ' + "9" * 5000 + "}",
        f"the header: has a number of too many digits; {AGAIN}",
    ),
    one("tensor-twice", '{"w": 1, "w": 2}', f"the header: has the key w twice; {AGAIN}"),
    one(
        "shape-twice",
        '{"w": {"shape": [1], "shape": [2]}}',
        f"the header: has the key shape twice; {AGAIN}",
    ),
    one(
        "no-tensors",
        {"__metadata__": {"format": "pt"}},
        "has no tensors; write or download it again",
        data=0,
    ),
    one(
        "name-not-unicode",
        '{"\\ud800": 1}',
        f"tensor '\\ud800': the name is not valid Unicode; {AGAIN}",
    ),
    one("entry-number", {"w": 1}, f"tensor w: its entry is a JSON number, not an object; {AGAIN}"),
    one("entry-null", {"w": None}, f"tensor w: its entry is a JSON null, not an object; {AGAIN}"),
    one(
        "entry-string",
        {"a\nb": "F32"},
        f"tensor 'a\\nb': its entry is a JSON string, not an object; {AGAIN}",
    ),
    one(
        "no-dtype",
        {"w": {"shape": [1], "data_offsets": [0, 4]}},
        f"tensor w: its entry has no dtype; {AGAIN}",
    ),
    one(
        "no-offsets",
        {"w": {"dtype": "F32", "shape": [1]}},
        f"tensor w: its entry has no data_offsets; {AGAIN}",
    ),
    one(
        "no-shape",
        {"w": {"dtype": "F32", "data_offsets": [0, 4]}},
        f"tensor w: its entry has no shape; {AGAIN}",
    ),
    one(
        "dtype-boolean",
        {"w": entry(dtype=True)},
        f"tensor w: its dtype is a JSON boolean, not a name; {AGAIN}",
    ),
    one(
        "dtype-unknown",
        {"w": entry(dtype="F7")},
        "tensor w: has the dtype F7, which is not known; convert it to F32 or BF16",
        code=UNSUPPORTED,
    ),
)
SHAPES = tuple(
    one(
        f"shape-{name}",
        {"w": entry(shape=shape)},
        f"tensor w: its shape is not a list of whole numbers >= 0; {AGAIN}",
    )
    for name, shape in {
        "negative": [-2, -3],
        "fraction": [2.0, 3],
        "boolean": [True, 6],
        "string": ["2", 3],
        "nested": [[2, 3]],
        "number": 6,
        "object": {"0": 6},
        "beyond-64-bits": [2**63],
    }.items()
) + tuple(
    one(
        f"offsets-{name}",
        {"w": entry(data_offsets=offsets)},
        f"tensor w: its data_offsets are not two whole numbers >= 0; {AGAIN}",
    )
    for name, offsets in {
        "one": [24],
        "three": [0, 12, 24],
        "negative": [-24, 0],
        "fraction": [0, 24.0],
        "null": None,
    }.items()
)
PLACES = (
    one(
        "size-differs",
        {"w": entry(shape=[2, 4])},
        f"tensor w: F32 [2, 4] takes 32 bytes, but 24 are stored; {AGAIN}",
    ),
    one(
        "offsets-backwards",
        {"w": entry(data_offsets=[24, 0])},
        f"tensor w: F32 [2, 3] takes 24 bytes, but -24 are stored; {AGAIN}",
    ),
    one(
        "zero-size-stored",
        {"w": entry(shape=[0, 3])},
        f"tensor w: F32 [0, 3] takes 0 bytes, but 24 are stored; {AGAIN}",
    ),
    one(
        "product-wraps",
        {"w": entry(shape=[2**32, 2**32])},
        f"tensor w: F32 [4294967296, 4294967296] takes {2**66} bytes, but 24 are stored; {AGAIN}",
    ),
    one(
        "empty-but-endless",
        {"w": entry(shape=[2**62, 0, 4], data_offsets=[0, 0])},
        f"tensor w: F32 [{2**62}, 0, 4] is beyond any array; {AGAIN}",
        data=0,
    ),
    one(
        "half-byte",
        {"w": entry(dtype="F4", shape=[3], data_offsets=[0, 2])},
        f"tensor w: F4 [3] takes 1 4/8 bytes, but 2 are stored; {AGAIN}",
        data=2,
    ),
    one(
        "overlap",
        {"w": W, "v": entry(data_offsets=[20, 44])},
        f"tensor v: begins at byte 20, before w ends at 24; {AGAIN}",
        data=44,
    ),
    one(
        "same-place", {"w": W, "v": W}, f"tensor w: begins at byte 0, before v ends at 24; {AGAIN}"
    ),
    one(
        "hole",
        {"w": W, "v": entry(data_offsets=[28, 52])},
        f"tensor v: begins at byte 28, but the data before it end at 24; {AGAIN}",
        data=52,
    ),
    one(
        "hole-at-start",
        {"w": entry(data_offsets=[4, 28])},
        f"tensor w: begins at byte 4, but the data before it end at 0; {AGAIN}",
        data=28,
    ),
    one(
        "truncated",
        {"w": W},
        f"tensor w: ends at byte 24 of the data, but the file has 23; {AGAIN}",
        data=23,
    ),
    one(
        "file-goes-on",
        {"w": W},
        f"has 25 bytes of data, but its header describes 24; {AGAIN}",
        data=25,
    ),
)
INDICES = (
    indexed(
        "index-not-json",
        b"{",
        f"is not JSON at character 1 (Expecting property name enclosed in double quotes); {AGAIN}",
    ),
    indexed("index-array", [], f"is a JSON array, not an object; {AGAIN}"),
    indexed(
        "index-key-twice", b'{"weight_map": {"w": "a", "w": "b"}}', f"has the key w twice; {AGAIN}"
    ),
    indexed("index-without-map", {}, f"has no weight_map of tensor to file; {AGAIN_ALL}"),
    indexed("index-empty-map", _weight_map(), f"has no weight_map of tensor to file; {AGAIN_ALL}"),
    indexed(
        "index-file-number",
        {"weight_map": {"w": 1}},
        f"tensor w: its file is not a name; {AGAIN_ALL}",
    ),
    indexed(
        "index-shard-missing",
        _weight_map(w="a.safetensors", v="b.safetensors"),
        f"names b.safetensors, which is not there; {AGAIN_ALL}",
    ),
    indexed(
        "index-shard-name-too-long",
        _weight_map(w="b" * 300 + ".safetensors"),
        "names " + "b" * 300 + f".safetensors, which is not there; {AGAIN_ALL}",
    ),
    indexed(
        "index-shard-broken-link",
        _weight_map(w="b.safetensors"),
        f"names b.safetensors, a broken link; {AGAIN_ALL}",
        **{"b.safetensors": Link("../blobs/gone")},
    ),
    indexed(
        "index-tensor-missing",
        _weight_map(w="a.safetensors", v="a.safetensors"),
        f"names tensor v in a.safetensors, which does not have it; {AGAIN_ALL}",
    ),
    indexed(
        "index-parent",
        _weight_map(w="../a.safetensors"),
        "names the file ../a.safetensors outside its directory; do not use this checkpoint",
    ),
    indexed(
        "index-parent-inside",
        _weight_map(w="x/../../a.safetensors"),
        "names the file x/../../a.safetensors outside its directory; do not use this checkpoint",
    ),
    indexed(
        "index-absolute",
        _weight_map(w="/etc/a.safetensors"),
        "names the file /etc/a.safetensors outside its directory; do not use this checkpoint",
    ),
    indexed(
        "index-other-format",
        _weight_map(w="a.bin"),
        f"names the file a.bin, not a .safetensors file; {AGAIN_ALL}",
    ),
    indexed(
        "index-nul",
        _weight_map(w="a\0.safetensors"),
        f"names the file 'a\\x00.safetensors', not a .safetensors file; {AGAIN_ALL}",
    ),
)
DIRECTORIES = (
    Case("nothing-there", "{d}/x: no such path; give a path or org/name[@revision]", opened="x"),
    Case("empty-directory", "{d}: has no safetensors files; " + AGAIN_ALL),
    Case(
        "only-config", "{d}: has no safetensors files; " + AGAIN_ALL, files={"config.json": b"{}"}
    ),
    Case(
        "one-level-too-high",
        "{d}: has no safetensors files; give one of its directories, such as {d}/step0",
        files={"step0/model.safetensors": safetensors({"w": W})},
    ),
    Case(
        "only-npy",
        "{d}: has no safetensors files; give a file, such as {d}/w.npy",
        files={"w.npy": b""},
    ),
    Case(
        "only-training-arguments",
        "{d}: has no safetensors files; " + AGAIN_ALL,
        files={"training_args.bin": b"", "optimizer.pt": b""},
    ),
    Case(
        "broken-link",
        "{f}: is a link to gone, which does not exist; " + AGAIN,
        files={"model.safetensors": Link("gone")},
    ),
    Case(
        "broken-link-named",
        "{f}: is a link to gone, which does not exist; " + AGAIN,
        files={"model.safetensors": Link("gone")},
        opened="model.safetensors",
    ),
    Case(
        "link-circle",
        "{f}: cannot be read: too many levels of symbolic links; "
        "check the path and its permissions",
        files={"model.safetensors": Link("model.safetensors")},
        opened="model.safetensors",
    ),
    Case(
        "directory-as-file",
        "{f}: is not a regular file; give a file or a directory of files",
        files={"model.safetensors/x": b""},
    ),
    Case(
        "device",
        "{f}: is not a regular file; give a file or a directory of files",
        files={"model.safetensors": Link("/dev/zero")},
    ),
    Case(
        "two-indices",
        "{d}: has 2 index files, a.safetensors.index.json and "
        "b.safetensors.index.json; give one of them",
        files={"a.safetensors.index.json": b"{}", "b.safetensors.index.json": b"{}"},
    ),
    Case(
        "tensor-in-two-files",
        "{d}/b.safetensors: tensor w is also in a.safetensors; give one of the files, or remove "
        "one",
        files={"a.safetensors": safetensors({"w": W}), "b.safetensors": safetensors({"w": W})},
    ),
    Case(
        "series-with-a-gap",
        "{d}: has 2 of 3 files, model-00002-of-00003.safetensors is not there; " + AGAIN_ALL,
        files={f"model-0000{n}-of-00003.safetensors": safetensors({f"w{n}": W}) for n in (1, 3)},
    ),
    Case(
        "config-not-json",
        "{d}/config.json: is not JSON at character 0 (Expecting value); " + AGAIN,
        files={"model.safetensors": safetensors({"w": W}), "config.json": b"x"},
    ),
    Case(
        "config-array",
        "{d}/config.json: is a JSON array, not an object; " + AGAIN,
        files={"model.safetensors": safetensors({"w": W}), "config.json": b"[]"},
    ),
)
FORMATS = (
    *(
        Case(
            f"format-{suffix}",
            f"{{d}}/m.{suffix}: .{suffix} is not a format that is read; convert it to safetensors",
            UNSUPPORTED,
            {f"m.{suffix}": b"GGUF"},
            opened,
        )
        for suffix in ("gguf", "h5", "onnx", "npz", "msgpack")
        for opened in ("", f"m.{suffix}")
    ),
    Case(
        "format-none",
        "{d}/weights: a file without suffix is not a format that is read; "
        "convert it to safetensors",
        UNSUPPORTED,
        {"weights": b""},
        "weights",
    ),
    *(
        Case(
            f"pickle-{name}",
            f"{{d}}/{name}: is a pickle, which can run code when it is loaded; "
            "convert it to safetensors, or if you trust it: --allow-pickle",
            UNSUPPORTED,
            {name: b"\x80\x04."},
            opened,
        )
        for name, opened in {
            "pytorch_model.bin": "",
            "pytorch_model.bin.index.json": "",
            "other.bin": "",
            "m.pt": "m.pt",
            "m.pth": "m.pth",
            "m.ckpt": "m.ckpt",
        }.items()
    ),
)
CASES = (*HEADERS, *SHAPES, *PLACES, *INDICES, *DIRECTORIES, *FORMATS)
"""Every case; the names of those that differ only in what is opened repeat."""


def main(directory: Path, out: Callable[[str], Any] = sys.stdout.write) -> None:
    """Write every case below a directory, with its sentence."""
    for number, case in enumerate(CASES):
        place = directory / f"{number:03d}-{case.name}"
        case.write(place)
        out(f"{case.code} {case.message(place)}{os.linesep}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
