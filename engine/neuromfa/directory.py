"""Which files of a directory hold the weights, and which tensor is read from which file."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TypeVar

from neuromfa.errors import BadInputError, UnsupportedError
from neuromfa.safetensors_file import file_size, read_object, unreadable
from neuromfa.tensors import shown

PICKLES = (".bin", ".pt", ".pth", ".ckpt")
"""Suffixes of files that are read with torch.load, if that is allowed."""

INDICES = (".safetensors.index.json", ".bin.index.json")
"""How the names of index files end."""

_OTHER_FORMATS = (".gguf", ".h5", ".msgpack", ".npz", ".onnx", ".ot", ".pdparams", ".pb", ".tflite")
_NO_WEIGHTS = re.compile(r"(training_args|optimizer|scheduler|rng_state|scaler).*")
_SHARD = re.compile(r"(.*-)([0-9]{5})-of-([0-9]{5})(\..*)")

Tensor = TypeVar("Tensor")


@dataclass(frozen=True, slots=True)
class WeightFiles:
    """Files to read, in order.

    Attributes
    ----------
    files : tuple of Path
        Every file that weights are read from; all of them exist.
    index : mapping of str to Path, or None
        File of each tensor, if an index file says so.
    index_file : Path or None
        That index file.
    pickled : bool
        Whether they are torch pickles.
    warnings : tuple of str
        What is there and not read.
    """

    files: tuple[Path, ...]
    index: Mapping[str, Path] | None = None
    index_file: Path | None = None
    pickled: bool = False
    warnings: tuple[str, ...] = ()


def is_directory(path: Path) -> bool:
    """Whether a path is a directory; `BadInputError` if the system will not say."""
    try:
        return path.is_dir()
    except OSError as error:
        raise unreadable(path, error) from None


def find_weights(directory: Path, *, allow_pickle: bool, way_out: str) -> WeightFiles:
    """Choose the files of a directory as the Hugging Face loader does.

    ``model.safetensors``, else the files of an index, else all safetensors files, else pickles.

    Parameters
    ----------
    directory : Path
        An existing directory.
    allow_pickle : bool
        Whether pickles may be read where there is no safetensors file.
    way_out : str
        What to do if a file is missing, as the end of a message.

    Raises
    ------
    BadInputError
        If there are no weights, or files are missing, or an index is not one.
    UnsupportedError
        If there are weights only in formats that are not read.
    """
    names = _names(directory)
    if any(_holds_weights(n, ".safetensors") or n.endswith(INDICES[0]) for n in names):
        return _choose(directory, names, ".safetensors", way_out)
    pickles = [n for n in names if _holds_weights(n, ".bin") or n.endswith(INDICES[1])]
    if pickles and not allow_pickle:
        raise _refuse_pickle(directory / pickles[0])
    if pickles:
        return _choose(directory, names, ".bin", way_out)
    raise _no_weights(directory, names, way_out)


def given_file(path: Path, *, allow_pickle: bool, way_out: str) -> WeightFiles:
    """Read one existing file, or the files of an index; the errors are those of `find_weights`."""
    is_index = path.name.endswith(INDICES)
    pickled = path.name.endswith((*PICKLES, INDICES[1]))
    if not (is_index or pickled or path.suffix == ".safetensors"):
        raise _refuse_format(path)
    if pickled and not allow_pickle:
        raise _refuse_pickle(path)
    return _from_index(path, way_out) if is_index else WeightFiles((path,), pickled=pickled)


def _from_index(index_file: Path, way_out: str) -> WeightFiles:
    """Take the files that an index names; what else lies beside them is not read, and said so."""
    directory = index_file.parent
    suffix = _suffix_of_index(index_file.name)
    index = _read_index(index_file, suffix, way_out)
    files = tuple(sorted(set(index.values())))
    beside = (name for name in _names(directory) if _holds_weights(name, suffix))
    named = {path.relative_to(directory).as_posix() for path in files}
    warnings = _unread(directory, beside, named)
    return WeightFiles(files, index, index_file, suffix == ".bin", warnings)


def _choose(directory: Path, names: list[str], suffix: str, way_out: str) -> WeightFiles:
    stem = "model" if suffix == ".safetensors" else "pytorch_model"
    there = [name for name in names if _holds_weights(name, suffix)]
    indices = [name for name in names if name.endswith(f"{suffix}.index.json")]
    if stem + suffix in there:
        chosen = [stem + suffix]
    elif indices:
        main = f"{stem}{suffix}.index.json"
        if len(indices) > 1 and main not in indices:
            raise BadInputError(
                f"{directory}: has {len(indices)} index files, {' and '.join(indices)}; "
                "give one of them"
            )
        chosen_index = main if main in indices else indices[0]
        return _from_index(directory / chosen_index, way_out)
    else:
        # The original files of Mistral and Llama hold the same weights under other names.
        converted = any(name.startswith(stem) for name in there)
        chosen = [n for n in there if not (converted and n.startswith("consolidated"))]
        _check_series(directory, chosen, way_out)
    files = tuple(directory / name for name in chosen)
    return WeightFiles(
        files, pickled=suffix == ".bin", warnings=_unread(directory, there, set(chosen))
    )


def _names(directory: Path) -> list[str]:
    try:
        return sorted(path.name for path in directory.iterdir())
    except OSError as error:
        raise unreadable(directory, error) from None


def _holds_weights(name: str, suffix: str) -> bool:
    return name.endswith(suffix) and not (suffix == ".bin" and _NO_WEIGHTS.match(name))


def _unread(directory: Path, there: Iterable[str], chosen: set[str]) -> tuple[str, ...]:
    names = [name for name in there if name not in chosen]
    return (f"{directory}: not read: {', '.join(map(shown, names))}",) if names else ()


def _suffix_of_index(name: str) -> str:
    return ".safetensors" if name.endswith(INDICES[0]) else ".bin"


def _read_index(index_file: Path, suffix: str, way_out: str) -> dict[str, Path]:
    weight_map = read_object(index_file).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise BadInputError(f"{index_file}: has no weight_map of tensor to file; {way_out}")
    for tensor, name in weight_map.items():
        if not isinstance(name, str):
            raise BadInputError(
                f"{index_file}: tensor {shown(tensor)}: its file is not a name; {way_out}"
            )
    paths = {}
    for name in sorted(set(weight_map.values())):
        place = PurePosixPath(name)
        if place.is_absolute() or ".." in place.parts:
            raise BadInputError(
                f"{index_file}: names the file {shown(name)} outside its directory; "
                "do not use this checkpoint"
            )
        if not (name.endswith(suffix) and name.isprintable()):
            raise BadInputError(
                f"{index_file}: names the file {shown(name)}, not a {suffix} file; {way_out}"
            )
        paths[name] = path = index_file.parent / place
        if not os.path.lexists(path):
            raise BadInputError(f"{index_file}: names {name}, which is not there; {way_out}")
        if path.is_symlink() and not path.exists():
            raise BadInputError(f"{index_file}: names {name}, a broken link; {way_out}")
        file_size(path)
    return {tensor: paths[name] for tensor, name in weight_map.items()}


def _check_series(directory: Path, names: Iterable[str], way_out: str) -> None:
    """Files called 00002-of-00008 without an index must be all there."""
    series: dict[tuple[str, str, str], set[int]] = {}
    for name in names:
        if match := _SHARD.fullmatch(name):
            stem, number, total, suffix = match.groups()
            series.setdefault((stem, total, suffix), set()).add(int(number))
    for (stem, total, suffix), numbers in series.items():
        if missing := set(range(1, int(total) + 1)) - numbers:
            name = f"{stem}{min(missing):05d}-of-{total}{suffix}"
            raise BadInputError(
                f"{directory}: has {len(numbers)} of {int(total)} files, {name} is not there; "
                f"{way_out}"
            )


def _refuse_format(path: Path) -> UnsupportedError:
    return UnsupportedError(
        f"{path}: {path.suffix or 'a file without suffix'} is not a format that is read; "
        "convert it to safetensors"
    )


def _refuse_pickle(path: Path) -> UnsupportedError:
    return UnsupportedError(
        f"{path}: is a pickle, which can run code when it is loaded; convert it to safetensors, "
        "or if you trust it: --allow-pickle"
    )


def _no_weights(directory: Path, names: list[str], way_out: str) -> Exception:
    for name in names:
        if name.endswith(_OTHER_FORMATS):
            return _refuse_format(directory / name)
    single = [name for name in names if name.endswith((*PICKLES, ".npy"))]
    below = [name for name in names if any((directory / name).glob("*.safetensors"))]
    if single and not all(map(_NO_WEIGHTS.match, single)):
        way_out = f"give a file, such as {directory / single[0]}"
    elif below:
        way_out = f"give one of its directories, such as {directory / below[0]}"
    return BadInputError(f"{directory}: has no safetensors files; {way_out}")


def merge(
    contents: Mapping[Path, Mapping[str, Tensor]], weights: WeightFiles
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Put the tensors of all files together, as the index says, and say what it leaves out.

    A tensor that no index entry names is read all the same: transformers 5 and vLLM do so.

    Raises
    ------
    BadInputError
        If the index names a tensor that its file does not have, two files have the same tensor
        and no index chooses, or there are no tensors at all.
    """
    merged: dict[str, Tensor] = {}
    home: dict[str, Path] = {}
    for tensor, path in (weights.index or {}).items():
        if tensor not in contents[path]:
            raise BadInputError(
                f"{weights.index_file}: names tensor {shown(tensor)} in {path.name}, "
                "which does not have it; write or download the checkpoint again"
            )
        merged[tensor], home[tensor] = contents[path][tensor], path
    warnings = []
    for path, tensors in contents.items():
        extra = [tensor for tensor in tensors if home.get(tensor) != path]
        for tensor in extra:
            if tensor in home and weights.index is None:
                raise BadInputError(
                    f"{path}: tensor {shown(tensor)} is also in {home[tensor].name}; "
                    "give one of the files, or remove one"
                )
            if tensor not in home:
                merged[tensor], home[tensor] = tensors[tensor], path
        if extra and weights.index_file is not None:
            warnings.append(_outside_index(path, extra, home, weights.index_file))
    if not merged:
        where = weights.index_file or weights.files[0]
        raise BadInputError(f"{where}: has no tensors; write or download it again")
    return merged, tuple(warnings)


def _outside_index(path: Path, extra: list[str], home: Mapping[str, Path], index_file: Path) -> str:
    read = sum(home[tensor] == path for tensor in extra)
    return (
        f"{path}: {index_file.name} does not place {len(extra)} of its tensors there, such as "
        f"{shown(extra[0])}; read all the same: {read}, read from another file: {len(extra) - read}"
    )
