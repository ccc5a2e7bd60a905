"""Items of work on a GPU: how matrices are cut, and how many are launched together."""

import ml_dtypes
import numpy as np

from neuromfa_kernels import NeighbourCounts, count_neighbours, radius_table
from neuromfa_kernels.cuda_counts import AT_ONCE, add_many
from neuromfa_kernels.cuda_items import Matrix, items_of, ways
from simt import SimtDriver, needs_compiler

pytestmark = needs_compiler


def test_cuts_leave_rows_aligned():
    """Whatever the number of pieces: a row copied by 16 bytes must not begin between them."""
    for edges in (10_240, 57_344, 8_191):
        matrix = Matrix(0, edges, 64, 2, 2 * edges)
        part = (*(0, 2, 2 * edges, edges, 64), 0, 0, 0, 64, 1, 64, 1, 1)
        (way, _, _), *_ = ways(matrix, np.dtype(ml_dtypes.bfloat16), arithmetic=True)
        items = items_of([part], way, rows=154, blocks=7)
        assert len(items) > 2
        assert not (items["weights"] % (2 * edges) % 16).any()
        assert items["edges"].astype(int) @ items["neurons"] == 64 * edges


def test_many_matrices_are_counted_in_groups():
    driver, table = SimtDriver(multiprocessors=2), radius_table("float32", 50)
    rng = np.random.default_rng(3)
    several = [0.1 * rng.standard_normal((20, 8)).astype("f4") for _ in range(AT_ONCE + 3)]
    jobs = [(driver.from_host(w), empty_counts(driver, table, 8)) for w in several]
    add_many(jobs, table, 1, driver=driver)
    assert len({launch[0] for launch in driver.launches if launch[0].startswith("columns")}) == 1
    assert sum(launch[0].startswith("columns") for launch in driver.launches) == 2
    for weights, (_, out) in zip(several, jobs, strict=True):
        wanted = count_neighbours(weights, table, neuron_axis=1)
        for mine, other in zip(out, wanted, strict=True):
            assert np.array_equal(np.asarray(mine), other)


def empty_counts(driver, table, n):
    return NeighbourCounts(
        driver.zeros((table.n_radii, n), np.uint32),
        driver.zeros((2, n), np.uint32),
        driver.zeros(4, np.int64),
    )
