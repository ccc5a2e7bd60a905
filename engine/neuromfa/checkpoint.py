"""A checkpoint: the tensors of a model, found and checked by their headers, read on demand.

Weights come from memory maps, so nothing is read before it is counted and the whole model is never
in memory. A file that shrinks while it is mapped ends the process, as for every mapped file.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import xxhash

from neuromfa.directory import PICKLES, find_weights, merge, refuse_format, refuse_pickle
from neuromfa.errors import BadInputError, UnsupportedError, UsageError
from neuromfa.hub import HubName, cache_directory, fetch_snapshot, find_snapshot, parse_hub_name
from neuromfa.memory import (
    Arrays,
    aliases_of,
    arrays_of,
    is_module,
    module_contents,
    read_npy,
    read_pickle,
)
from neuromfa.safetensors_file import file_size, read_header, read_object, unreadable
from neuromfa.tensors import FileRecord, TensorRef, array_dtype, natural_key, shown

DIGEST_BYTES = 8 << 20
MORE = "write or download the checkpoint again"


@dataclass(slots=True, eq=False)
class Checkpoint:
    """The tensors of a model; a context manager.

    Attributes
    ----------
    source : str
        As it was asked for.
    tensors : mapping of str to TensorRef
        In natural order of their names.
    config : mapping
        ``config.json``, or the configuration of a module; empty if there is none.
    files : tuple of FileRecord
        Files that weights are read from.
    kinds : mapping of str to str
        For a module: class of the part that owns each tensor.
    aliases : mapping of str to str
        Tensors that are another one under a second name.
    warnings : tuple of str
        What is there and not read.
    """

    source: str
    tensors: Mapping[str, TensorRef]
    config: Mapping[str, Any] = field(default_factory=dict)
    files: tuple[FileRecord, ...] = ()
    kinds: Mapping[str, str] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    _arrays: Arrays = field(default_factory=dict, repr=False)
    _maps: dict[str, mmap.mmap] = field(default_factory=dict, repr=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the files; arrays that were read stay valid as long as they are used."""
        self._maps.clear()
        self._arrays.clear()

    def read(self, name: str, start: int = 0, stop: int | None = None) -> npt.NDArray[Any]:
        """Rows start:stop of a tensor seen as a matrix, without a copy.

        Parameters
        ----------
        name : str
            Of the tensor.
        start, stop : int
            Rows of the matrix; all of them by default.

        Returns
        -------
        array, shape (stop - start, last dimension)
            Read-only, in the stored type; all leading dimensions are rows. A convolution
            [out, in, *k] is [out, in * prod(k)], a vector one row. It may not be aligned.

        Raises
        ------
        UnsupportedError
            If values are packed into bytes.
        """
        ref = self.tensors[name]
        rows, columns = matrix_shape(ref.shape)
        stop = rows if stop is None else stop
        if (array := self._arrays.get(name)) is not None:
            view = array.reshape(rows, columns)[start:stop]
            view.setflags(write=False)
            return view
        if (dtype := array_dtype(ref.dtype)) is None:
            raise UnsupportedError(
                f"{ref.file}: tensor {shown(name)} is stored as {ref.dtype}, which is not read yet"
            )
        if not columns or start >= stop:
            return np.empty((max(0, stop - start), columns), dtype)
        found: npt.NDArray[Any] = np.ndarray(
            (stop - start, columns),
            dtype,
            buffer=self._maps[ref.file],
            offset=ref.offset + start * columns * dtype.itemsize,
        )
        return found

    def prefetch(self, name: str) -> None:
        """Ask the system to read a tensor's pages now."""
        self._advise(name, mmap.MADV_WILLNEED, inward=False)

    def release(self, name: str) -> None:
        """Give a tensor's pages back to the system; they are read again if they are needed."""
        self._advise(name, mmap.MADV_DONTNEED, inward=True)

    def _advise(self, name: str, advice: int, *, inward: bool) -> None:
        ref = self.tensors[name]
        if (mapped := self._maps.get(ref.file)) is None or not ref.nbytes:
            return
        page = mmap.PAGESIZE
        first = ref.offset // page * page
        last = ref.offset + ref.nbytes
        if inward:  # a page shared with a neighbour stays
            first, last = -(-ref.offset // page) * page, last // page * page
        if last > first:
            mapped.madvise(advice, first, last - first)

    def digest(self, name: str) -> str:
        """Hash of a tensor's bytes, as 32 hexadecimal digits of XXH3-128."""
        ref = self.tensors[name]
        found = xxhash.xxh3_128()
        if array_dtype(ref.dtype) is None:  # packed values: the bytes as they are in the file
            found.update(memoryview(self._maps[ref.file])[ref.offset : ref.offset + ref.nbytes])
            return found.hexdigest()
        rows, columns = matrix_shape(ref.shape)
        step = max(1, DIGEST_BYTES // max(1, columns * ref.itemsize))
        for start in range(0, rows, step):
            block = np.ascontiguousarray(self.read(name, start, min(start + step, rows)))
            found.update(memoryview(block.view(np.uint8).reshape(-1)))
        return found.hexdigest()


def matrix_shape(shape: tuple[int, ...]) -> tuple[int, int]:
    """Rows and columns of a tensor seen as a matrix; see `Checkpoint.read`."""
    if len(shape) < 2:
        return 1, int(np.prod(shape))
    if len(shape) > 3:  # a convolution in two or more dimensions
        return shape[0], int(np.prod(shape[1:]))
    return int(np.prod(shape[:-1])), shape[-1]


def open_checkpoint(
    source: Any, *, revision: str | None = None, allow_pickle: bool = False
) -> Checkpoint:
    """Find the tensors of a checkpoint and check all that their headers tell.

    Parameters
    ----------
    source : path, str, mapping or torch.nn.Module
        A file, a directory, ``org/name`` or ``org/name@revision`` in the Hugging Face cache, a
        state dict, or a module. A path that exists is never taken for a hub name.
    revision : str, optional
        Branch, tag or commit of a hub name.
    allow_pickle : bool
        Read PyTorch files, with ``weights_only=True``.

    Raises
    ------
    BadInputError
        If a file is missing, incomplete or not what it says.
    UnsupportedError
        If the format or a type is not read.
    UsageError
        If `source` is of none of these kinds.
    """
    if is_module(source):
        tensors, kinds, config = module_contents(source)
        return _of_arrays(arrays_of(tensors, "module"), "module", config=config, kinds=kinds)
    if isinstance(source, Mapping):
        return _of_arrays(arrays_of(source, "state dict"), "state dict")
    if not isinstance(source, str | os.PathLike):
        raise UsageError(
            f"source: a {type(source).__name__} is no checkpoint; give a path, a hub name, "
            "a state dict or a module"
        )
    text = os.fspath(source)
    path, way_out = Path(text), MORE
    try:
        exists = path.exists()
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from None
    if not exists and not path.is_symlink() and (name := parse_hub_name(text, revision)):
        path, way_out = _from_cache(name), f"fetch it: {name.download_command}"
    elif not exists:
        if path.is_symlink():
            raise BadInputError(f"{path}: is a link to {path.readlink()}, which does not exist")
        raise BadInputError(
            f"{path}: no such file or directory; give a path, or ORG/NAME[@REVISION] of the hub"
        )
    return _of_path(path, text, allow_pickle=allow_pickle, way_out=way_out)


def _from_cache(name: HubName) -> Path:
    cache = cache_directory(os.environ)
    return find_snapshot(name, cache) or fetch_snapshot(name, cache, os.environ)


def _of_path(path: Path, source: str, *, allow_pickle: bool, way_out: str) -> Checkpoint:
    config: dict[str, Any] = {}
    folder = path if path.is_dir() else path.parent
    config_file = folder / "config.json"
    if path.is_dir():
        weights = find_weights(path, allow_pickle=allow_pickle, way_out=way_out)
        files, warnings, pickled = weights.files, weights.warnings, weights.pickled
    else:
        weights, files, warnings = None, (path,), ()
        pickled = path.suffix in PICKLES
        if pickled and not allow_pickle:
            raise refuse_pickle(path)
        if not pickled and path.suffix not in (".safetensors", ".npy"):
            raise refuse_format(path)
    if config_file.exists() and (path.is_dir() or len(list(folder.glob("*" + path.suffix))) == 1):
        config = read_object(config_file)
    records = tuple(FileRecord(_relative(file, folder), file_size(file)) for file in files)
    if pickled or files[0].suffix == ".npy":
        arrays = [read_pickle(f) if pickled else read_npy(f) for f in files]
        contents = dict(zip(files, arrays, strict=True))
        merged, more = merge(contents, weights) if weights else (arrays[0], ())
        return _of_arrays(
            merged, source, config=config, files=records, warnings=(*warnings, *more)
        )
    headers = {file: read_header(file) for file in files}
    if weights:
        refs, more = merge(headers, weights)
        warnings = (*warnings, *more)
    else:
        refs = headers[path]
        if not refs:
            raise BadInputError(f"{path}: has no tensors; {MORE}")
    return Checkpoint(
        source,
        MappingProxyType({n: refs[n] for n in sorted(refs, key=natural_key)}),
        config=config,
        files=records,
        warnings=warnings,
        _maps={str(file): _map(file) for file in files},
    )


def _map(file: Path) -> mmap.mmap:
    try:
        with file.open("rb") as opened:
            return mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:
        raise unreadable(file, error) from None


def _relative(file: Path, folder: Path) -> str:
    return str(file.relative_to(folder)) if file.is_relative_to(folder) else str(file)


def _of_arrays(arrays: Arrays, source: str, **known: Any) -> Checkpoint:
    """A checkpoint of arrays; what is not contiguous is read as a copy of the rows asked for."""
    names = sorted(arrays, key=natural_key)
    refs = {n: TensorRef(n, arrays[n].dtype.name, arrays[n].shape, "", 0) for n in names}
    return Checkpoint(
        source,
        MappingProxyType(refs),
        aliases=aliases_of({n: arrays[n] for n in names}),
        _arrays=arrays,
        **known,
    )
