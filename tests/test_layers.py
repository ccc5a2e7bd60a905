"""Maps of one layer: experts however they are stored, tables, heads and convolutions."""

import pytest

from neuromfa.layers import Map
from neuromfa.network import classify
from neuromfa.protocol import Protocol
from recorded import layer, model, names, network, run


class TestExperts:
    def test_joint_experts_have_neurons_expert_by_expert_then_the_shared_one(self):
        net = network("qwen2_moe", "disk")
        hidden = layer(net, "0.mlp_hidden")
        assert [m.first_neuron for m in hidden.maps] == [0, 24, 48, 72, 96]
        assert hidden.neurons == 4 * 24 + 32
        assert hidden.tensors[-1].endswith("shared_expert.down_proj.weight")
        read = layer(net, "0.mlp_input")
        assert read.neurons == 48
        assert read.tensors[0].endswith("mlp.gate.weight")
        assert len(read.tensors) == 1 + 8 + 3

    def test_a_fused_stack_is_one_map_where_it_can_be(self):
        net = network("qwen2_moe", "memory")
        stack = [m for m in layer(net, "0.mlp_input").maps if m.tensor.endswith("gate_up_proj")]
        assert stack == [Map("model.layers.0.mlp.experts.gate_up_proj", 0, 4 * 48, 48, 1, 0)]
        down = [
            m for m in layer(net, "0.mlp_hidden").maps if m.tensor.endswith("experts.down_proj")
        ]
        assert [(m.start, m.stop, m.first_neuron) for m in down] == [
            *((0, 48, 0), (48, 96, 24), (96, 144, 48), (144, 192, 72)),
        ]

    def test_transposed_experts_have_neurons_as_rows(self):
        net = network("gpt_oss", "disk")
        fused = [m for m in layer(net, "0.mlp_input").maps if m.neuron_axis == 0]
        assert [(m.start, m.stop, m.cols, m.first_neuron) for m in fused] == [
            (48 * e, 48 * e + 48, 160, 0) for e in range(4)
        ]
        (down,) = layer(net, "0.mlp_hidden").maps
        assert (down.start, down.stop, down.cols, down.neuron_axis) == (0, 320, 48, 0)

    def test_flat_experts_are_counted_by_the_router(self):
        joint = network("dbrx", "disk")
        assert [m.neuron_axis for m in layer(joint, "0.mlp_hidden").maps] == [0]
        assert layer(joint, "0.mlp_hidden").neurons == 320
        net = network("dbrx", "disk", experts="separate")
        assert [x.name for x in net.layers if x.block == "0"] == [
            "0.attention_input",
            "0.attention_output",
            "0.mlp_input",
            *(f"0.mlp_input.expert.{e}" for e in range(4)),
            *(f"0.mlp_hidden.expert.{e}" for e in range(4)),
        ]
        assert layer(net, "0.mlp_hidden.expert.3").maps == (
            Map("transformer.blocks.0.ffn.experts.mlp.w2", 240, 320, 48, 0, 0),
        )

    def test_separate_experts_have_layers_of_their_own(self):
        net = network("qwen2_moe", "memory", experts="separate")
        assert [x.name for x in net.layers if x.block == "1"][2:] == [
            "1.mlp_input",
            *(f"1.mlp_input.expert.{e}" for e in (0, 1, 2, 3, "shared")),
            *(f"1.mlp_hidden.expert.{e}" for e in (0, 1, 2, 3, "shared")),
        ]
        assert layer(net, "1.mlp_input").tensors == ("model.layers.1.mlp.gate.weight",)
        one = layer(net, "1.mlp_input.expert.2")
        assert one.role == "mlp_input"
        assert one.maps == (Map("model.layers.1.mlp.experts.gate_up_proj", 96, 144, 48, 1, 0),)

    def test_expert_numbers_sort_as_numbers(self):
        shapes = {"model.layers.0.mlp.gate.weight": (12, 8)}
        for e in (11, 2, 10, *range(2), *range(3, 10)):
            shapes[f"model.layers.0.mlp.experts.{e}.up_proj.weight"] = (4, 8)
            shapes[f"model.layers.0.mlp.experts.{e}.down_proj.weight"] = (8, 4)
        hidden = layer(run(shapes, "qwen3_moe"), "0.mlp_hidden")
        assert [t.split(".")[5] for t in hidden.tensors] == [str(e) for e in range(12)]


class TestInclude:
    def test_tables_have_rows_as_neurons_and_the_head_columns(self):
        net = network("gpt_neox", "disk", include=("embedding", "head"))
        assert names(net)[0] == "embedding"
        assert names(net)[-1] == "head"
        (table,), (head,) = net.layers[0].maps, net.layers[-1].maps
        assert (table.neuron_axis, table.neurons) == (0, 64)
        assert (head.neuron_axis, head.neurons) == (1, 48)

    @pytest.mark.parametrize("namespace", ["disk", "memory"])
    def test_a_tied_table_counts_once_whatever_the_storage(self, namespace):
        plain = network("gpt2", namespace)
        both = network("gpt2", namespace, include=("embedding", "head"))
        assert [n for n in names(both) if n not in names(plain)] == ["embedding"]
        head = network("gpt2", namespace, include=("head",))
        assert names(head)[-1] == "head"
        assert head.layers[-1].neurons == 48
        if namespace == "memory":
            assert both.coverage.excluded["lm_head.weight"] == "tied"

    def test_a_tied_name_need_not_be_a_tensor_of_its_own(self):
        tensors, _, aliases = model("gpt2", "memory")
        del tensors["lm_head.weight"]
        config = {"model_type": "gpt2"}
        net = classify(tensors, protocol=Protocol(), config=config, aliases=aliases)
        assert net.coverage.excluded["transformer.wte.weight"] == "embedding"

    def test_convolutions(self):
        patch = network("vit", "disk", include=("convolution", "position"))
        (kernel,) = layer(patch, "convolution").maps
        assert (kernel.neurons, kernel.columns_per_neuron, kernel.rows) == (3, 256, 48)
        assert layer(patch, "position").neurons == 5
        (filters,) = layer(network("mamba", "disk", include=("convolution",)), "0.convolution").maps
        assert (filters.neuron_axis, filters.neurons, filters.cols) == (0, 96, 4)
