"""What each tensor is: by its family, its module, the generic rule, a rule of exclusion."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuromfa.errors import BadInputError, UnsupportedError
from neuromfa.layers import Map
from neuromfa.network import classify
from neuromfa.protocol import Protocol
from neuromfa.tensors import TensorRef
from recorded import block_of_llama, layer, names, network, run


class TestGenericRule:
    LOOSE = {  # noqa: RUF012
        "normal.f32": ("float32", (64, 40)),
        "edges.bf16": ("bfloat16", (7, 9)),
        "lm_head": (5, 4),
        "embedding.bias": (3, 3),
        "vector": (9,),
        "mask": ("bool", (4, 4)),
        "nothing": (0, 4),
    }

    def test_loose_matrices_are_analysed_whole_under_their_own_names(self):
        net = run(self.LOOSE)
        assert net.architecture == "generic"
        assert names(net) == ["edges.bf16", "embedding.bias", "lm_head", "normal.f32"]
        assert net.coverage.unknown == tuple(names(net))
        assert net.coverage.analysed == ()
        assert net.coverage.excluded == {"mask": "buffer", "nothing": "empty", "vector": "vector"}
        assert layer(net, "normal.f32").maps == (Map("normal.f32", 0, 64, 40, 1, 0),)
        assert [x.role for x in net.layers] == ["matrix"] * 4
        assert "generic rule: 4 matrices" in net.warnings[-1]

    def test_tables_and_heads_are_known_by_name_in_a_model(self):
        net = run(
            {
                "tower.2.mix.weight": (4, 4),
                "tower.10.mix.weight": (4, 4),
                "embed_tokens.weight": (9, 4),
                "lm_head.weight": (9, 4),
                "tower.2.norm.weight": (4, 4),
            }
        )
        assert names(net) == ["tower.2.mix.weight", "tower.10.mix.weight"]
        assert [x.block for x in net.layers] == ["2", "10"]
        assert net.coverage.excluded == {
            "embed_tokens.weight": "embedding",
            "lm_head.weight": "head",
            "tower.2.norm.weight": "norm",
        }

    def test_included_tables_of_an_unknown_model(self):
        shapes = {"tower.0.mix.weight": (4, 4), "wte.weight": (9, 4), "lm_head.weight": (9, 4)}
        net = run(shapes, include=("embedding", "head"))
        assert layer(net, "wte.weight").neurons == 9
        assert layer(net, "lm_head.weight").neurons == 4

    def test_the_class_of_the_module_decides(self):
        shapes = {
            "a.weight": (6, 4),
            "b.weight": (6, 4),
            "c.weight": (6, 4),
            "d.weight": (6, 4, 3, 5),
            "e.weight": (6, 4, 3),
            "f.weight": (6, 4, 3),
        }
        kinds = dict(
            zip(
                shapes,
                ["Linear", "Conv1D", "Embedding", "Conv2d", "ConvTranspose1d", "Stack"],
                strict=True,
            )
        )
        net = run(shapes, kinds=kinds)
        assert {x.name: x.neurons for x in net.layers} == {
            "a.weight": 4,
            "b.weight": 6,
            "d.weight": 4,
            "e.weight": 6,
            "f.weight": 3,
        }
        assert layer(net, "d.weight").maps == (Map("d.weight", 0, 6, 60, 1, 0, 15),)
        assert layer(net, "e.weight").maps == (Map("e.weight", 0, 6, 12, 0, 0),)
        assert layer(net, "f.weight").maps == (Map("f.weight", 0, 24, 3, 1, 0),)
        assert net.coverage.excluded == {"c.weight": "embedding"}
        assert layer(run(shapes, kinds=kinds, include=("embedding",)), "c.weight").neurons == 6

    def test_an_unknown_matrix_of_a_known_family(self):
        shapes = block_of_llama(0) | {"model.layers.0.adapter.weight": (4, 48)}
        net = run(shapes, "llama")
        assert net.architecture == "llama"
        assert net.coverage.unknown == ("model.layers.0.adapter.weight",)
        assert names(net)[-1] == "model.layers.0.adapter.weight"
        assert "1 matrix is a layer of its own" in net.warnings[-1]
        with pytest.raises(UnsupportedError, match=r"0\.adapter\.weight.*--architectures"):
            run(shapes, "llama", strict=True)

    def test_strict_names_the_first_tensors(self):
        with pytest.raises(UnsupportedError, match="does not know a, b, c and 2 more"):
            run(dict.fromkeys("edcba", (3, 3)), strict=True)

    def test_an_unknown_model_type_is_named(self):
        net = run(block_of_llama(0), "llamoid")
        assert net.architecture == "llama"
        assert "'llamoid'" in net.warnings[0]
        assert "inferred" in net.warnings[1]
        assert "'llamoid'" in run({"x": (2, 2)}, "llamoid").warnings[0]

    def test_a_configuration_that_is_not_of_these_tensors(self):
        net = run({"x": (2, 2)}, "gpt2")
        assert net.architecture == "generic"
        assert "no tensor has a name of family gpt2" in net.warnings[0]

    def test_names_that_fit_two_orientations_are_not_guessed(self):
        square = {
            "h.0.attn.c_attn.weight": (8, 8),
            "h.0.attn.c_proj.weight": (8, 8),
            "h.0.mlp.c_fc.weight": (8, 8),
            "h.0.mlp.c_proj.weight": (8, 8),
        }
        net = run(square)
        assert net.architecture == "generic"
        assert "gpt2 and gpt_bigcode" in net.warnings[0]
        kinds = dict.fromkeys(square, "Conv1D")
        assert run(square, kinds=kinds).architecture == "gpt2"
        assert run(square, "gpt_bigcode").architecture == "gpt_bigcode"

    def test_shapes_decide_between_orientations(self):
        shapes = {"h.0.attn.c_attn.weight": (24, 8), "h.0.mlp.c_fc.weight": (32, 8)}
        assert run(shapes).architecture == "gpt_bigcode"
        turned = {name: shape[::-1] for name, shape in shapes.items()}
        assert run(turned).architecture == "gpt2"

    def test_the_module_overrides_a_family(self):
        shapes = {"h.0.attn.c_attn.weight": (24, 8), "h.0.mlp.c_fc.weight": (32, 8)}
        net = run(shapes, "gpt2", kinds=dict.fromkeys(shapes, "Linear"))
        assert {x.neurons for x in net.layers} == {8}
        assert "the module's order is used" in net.warnings[0]

    def test_different_widths_are_pointed_out(self):
        shapes = {"h.0.attn.c_attn.weight": (24, 8), "h.0.mlp.c_fc.weight": (32, 8)}
        (warning,) = run(shapes, "gpt2").warnings
        assert "0.attention_input reads 24 units and 0.mlp_input 32" in warning


class TestExcluded:
    def test_rules(self):
        shapes = block_of_llama(0) | {
            "model.embed_tokens.weight": (64, 48),
            "model.norm.weight": (48,),
            "model.layers.0.self_attn.q_proj.bias": (48,),
            "model.layers.0.self_attn.sinks": (6,),
            "model.layers.0.rotary_emb.inv_freq": (4,),
            "model.layers.0.mask": ("int64", (4, 4)),
            "model.layers.0.mlp.extra.weight": (0, 4),
            "lm_head.weight": (64, 48),
        }
        assert run(shapes, "llama").coverage.excluded == {
            "lm_head.weight": "head",
            "model.embed_tokens.weight": "embedding",
            "model.layers.0.mask": "buffer",
            "model.layers.0.mlp.extra.weight": "empty",
            "model.layers.0.rotary_emb.inv_freq": "buffer",
            "model.layers.0.self_attn.q_proj.bias": "bias",
            "model.layers.0.self_attn.sinks": "vector",
            "model.norm.weight": "norm",
        }

    def test_masks_and_biases_with_two_dimensions(self):
        mask = {"h.0.attn.bias": (1, 1, 8, 8), "h.0.attn.masked_bias": ("float32", ())}
        shapes = {"h.0.attn.c_attn.weight": (8, 24), **mask}
        assert set(run(shapes, "gpt2").coverage.excluded.values()) == {"buffer"}
        excluded = network("gpt_oss", "disk").coverage.excluded
        assert excluded["model.layers.0.mlp.experts.gate_up_proj_bias"] == "bias"
        excluded = network("t5", "disk").coverage.excluded
        assert {r for n, r in excluded.items() if "relative" in n} == {"relative_position"}
        excluded = network("deepseek_v3", "disk").coverage.excluded
        assert {r for n, r in excluded.items() if "correction" in n} == {"routing_bias"}
        excluded = network("cohere_qk", "disk").coverage.excluded
        assert excluded["model.layers.0.self_attn.q_norm.weight"] == "norm"
        assert (
            network("mamba", "disk").coverage.excluded["backbone.layers.0.mixer.A_log"] == "state"
        )

    @settings(max_examples=60)
    @given(
        st.dictionaries(
            st.text("ab.0w", min_size=1, max_size=6)
            | st.sampled_from([*block_of_llama(0), "lm_head.weight", "wte", "0.bias"]),
            st.tuples(
                st.sampled_from(["float32", "bfloat16", "int64", "bool", "float8_e5m2"]),
                st.lists(st.integers(0, 3), max_size=4),
            ),
            max_size=12,
        )
    )
    def test_every_tensor_is_analysed_or_excluded_or_unknown(self, tensors):
        try:
            net = classify(
                {n: TensorRef(n, d, tuple(s), "", 0) for n, (d, s) in tensors.items()},
                protocol=Protocol(),
            )
        except BadInputError as error:
            assert "no matrix to analyse" in str(error) or "must" in str(error)  # noqa: PT017
            return
        except UnsupportedError as error:
            assert "weights packed" in str(error)  # noqa: PT017
            return
        coverage = net.coverage
        parts = [*coverage.analysed, *coverage.excluded, *coverage.unknown]
        assert sorted(parts) == sorted(tensors)
        used = [t for x in net.layers for t in x.tensors]
        assert sorted(used) == sorted([*coverage.analysed, *coverage.unknown])
