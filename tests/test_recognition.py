"""What is refused: quantised weights, shapes that contradict, nothing to analyse."""

import pytest

from neuromfa.errors import BadInputError, UnsupportedError
from neuromfa.network import classify
from neuromfa.protocol import Protocol
from recorded import block_of_llama, refs, run


class TestRefusals:
    @pytest.mark.parametrize(
        ("extra", "said"),
        [
            (
                {"model.layers.0.mlp.up_proj.weight_scale_inv": ("float32", (1, 1))},
                "FP8 with block",
            ),
            ({"model.layers.0.mlp.experts.down_proj_blocks": ("uint8", (2, 2, 2, 2))}, "MXFP4"),
            ({"model.layers.0.mlp.up_proj.weight_packed": ("int32", (2, 2))}, "compressed-tensors"),
            ({"model.layers.0.mlp.up_proj.weight_scale": (2, 1)}, "compressed-tensors"),
            ({"model.layers.0.mlp.up_proj.weight.absmax": ("float32", (9,))}, "bitsandbytes 4-bit"),
            (
                {"a.weight.quant_state.bitsandbytes__nf4": ("uint8", (9,))},
                "bitsandbytes 4-bit",
            ),
            ({"model.layers.0.mlp.up_proj.SCB": ("float32", (9,))}, "bitsandbytes 8-bit"),
            ({"model.layers.0.mlp.up_proj.qweight": ("int32", (9, 2))}, "GPTQ or AWQ"),
            ({"model.layers.0.mlp.up_proj.weight": ("int8", (80, 48))}, "int8, weights packed"),
            (
                {
                    "model.layers.0.mlp.up_proj.weight": ("float8_e4m3fn", (80, 48)),
                    "model.layers.0.mlp.up_proj.scale": ("float32", (1, 1)),
                },
                "FP8 with scales",
            ),
        ],
    )
    def test_quantised_weights_by_the_name_of_their_format(self, extra, said):
        with pytest.raises(UnsupportedError) as error:
            run(block_of_llama(0) | extra, "llama")
        assert said in str(error.value)
        assert str(error.value).startswith("model.safetensors: tensor ")
        assert "before quantisation" in str(error.value)

    @pytest.mark.parametrize("inside", [False, True])
    def test_the_configuration_says_quantised(self, inside):
        config = {"quantization_config": {"quant_method": "aqlm"}}
        config = {"text_config": config} if inside else config
        with pytest.raises(UnsupportedError, match="aqlm"):
            classify(refs(block_of_llama(0)), protocol=Protocol(), config=config)

    def test_plain_float8_is_read(self):
        assert len(run(block_of_llama(0), "llama", dtype="float8_e4m3fn").layers) == 4

    def test_units_that_disagree(self):
        shapes = block_of_llama(0) | {"model.layers.0.self_attn.k_proj.weight": (16, 64)}
        with pytest.raises(BadInputError) as error:
            run(shapes, "llama")
        for part in ("0.attention_input", "k_proj.weight", "64", "q_proj.weight", "48"):
            assert part in str(error.value)

    @pytest.mark.parametrize("shape", [(80 * 48,), (2, 40, 48)])
    def test_a_matrix_of_another_shape(self, shape):
        shapes = block_of_llama(0) | {"model.layers.0.mlp.up_proj.weight": shape}
        with pytest.raises(BadInputError, match=r"up_proj\.weight has shape .* must have 2 dim"):
            run(shapes, "llama")

    def test_the_same_matrix_twice(self):
        shapes = block_of_llama(0) | {"layers.0.self_attn.q_proj.weight": (48, 48)}
        with pytest.raises(BadInputError, match="are the same matrix of the same block"):
            run(shapes, "llama")

    def test_nothing_to_analyse(self):
        with pytest.raises(BadInputError, match=r"no matrix to analyse .*--include embedding"):
            run({"model.embed_tokens.weight": (9, 4), "model.norm.weight": (4,)}, "llama")
        with pytest.raises(BadInputError, match="has no matrix to analyse"):
            run({})
