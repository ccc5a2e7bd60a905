"""Which process of a distributed training analyses what."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from neuromfa.sharded_arrays import is_sharded

if TYPE_CHECKING:
    import torch


def rank() -> int | None:
    """Rank of this process; None if it is the only one."""
    distributed: Any = getattr(sys.modules.get("torch"), "distributed", None)
    if distributed is None or not distributed.is_available() or not distributed.is_initialized():
        return None
    return int(distributed.get_rank())


def shares(model: torch.nn.Module) -> bool:
    """Whether each rank holds a part of a model only, so that all have to analyse it together."""
    return any(is_sharded(parameter) for parameter in model.parameters())


def agreed(due: bool) -> bool:  # noqa: FBT001  (the one thing that it is about)
    """What rank 0 decides: all ranks analyse a sharded model together, or none does."""
    distributed: Any = sys.modules["torch"].distributed
    decision = [due]
    distributed.broadcast_object_list(decision)
    return decision[0]
