"""Path, hub name, state dict or module -> names, types, shapes; weights only when asked for."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import xxhash

from neuromfa.directory import WeightFiles, find_weights, given_file, is_directory, merge
from neuromfa.errors import BadInputError, UsageError
from neuromfa.hub import cache_directory, fetch_snapshot, find_snapshot, parse_hub_name
from neuromfa.mapped_files import MappedFiles
from neuromfa.memory import Arrays, is_module, plain_names, read_module
from neuromfa.npy_file import open_npy
from neuromfa.pickle_file import read_pickle
from neuromfa.safetensors_file import file_size, read_header, read_object
from neuromfa.sharded_arrays import ShardedArrays, hold
from neuromfa.tensors import FileRecord, Store, TensorRef, last_row, natural_key, shown

if TYPE_CHECKING:
    import torch

    from neuromfa.gpu_arrays import GpuArray

__all__ = ["Checkpoint", "FileRecord", "TensorRef", "open_checkpoint"]

_AGAIN = "write or download the checkpoint again"


@dataclass(eq=False, repr=False, kw_only=True)
class Checkpoint:
    """An opened checkpoint; threads may read from it at the same time.

    Attributes
    ----------
    source : str
        What was asked for: a path, ``org/name@revision``, or what it is if it is in memory.
    tensors : mapping of str to TensorRef
        Every tensor by name, in natural order.
    store : Store
        Where the bytes are.
    config : mapping
        What ``config.json`` or the module says about the architecture; empty if nothing does.
    files : tuple of FileRecord
        The files that weights are read from.
    kinds : mapping of str to str
        By tensor, the class of the module that owns it; empty unless a module was given.
    aliases : mapping of str to str
        Tied tensors: by name, the first name of the same memory (definitions, section 1).
    warnings : tuple of str
        What is there and not read, or read without being announced.
    commit : str or None
        The commit of a hub checkpoint.
    closed : bool
        Whether it was closed.
    """

    source: str
    tensors: Mapping[str, TensorRef]
    store: Store
    config: Mapping[str, Any] = field(default_factory=dict)
    files: tuple[FileRecord, ...] = ()
    kinds: Mapping[str, str] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    commit: str | None = None
    closed: bool = False

    def __repr__(self) -> str:
        return f"<Checkpoint {self.source}: {len(self.tensors)} tensors>"

    def __enter__(self) -> Checkpoint:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the files; arrays that are still in use stay valid."""
        self.closed = True
        self.store.close()

    def read(
        self, name: str, start: int = 0, stop: int | None = None, *, cols: int | None = None
    ) -> npt.NDArray[Any]:
        """Rows of a tensor as a matrix, read-only and without a copy.

        Parameters
        ----------
        name : str
            A tensor.
        start, stop : int
            Rows; to the last one if `stop` is None.
        cols : int, optional
            Columns of the 2-D view, a product of the last lengths of the shape. By default the
            last length: a vector is one row, a stack of matrices stands one below the other. A
            convolution [out, in, *k] needs in * prod(k).

        Returns
        -------
        array, shape (stop - start, cols)
            In the stored type; misaligned (``flags.aligned`` is False) in a file whose header is
            not padded; a copy if the tensor is in memory and not contiguous, or on a GPU.

        Raises
        ------
        UsageError
            If there is no such tensor, no such rows or columns, or the checkpoint is closed.
        UnsupportedError, BadInputError
            If several values share a byte; if the file changed since it was opened.
        """
        ref = self._ref(name)
        if cols is None:
            cols = ref.shape[-1] if ref.shape else 1
        return self.store.rows(
            ref, start, last_row(ref, start, stop, cols=cols, source=self.source), cols
        )

    def copy_rows(
        self, name: str, start: int, stop: int, *, cols: int, out: npt.NDArray[np.uint8]
    ) -> None:
        """Fill a buffer with rows of a tensor; see `read`. Files are read in large blocks.

        Parameters
        ----------
        name : str
            A tensor.
        start, stop, cols : int
            Rows of the 2-D view, and its columns.
        out : uint8 array
            A contiguous buffer of exactly the size of these rows.

        Raises
        ------
        UsageError
            If there is no such tensor, no such rows or columns, or the buffer has another size.
        UnsupportedError, BadInputError
            If several values share a byte; if the file changed, or cannot be read.
        """
        ref = self._ref(name)
        rows = last_row(ref, start, stop, cols=cols, source=self.source) - start
        if out.size != (wanted := rows * cols * ref.itemsize):
            raise UsageError(f"tensor {shown(name)}: {wanted} bytes do not fit {out.size} exactly")
        self.store.copy_rows(ref, start, cols, out)

    def on_gpu(self, name: str) -> GpuArray:
        """Return a tensor that lies on a GPU, where it is."""
        return self.store.on_gpu(self._ref(name))

    def prefetch(self, name: str) -> None:
        """Bring a tensor that lies on another machine into the system's cache, in large reads."""
        self.store.prefetch(self._ref(name))

    def release(self, name: str) -> None:
        """Give a tensor's pages back; they are read again if it is. Nothing for one in memory."""
        self.store.release(self._ref(name))

    def digest(self, name: str) -> str:
        """Hash of a tensor's bytes in C order (xxh3_128, 32 hexadecimal digits)."""
        digest = xxhash.xxh3_128()
        for block in self.store.blocks(self._ref(name)):
            digest.update(block)
        return digest.hexdigest()

    def _ref(self, name: str) -> TensorRef:
        if self.closed:
            raise UsageError(f"{self.source}: the checkpoint is closed; open it again")
        if name not in self.tensors:
            raise UsageError(f"{self.source}: has no tensor {shown(name)}")
        return self.tensors[name]


def open_checkpoint(
    source: str | os.PathLike[str] | Mapping[str, Any] | torch.nn.Module,
    *,
    revision: str | None = None,
    allow_pickle: bool = False,
) -> Checkpoint:
    """Open a checkpoint and check everything that can be known before a weight is read.

    Parameters
    ----------
    source : path, str, mapping or torch.nn.Module
        A directory, an index or a file of weights; ``org/name`` or ``org/name@revision`` in the
        Hugging Face cache, unless a path of that name exists; a state dict of arrays or tensors
        (NumPy, torch, DLPack); or a module. What is in memory, on GPUs too, is not copied.
    revision : str, optional
        Branch, tag or commit of a hub checkpoint; ``main`` by default.
    allow_pickle : bool
        Read torch pickles too, with ``weights_only=True``.

    Raises
    ------
    UsageError
        If the source is nothing that can be opened, or a revision makes no sense.
    BadInputError
        If something is missing, incomplete, or not what it says it is.
    UnsupportedError, ResourceError
        If the format or a type is not read; if pickles need a newer torch.

    Examples
    --------
    >>> import numpy as np, neuromfa
    >>> with neuromfa.open_checkpoint({"map": np.eye(3)}) as checkpoint:
    ...     checkpoint.read("map", 1, 2).tolist()
    [[0.0, 1.0, 0.0]]
    """
    if isinstance(source, str | os.PathLike):
        return _open_named(os.fspath(source), revision, allow_pickle=allow_pickle)
    if revision is not None:
        raise UsageError(f"revision {revision}: only a hub checkpoint has revisions; leave it out")
    if isinstance(source, Mapping):
        return _open_arrays(hold(plain_names(source), "state dict"), source="state dict")
    if not is_module(source):
        raise UsageError(
            f"source: is a {type(source).__name__}; give a path, org/name[@revision], a state "
            "dict or a torch module"
        )
    tensors, rest = read_module(source)
    return _open_arrays(hold(tensors, rest["source"]), **rest)


def _open_named(source: str, revision: str | None, *, allow_pickle: bool) -> Checkpoint:
    path = Path(source)
    if not source or "\0" in source:
        raise UsageError(f"source {source!r}: is not a path; give a path or org/name[@revision]")
    if os.path.lexists(path):
        if revision is not None:
            raise UsageError(f"{path}: is a path, which has no revision {revision}; leave it out")
        if is_directory(path):
            weights = find_weights(path, allow_pickle=allow_pickle, way_out=_AGAIN)
            return _open_files(weights, path, source=source)
        return _open_file(path, source=source, allow_pickle=allow_pickle)
    if (name := parse_hub_name(source, revision)) is None:
        raise BadInputError(f"{source}: no such path; give a path or org/name[@revision]")
    cache = cache_directory(os.environ)
    snapshot = find_snapshot(name, cache) or fetch_snapshot(name, cache, os.environ)
    way_out = f"fetch it: {name.download_command}"
    weights = find_weights(snapshot, allow_pickle=allow_pickle, way_out=way_out)
    return _open_files(weights, snapshot, source=str(name), commit=snapshot.name)


def _open_file(path: Path, *, source: str, allow_pickle: bool) -> Checkpoint:
    file_size(path)
    if path.suffix == ".npy":
        return _open_npy(path, source=source)
    weights = given_file(path, allow_pickle=allow_pickle, way_out=_AGAIN)
    return _open_files(weights, path.parent, source=source)


def _open_files(
    weights: WeightFiles, directory: Path, *, source: str, commit: str | None = None
) -> Checkpoint:
    sizes = {path: file_size(path) for path in weights.files}
    config = directory / "config.json"
    rest: dict[str, Any] = {
        "source": source,
        "commit": commit,
        "config": read_object(config, repeated_keys=True) if os.path.lexists(config) else {},
        "files": tuple(
            FileRecord(path.relative_to(directory).as_posix(), size) for path, size in sizes.items()
        ),
    }
    if weights.pickled:
        tensors, warnings = merge({path: read_pickle(path) for path in sizes}, weights)
        return _open_arrays(Arrays(tensors, source), warnings=weights.warnings + warnings, **rest)
    refs, warnings = merge({path: read_header(path) for path in sizes}, weights)
    return Checkpoint(
        tensors=_in_order(refs),
        store=MappedFiles({str(path): size for path, size in sizes.items()}),
        warnings=weights.warnings + warnings,
        **rest,
    )


def _open_npy(path: Path, *, source: str) -> Checkpoint:
    array = open_npy(path)
    arrays = Arrays({path.stem: array}, source)
    files = (FileRecord(path.name, file_size(path)),)
    if not (array.flags.c_contiguous and array.size):
        return _open_arrays(arrays, source=source, files=files)
    ref = TensorRef(path.stem, array.dtype.name, array.shape, str(path), array.offset)
    store = MappedFiles({str(path): files[0].size})
    return Checkpoint(source=source, tensors={ref.name: ref}, store=store, files=files)


def _open_arrays(arrays: Arrays | ShardedArrays, **rest: Any) -> Checkpoint:
    return Checkpoint(
        tensors=_in_order(arrays.refs), store=arrays, aliases=arrays.aliases(), **rest
    )


def _in_order(refs: Mapping[str, TensorRef]) -> dict[str, TensorRef]:
    return {name: refs[name] for name in sorted(refs, key=natural_key)}
