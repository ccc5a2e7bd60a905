"""One rank of a distributed program: analyses modules of which it holds a part.

``sharded_ranks.py RANK SIZE FOLDER`` writes what each case gave to ``FOLDER/RANK.json``.
"""

import json
import sys
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Partial, Replicate, Shard, distribute_tensor

import neuromfa

Q = (-1.0, 0.0, 1.0)
PROTOCOL = neuromfa.Protocol(q=Q, min_neighbours=3)


class Attention(nn.Module):
    def __init__(self, width):
        super().__init__()
        for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
            setattr(self, name, nn.Linear(width, width, bias=False))


class Experts(nn.Module):
    """Matrices of several experts in one tensor."""

    def __init__(self, experts, width, inner):
        super().__init__()
        self.gate_up_proj = nn.Parameter(torch.empty(experts, width, 2 * inner))
        self.down_proj = nn.Parameter(torch.empty(experts, inner, width))


class Block(nn.Module):
    def __init__(self, width, inner):
        super().__init__()
        self.self_attn = Attention(width)
        self.up, self.down = nn.Linear(width, inner), nn.Linear(inner, width)
        self.norm = nn.LayerNorm(width)


class Model(nn.Module):
    """Two blocks, tied embeddings, a convolution, a matrix with few rows."""

    def __init__(self, width=21, inner=35, dtype=torch.float32):
        super().__init__()
        self.embed = nn.Embedding(19, width)
        self.layers = nn.ModuleList([Block(width, inner) for _ in range(2)])
        self.conv = nn.Conv2d(6, 10, (2, 3))
        self.few = nn.Linear(1100, 2)
        self.head = nn.Linear(width, 19, bias=False)
        self.head.weight = self.embed.weight
        torch.manual_seed(5)
        for parameter in self.parameters():
            parameter.data.normal_(0, 0.1)
        self.to(dtype)


def whole(dtype=torch.float32):
    return Model(dtype=dtype)


def placed(mesh, placements, dtype=torch.float32, state=None):
    """State dict of the model, each tensor placed by its number of axes; tied ones stay tied."""
    found, made = {}, {}
    for name, tensor in (state or whole(dtype).state_dict()).items():
        own = [
            p if not isinstance(p, Shard) or p.dim < tensor.ndim else Replicate()
            for p in placements
        ]
        if tensor.data_ptr() not in made:
            made[tensor.data_ptr()] = distribute_tensor(tensor, mesh, own)
        found[name] = made[tensor.data_ptr()]
    return found


def fsdp(mesh, dtype=torch.float32):
    module = whole(dtype)
    for block in module.layers:
        fully_shard(block, mesh=mesh)
    return fully_shard(module, mesh=mesh)


def record(source, protocol=PROTOCOL, **settings):
    analysis = neuromfa.analyse(source, protocol, fractal_dimensions=True, **settings).to_dict()
    made = analysis.pop("provenance")
    del analysis["source"]
    return {"content_hash": made["content_hash"], **analysis}


def refusal(action):
    try:
        action()
    except neuromfa.NeuromfaError as error:
        return f"{type(error).__name__}: {error}"
    return "not refused"


def interrupted(source, rank):
    """Stop on one rank only, in the middle."""

    class Enough(Exception):
        pass

    def stop(state):
        if rank == 1 and state.finished:
            raise Enough

    try:
        neuromfa.analyse(source, PROTOCOL, progress=stop)
    except Enough:
        return "Enough"
    except neuromfa.NeuromfaError as error:
        return f"{type(error).__name__}: {error}"


def opened_once(source, rank):
    """Analysed, stopped on one rank, and analysed again."""
    with neuromfa.open_checkpoint(source) as checkpoint:
        first = record(checkpoint)
        stopped = interrupted(checkpoint, rank)
        return [first == record(checkpoint), stopped]


def spoiled(mesh):
    """A weight of the last rank is NaN."""
    state = whole().state_dict()
    state["layers.1.up.weight"][34, 7] = torch.nan
    return placed(mesh, [Shard(0)], state=state)


def uneven(mesh, rank):
    mine = torch.ones(1 + rank, 4)
    n = sum(1 + k for k in range(mesh.size()))
    return {"w": DTensor.from_local(mine, mesh, [Shard(0)], shape=(n, 4), stride=(4, 1))}


def partial(mesh):
    return {"w": DTensor.from_local(torch.ones(4, 4), mesh, [Partial()])}


def cases(rank, size):
    """Name of what must be equal to the whole model, or of a refusal, and what does it."""
    mesh = init_device_mesh("cpu", (size,), mesh_dim_names=("ranks",))
    include = neuromfa.Protocol(q=Q, min_neighbours=3, include=("convolution", "embedding"))
    for dtype in (torch.float32, torch.bfloat16):
        kind = str(dtype).removeprefix("torch.")
        yield f"state:{kind}:Shard(0)", lambda d=dtype: record(placed(mesh, [Shard(0)], d))
    yield "state:float32:Shard(1)", lambda: record(placed(mesh, [Shard(1)]))
    yield "state:float32:Replicate", lambda: record(placed(mesh, [Replicate()]))
    yield "module:float32:fully_shard", lambda: record(fsdp(mesh))
    yield "include:Shard(0)", lambda: record(placed(mesh, [Shard(0)]), include)
    yield "include:Shard(1)", lambda: record(placed(mesh, [Shard(1)]), include)
    experts = {"layers.0.mlp.experts.gate_up_proj": (5, 12, 18),
               "layers.0.mlp.experts.down_proj": (5, 9, 12)}  # fmt: skip
    torch.manual_seed(1)
    experts = {name: torch.randn(shape) / 10 for name, shape in experts.items()}
    for axis in range(3):
        own = {n: distribute_tensor(t, mesh, [Shard(axis)]) for n, t in experts.items()}
        yield f"experts:Shard({axis})", lambda s=own: record(s)
    mixed = {**whole().state_dict(), **fsdp(mesh).layers[0].state_dict(prefix="layers.0.")}
    yield "state:float32:mixed", lambda: record(mixed)
    yield (
        "units",
        lambda: record(placed(mesh, [Shard(1)]), threads=1 + rank, memory=(2 + rank) << 24),
    )
    if size > 2:
        grid = init_device_mesh("cpu", (1, size), mesh_dim_names=("again", "ranks"))
        yield "state:float32:2-D", lambda: record(placed(grid, [Replicate(), Shard(0)]))
    else:
        grid = init_device_mesh("cpu", (size, 1))
        yield "state:float32:2-D", lambda: record(placed(grid, [Shard(1), Shard(0)]))
    yield (
        "refused:relative",
        lambda: refusal(lambda: record(fsdp(mesh), neuromfa.Protocol(q=Q, distance="relative"))),
    )
    yield "refused:structure", lambda: refusal(lambda: record(fsdp(mesh), structure="simple"))
    yield "refused:nan", lambda: refusal(lambda: record(spoiled(mesh)))
    yield "refused:uneven", lambda: refusal(lambda: record(uneven(mesh, rank)))
    yield "refused:partial", lambda: refusal(lambda: record(partial(mesh)))
    conv = {"conv.weight": distribute_tensor(torch.ones(4, 6, 2, 3), mesh, [Shard(3)])}
    yield (
        "refused:inside",
        lambda: refusal(lambda: record(conv, neuromfa.Protocol(include=("convolution",)))),
    )
    yield "again", lambda: opened_once(fsdp(mesh), rank)
    yield "stopped", lambda: interrupted(fsdp(mesh), rank)
    yield (
        "dropped",
        lambda: record(spoiled(mesh), neuromfa.Protocol(q=Q, min_neighbours=3, nonfinite="drop")),
    )


def main(rank, size, folder):
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder}/meeting",
        rank=rank,
        world_size=size,
        timeout=timedelta(seconds=60),
    )
    found = {name: action() for name, action in cases(rank, size)}
    (Path(folder) / f"{rank}.json").write_text(json.dumps(found))
    dist.destroy_process_group()


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
