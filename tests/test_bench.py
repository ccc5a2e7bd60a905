"""What of the benches can be tried without a GPU: that rivals count right, and what is missing."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import torch

from neuromfa_kernels import count_neighbours, radius_table
from strategies import awkward_values

BENCH = Path(__file__).parent.parent / "bench"
SPEC = importlib.util.spec_from_file_location("peers", BENCH / "peers.py")
peers = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(peers)


def test_a_rival_gives_the_same_integers():
    weights = np.random.default_rng(0).normal(0, 0.02, (700, 67)).astype(ml_dtypes.bfloat16)
    awkward = awkward_values(weights.dtype, 150.0)
    weights[: len(awkward), 5] = awkward
    weights[0], weights[1, ::2], weights[1, 1::2] = 0, np.nan, np.inf
    table = radius_table(weights.dtype, 150.0)
    tensor = torch.from_numpy(weights.view(np.int16)).view(torch.bfloat16)
    found = peers.scatter_add(table, torch.device("cpu"))(tensor)
    assert np.array_equal(found.numpy(), count_neighbours(weights, table, neuron_axis=1).counts)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_there_is_one_sentence():
    command = [sys.executable, str(BENCH / "kernels.py"), "--device", "cuda"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert run.stdout == ""
    assert run.stderr.startswith("bench: ")
    assert run.stderr.count("\n") == 1
