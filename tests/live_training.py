"""Small models and trainings, with everything that an analysis could disturb."""

import random

import numpy as np
import torch
from torch import nn


class Block(nn.Module):
    """A block with dropout, so that a disturbed random state shows in the weights."""

    def __init__(self, width=16):
        super().__init__()
        self.up = nn.Linear(width, 3 * width)
        self.down = nn.Linear(3 * width, width)
        self.frozen = nn.Dropout(0.1).eval()
        self.dropout = nn.Dropout(0.2)

    def forward(self, x):
        return x + self.frozen(self.down(self.dropout(torch.relu(self.up(x)))))


def model(blocks=3, seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(*(Block() for _ in range(blocks)))


def seed_all(seed):
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002  (the global state is what is watched)
    torch.manual_seed(seed)


def random_states():
    """The states of all generators, as bytes and numbers."""
    kind, keys, *rest = np.random.get_state()  # noqa: NPY002  (as above)
    return random.getstate(), kind, keys.tobytes(), rest, torch.get_rng_state().numpy().tobytes()


def weights(module):
    return {name: tensor.numpy().tobytes() for name, tensor in module.state_dict().items()}


def train(module, monitor=None, *, steps=7, lr=0.01):
    """Train on noise from every generator; what a step leaves behind."""
    seed_all(1)
    optimizer = torch.optim.AdamW(module.parameters(), lr=lr)
    left = []
    for step in range(1, steps + 1):
        noise = random.random() + np.random.normal()  # noqa: NPY002  (as above)
        module(torch.randn(8, 16) + noise).square().mean().backward()
        if monitor is not None:
            monitor.step(step - 1)  # between gradients and update, where nothing may change
        left.append({n: p.grad.numpy().tobytes() for n, p in module.named_parameters()})
        optimizer.step()
        optimizer.zero_grad()
    if monitor is not None:
        monitor.step(steps)
    return left, weights(module), random_states(), [m.training for m in module.modules()]
