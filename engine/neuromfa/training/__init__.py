"""Analyses of a model while it is trained: of its live weights, every so many steps.

`Monitor` is for a loop of your own, `HuggingFaceMonitor` for the Trainer of transformers,
`LightningMonitor` for that of Lightning. Each is loaded when it is asked for, and so are the
packages that it is made for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from neuromfa.errors import ResourceError

if TYPE_CHECKING:
    from neuromfa.training.hugging_face_trainer import HuggingFaceMonitor
    from neuromfa.training.lightning_trainer import LightningMonitor
    from neuromfa.training.monitor import Monitor
    from neuromfa.training.run_directory import assemble_training

__all__ = ["HuggingFaceMonitor", "LightningMonitor", "Monitor", "assemble_training"]

_HOMES = {
    "HuggingFaceMonitor": ("hugging_face_trainer", "transformers"),
    "LightningMonitor": ("lightning_trainer", "lightning"),
    "Monitor": ("monitor", ""),
    "assemble_training": ("run_directory", ""),
}
"""Module of each name, and the package that it is made for."""


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, package = _HOMES[name]
    try:
        found = getattr(import_module(f"{__name__}.{module}"), name)
    except ModuleNotFoundError as error:
        if not package:
            raise
        raise ResourceError(
            f"{name}: is made for {package}, which is not installed; pip install {package}"
        ) from error
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
