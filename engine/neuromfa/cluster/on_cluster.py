"""One pass over the weights of a checkpoint on a cluster."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import partial

from neuromfa.cluster.calls import Call, Cluster
from neuromfa.cluster.worker import digests, measure_unit
from neuromfa.measure import UnitSums
from neuromfa.protocol import Protocol
from neuromfa.scheduler import Prepared
from neuromfa.units import Unit


class OnCluster:
    """Units measured and tensors hashed by workers elsewhere.

    Tensors are hashed by whoever measured them, while the pages are in that machine's cache; what
    nobody measures whole, by calls of their own. So no weight passes through this process, and
    hardly any is read twice.

    Parameters
    ----------
    job : Prepared
        Checkpoint, network and plan.
    cluster : Cluster
        Who does it.
    protocol : Protocol
        Everything that may change a number.
    factors : mapping of str to float
        By tensor, what weights are multiplied by before their distances are taken.
    """

    def __init__(
        self, job: Prepared, cluster: Cluster, protocol: Protocol, factors: Mapping[str, float]
    ) -> None:
        self._job, self._protocol, self._factors = job, protocol, factors
        self._layers_of = Counter(t for layer in job.network.layers for t in layer.tensors)
        hashed = {t for unit in job.plan.units for t in self._hashed(unit)}
        others = [
            Call(partial(digests, tensors=(name,)), (name,), ref.nbytes)
            for name, ref in job.checkpoint.tensors.items()
            if name not in hashed
        ]
        self._answers = cluster.answers([*map(self._call, job.plan.units), *others])
        self._found: dict[str, str] = {}

    def __enter__(self) -> OnCluster:
        return self

    def __exit__(self, *_: object) -> None:
        """Cancel what has not started."""
        self._answers.close()

    def answers(self) -> Iterator[tuple[Unit, UnitSums]]:
        """Units with their sums, in the order of the plan."""
        for unit in self._job.plan.units:
            sums, found = next(self._answers)
            self._found |= found
            yield unit, sums

    def start(self, tensors: Iterable[str]) -> None:
        """Nothing: whoever measured tensors has hashed them."""

    def digests(self) -> dict[str, str]:
        """Hash of every tensor, once all units were taken."""
        for found in self._answers:
            self._found |= found
        return self._found

    def _hashed(self, unit: Unit) -> tuple[str, ...]:
        """Tensors that whoever measures a unit hashes: of this layer, measured whole, alone."""
        layer = self._job.network.layers[unit.layer]
        if unit.stop - unit.start < layer.neurons:
            return ()
        return tuple(t for t in layer.tensors if self._layers_of[t] == 1)

    def _call(self, unit: Unit) -> Call:
        layer = self._job.network.layers[unit.layer]
        work = partial(
            measure_unit,
            layer=layer,
            unit=unit,
            protocol=self._protocol,
            factors={t: self._factors[t] for t in layer.tensors if t in self._factors},
            hashed=self._hashed(unit),
            chunk_bytes=self._job.plan.chunk_bytes,
        )
        return Call(work, layer.tensors, unit.weight_bytes)
