"""The registry against tiny models of transformers: their names on disk and in memory."""

import pytest

from neuromfa.architectures import load_registry
from neuromfa.errors import BadInputError
from neuromfa.network import classify
from neuromfa.protocol import INCLUDABLE, Protocol
from neuromfa.recognition import widths
from neuromfa.tensors import TensorRef
from recorded import model, network, outline, recorded

STATED = {
    *("gpt2", "gpt_neox", "gptj", "gpt_neo", "gpt_bigcode", "codegen", "llama", "mistral", "qwen2"),
    *("qwen3", "gemma", "gemma2", "gemma3_text", "olmo", "olmo2", "olmo3", "smollm3", "granite"),
    *("cohere", "cohere2", "stablelm", "glm", "glm4", "starcoder2", "phi", "phi3", "falcon"),
    *("bloom", "opt", "mpt", "bert", "roberta", "xlm-roberta", "distilbert", "electra"),
    *("modernbert", "t5", "mt5", "umt5", "bart", "mbart", "vit", "mixtral", "phimoe", "qwen2_moe"),
    *("qwen3_moe", "olmoe", "deepseek_v2", "deepseek_v3", "kimi_k2", "glm4_moe", "gpt_oss"),
    *("llama4_text", "granitemoe", "dbrx", "mamba", "mamba2", "jamba", "falcon_h1"),
    *("falcon_mamba", "nemotron_h", "qwen3_next", "qwen3_5_text", "rwkv"),
}


@pytest.mark.parametrize("key", sorted(recorded()))
class TestRecordedModel:
    @pytest.mark.parametrize("namespace", ["disk", "memory"])
    def test_every_matrix_is_known_and_every_tensor_accounted_for(self, key, namespace):
        net = network(key, namespace)
        coverage = net.coverage
        assert coverage.unknown == ()
        assert net.warnings == ()
        accounted = [*coverage.analysed, *coverage.excluded]
        assert len(accounted) == len(set(accounted))
        assert set(accounted) == set(model(key, namespace)[0])
        assert set(coverage.excluded.values()) <= set(load_registry().rules)

    @pytest.mark.parametrize("experts", ["joint", "separate"])
    def test_the_network_is_the_same_on_disk_and_in_memory(self, key, experts):
        disk = network(key, "disk", experts=experts)
        assert outline(disk) == outline(network(key, "memory", experts=experts))
        assert disk.architecture == network(key, "memory").architecture

    def test_the_module_class_confirms_the_orientation(self, key):
        tensors, kinds, _ = model(key, "memory")
        for layer in network(key, "memory").layers:
            for part in layer.maps:
                axis = {"Linear": 1, "FalconLinear": 1, "Conv1D": 0}.get(kinds[part.tensor])
                assert axis is None or part.neuron_axis == axis, part.tensor
                assert part.stop * part.cols <= tensors[part.tensor].size

    def test_one_width_of_the_residual_per_stack(self, key):
        net = network(key, "disk")
        for stack, found in widths(net.layers, load_registry()).items():
            assert len(found) == 1, (stack, found)
            assert next(iter(found)) == (64 if key == "codegen" else 48)

    def test_every_weight_is_in_exactly_one_map(self, key):
        tensors = model(key, "memory")[0]
        for experts in ("joint", "separate"):
            rows = {}
            for layer in network(key, "memory", experts=experts).layers:
                for part in layer.maps:
                    rows.setdefault((part.tensor, part.cols), []).extend(
                        range(part.start, part.stop)
                    )
            for (name, cols), found in rows.items():
                assert sorted(found) == list(range(tensors[name].size // cols))

    def test_everything_can_be_included(self, key):
        plain = outline(network(key, "disk"))
        net = network(key, "disk", include=INCLUDABLE)
        assert not set(net.coverage.excluded.values()) & set(INCLUDABLE)
        assert [x for x in outline(net) if x in plain] == plain
        assert {x[2] for x in outline(net) if x not in plain} <= set(INCLUDABLE)

    def test_the_family_is_inferred_from_names_alone(self, key):
        inferred = network(key, "disk", known=False)
        assert outline(inferred) == outline(network(key, "disk"))
        assert len(inferred.warnings) == 1
        assert "inferred from tensor names" in inferred.warnings[0]


def test_every_stated_model_type_is_registered():
    registry = load_registry()
    assert sorted(t for t in STATED if registry.family(t) is None) == []
    assert sorted(STATED - set(recorded()) - {"falcon", "kimi_k2"}) == []


def test_a_model_type_belongs_to_one_family():
    types = [t for f in load_registry().families.values() for t in f.model_types]
    assert sorted(t for t in set(types) if types.count(t) > 1) == []


@pytest.mark.parametrize(
    "prefix", ["", "model.", "language_model.model.", "module._orig_mod.model."]
)
def test_roots_do_not_matter(prefix):
    family = load_registry().family("llama")
    match = family.match(f"{prefix}layers.11.self_attn.q_proj.weight")
    assert (match.row.role, match.block, match.stack) == ("attention_input", (11,), "")
    assert family.match(f"teacher.{prefix}layers.11.self_attn.q_proj.weight") is None


def test_a_tower_has_blocks_of_its_own():
    family = load_registry().family("llama")
    match = family.match(
        "model.vision_tower.vision_model.encoder.layers.3.self_attn.out_proj.weight"
    )
    assert (match.row.role, match.block, match.stack) == ("attention_output", (3,), "vision")


@pytest.mark.parametrize(
    ("config", "family"),
    [
        ({"model_type": "mistral"}, "llama"),
        ({"model_type": "gpt2"}, "gpt2"),
        ({"model_type": "llava", "text_config": {"model_type": "qwen2_moe"}}, "qwen2_moe"),
        ({"architectures": ["GPTNeoXForCausalLM"]}, "gpt_neox"),
        ({"architectures": ["GPT2LMHeadModel"]}, "gpt2"),
        ({"architectures": ["XLMRobertaModel"], "model_type": "new"}, "bert"),
        ({"model_type": "resnet", "architectures": ["ResNetForImageClassification"]}, None),
        ({}, None),
    ],
)
def test_the_configuration_names_the_family(config, family):
    found = load_registry().family_of(config)
    assert (found and found.name) == family


def test_describe_lists_families_and_rows():
    registry = load_registry()
    assert {row["family"] for row in registry.describe()} == set(registry.families)
    rows = {row["pattern"]: row for row in registry.describe("gpt2")}
    assert rows["attn.c_attn"] == {
        "pattern": "attn.c_attn",
        "role": "attention_input",
        "orientation": "io",
        "split": "qkv_cat",
        "form": "matrix",
        "analysed": "yes",
    }
    assert rows["attn.c_attn"] in registry.describe("openai-gpt")
    assert any(row["role"] == "embedding" and row["analysed"] == "no" for row in rows.values())
    with pytest.raises(BadInputError, match="no such family or model type; known families"):
        registry.describe("gpt9")


OWN = """
[family.mine]
model_types = ["mine", "llama"]
blocks = ["layer_list.{block}."]
use = ["glu"]
[family.mine.block]
"mix.(a|b)" = "attention_input"
"mix.out" = { role = "attention_output", orientation = "io" }
[family.mine.model]
"table" = { role = "embedding", orientation = "io" }
"""


def test_a_file_adds_families_and_takes_precedence(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text(OWN, encoding="utf-8")
    registry = load_registry(file)
    assert registry.family("mine").name == "mine"
    assert registry.family("llama").name == "llama"  # a family's own name
    assert registry.family_of({"model_type": "mistral"}).name == "llama"
    shapes = {
        "model.layer_list.0.mix.a.weight": (5, 8),
        "model.layer_list.0.mix.b.weight": (3, 8),
        "model.layer_list.0.mix.out.weight": (8, 4),
        "model.layer_list.0.mlp.up_proj.weight": (16, 8),
        "model.table": (9, 8),
    }
    tensors = {n: TensorRef(n, "bfloat16", s, "x", 0) for n, s in shapes.items()}
    net = classify(
        tensors, protocol=Protocol(), config={"model_type": "mine"}, registry=registry, strict=True
    )
    assert [(x.name, x.neurons) for x in net.layers] == [
        ("0.attention_input", 8),
        ("0.attention_output", 8),
        ("0.mlp_input", 8),
    ]
    assert net.coverage.excluded == {"model.table": "embedding"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[family.x", "registry is not valid TOML"),
        ("roots = []", "roots: must be tables"),
        ("[other.x]", "other: must be tables"),
        ("[family]\nx = 3", "family x: must be a table"),
        ("[family.x]\ncolour = 1", "family x: colour: must be one of block, blocks"),
        (
            "[family.x]\nuse = ['nothing']",
            "family x: use: no nothing among attention, ",
        ),
        ("[family.x]\ntowers = ['babel']", "family x: towers: no babel among audio, vision"),
        ("[family.x]\nblocks = 'h.'", "family x: blocks: must be a list of words"),
        ("[family.x]\nblocks = ['h.{block}']", "must contain {block} and end with a dot"),
        ("[family.x.block]\na = 'mlp_input'", "family x: block: needs blocks"),
        ("[family.x]\nblock = 3\nblocks = ['h.{block}.']", "family x: block: must be a table"),
        ("[family.x]\nmodel_types = ['x']", "family x: no tensor is analysed"),
        ("[family.x.model]\na = 'mlp'", "family x: a: role 'mlp': must be one of mtp_input"),
        ("[family.x.model]\na = 3", "family x: a: must be a role, or a table with a role"),
        ("[family.x.model]\na = {orientation = 'oi'}", "a table with a role"),
        ("[family.x.model]\na = {role = 'mlp_input', size = 3}", "a: size: must be one of"),
        ("[family.x.model]\na = {role = ['b']}", "a: role: must be a word"),
        ("[family.x.model]\na = {role = 'mlp_input', shared = 'yes'}", "a: shared: must be true"),
        (
            "[family.x.model]\na = {role = 'mlp_input', orientation = 'xy'}",
            "'xy': must be one of oi",
        ),
        ("[family.x.model]\n'{layer}.a' = 'mlp_input'", "{layer}: must be one of {block}"),
        (
            "[family.x.model]\n'(a|b)' = 'mlp_input'\nb = 'mlp_hidden'",
            "family x: b: two rows for the tensor name b",
        ),
    ],
)
def test_a_broken_file_is_one_clear_sentence(tmp_path, text, message):
    file = tmp_path / "broken.toml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(BadInputError) as error:
        load_registry(file)
    said = str(error.value)
    assert said.startswith(f"{file}: ")
    assert message in said
    assert "\n" not in said


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(BadInputError, match="registry cannot be read: No such file"):
        load_registry(tmp_path / "none.toml")
