"""What engines need, for the sizes that are published, and what is refused before any weights are read."""

import json

import pytest

from actors.rating.settings import RaterSettings
from actors.rating.sizing import (
    Machine,
    Needs,
    check_fits,
    needs_of,
    processor_cache,
    shape_of,
    this_machine,
    visible_gpus,
)

GB = 10**9


def qwen2(width, inner, layers, heads, kv_heads, vocabulary, tied, **tower):
    """A configuration as published for Qwen2-VL and, with a tower of its own, Qwen2.5-VL."""
    vision = tower or {"depth": 32, "embed_dim": 1280, "hidden_size": width, "mlp_ratio": 4, "num_heads": 16}
    return {
        "model_type": "qwen2_5_vl" if tower else "qwen2_vl",
        **_text(width, inner, layers, heads, kv_heads),
        "vocab_size": vocabulary,
        "tie_word_embeddings": tied,
        "dtype": "bfloat16",
        "vision_config": vision | {"patch_size": 14, "spatial_merge_size": 2, "temporal_patch_size": 2},
    }


def qwen25(width, *text, inner=3420):
    tower = {"depth": 32, "hidden_size": 1280, "intermediate_size": inner, "out_hidden_size": width, "num_heads": 16}
    return qwen2(width, *text, **tower, fullatt_block_indexes=[7, 15, 23, 31])


def qwen3(width, inner, layers, heads, kv_heads, tied, small_tower, **experts):
    depth, tower, tower_inner, taps = (24, 1024, 4096, [5, 11, 17]) if small_tower else (27, 1152, 4304, [8, 16, 24])
    text = _text(width, inner, layers, heads, kv_heads) | {"head_dim": 128, "vocab_size": 151_936} | experts
    return {
        "model_type": "qwen3_vl_moe" if experts else "qwen3_vl",
        "tie_word_embeddings": tied,
        "text_config": text | {"tie_word_embeddings": tied},
        "vision_config": {
            "depth": depth, "hidden_size": tower, "intermediate_size": tower_inner, "out_hidden_size": width,
            "num_heads": 16, "patch_size": 16, "spatial_merge_size": 2, "num_position_embeddings": 2304,
            "deepstack_visual_indexes": taps,
        },
    }  # fmt: skip


def _text(width, inner, layers, heads, kv_heads):
    return {
        "hidden_size": width, "intermediate_size": inner, "num_hidden_layers": layers, "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
    }  # fmt: skip


A3B = {"num_experts": 128, "num_experts_per_tok": 8, "moe_intermediate_size": 768, "decoder_sparse_step": 1}
# Shape, parameters, and bytes of keys and values a token: 2 x layers x key-value heads x 128 x 2.
PUBLISHED = {
    "Qwen2-VL-2B": (qwen2(1536, 8960, 28, 12, 2, 151_936, True), 2_208_985_600, 28_672),
    "Qwen2-VL-7B": (qwen2(3584, 18_944, 28, 28, 4, 152_064, False), 8_291_375_616, 57_344),
    "Qwen2-VL-72B": (qwen2(8192, 29_568, 80, 64, 8, 152_064, False), 73_405_560_320, 327_680),
    "Qwen2.5-VL-3B": (qwen25(2048, 11_008, 36, 16, 2, 151_936, True), 3_754_622_976, 36_864),
    "Qwen2.5-VL-7B": (qwen25(3584, 18_944, 28, 28, 4, 152_064, False), 8_292_166_656, 57_344),
    "Qwen2.5-VL-72B": (qwen25(8192, 29_568, 80, 64, 8, 152_064, False, inner=3456), 73_410_777_344, 327_680),
    "Qwen3-VL-2B": (qwen3(2048, 6144, 28, 16, 8, True, True), 2_127_532_032, 114_688),
    "Qwen3-VL-4B": (qwen3(2560, 9728, 36, 32, 8, True, True), 4_437_815_808, 147_456),
    "Qwen3-VL-8B": (qwen3(4096, 12_288, 36, 32, 8, False, False), 8_767_123_696, 147_456),
    "Qwen3-VL-32B": (qwen3(5120, 25_600, 64, 64, 8, False, False), 33_357_390_064, 262_144),
    "Qwen3-VL-30B-A3B": (qwen3(2048, 6144, 48, 32, 4, False, False, **A3B), 31_070_754_032, 98_304),
}
QUICK = ("Qwen2-VL-7B", "Qwen2.5-VL-7B", "Qwen3-VL-8B", "Qwen3-VL-30B-A3B")


def shape(folder, name, **changes):
    (folder / "config.json").write_text(json.dumps(PUBLISHED[name][0] | changes))
    return shape_of("mine", folder, None)


def settings(**changes):
    return RaterSettings(**{"model": "mine", "dtype": "bfloat16"} | changes)


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in PUBLISHED]
)
def test_published_sizes(tmp_path, name):
    _, parameters, kv_per_token = PUBLISHED[name]
    one = shape(tmp_path, name)
    assert one.parameters == parameters
    needs = needs_of(one, settings(), on_cpu=False)
    assert (needs.weights, needs.kv_per_token) == (2 * parameters, kv_per_token)
    assert needs.longest_question == 4096 * kv_per_token
    assert 1.5 * GB < needs.estimated < 10 * GB
    assert needs_of(one, settings(dtype="float32"), on_cpu=True).weights == 4 * parameters


@pytest.fixture(scope="module")
def seven(tmp_path_factory):
    return shape(tmp_path_factory.mktemp("seven"), "Qwen2-VL-7B")


def test_quantised_weights_by_hand(tmp_path, seven):
    # Its language model's 28 layers have 6.525e9 weights in matrices; the other 1.766e9 numbers stay as they are.
    assert seven.packable == 28 * (2 * 3584 * 3584 + 2 * 3584 * 512 + 3 * 3584 * 18_944)
    plain = 2 * (seven.parameters - seven.packable)
    stored = {"quant_method": "awq", "bits": 4, "group_size": 128}
    awq = shape(tmp_path, "Qwen2-VL-7B", quantization_config=stored)
    needs = needs_of(awq, settings(), on_cpu=False)
    assert needs.weights == plain + seven.packable * (4 + 20 / 128) / 8 and needs.precision == "awq, 4 bits"
    fp8 = needs_of(seven, settings(quantization="fp8"), on_cpu=False)
    assert fp8.weights == plain + seven.packable and fp8.precision == "fp8, 8 bits"
    broken = shape(tmp_path, "Qwen2-VL-7B", quantization_config=stored | {"bits": "four"})
    with pytest.raises(
        ValueError, match=r"quantization_config\.bits = 'four' in its config\.json must be a whole number"
    ):
        needs_of(broken, settings(), on_cpu=False)
    # Of others nothing is promised that they may not keep.
    unknown = needs_of(seven, settings(quantization="newest"), on_cpu=False)
    assert unknown.weights == 2 * seven.parameters and unknown.precision == "newest, counted as 16 bits"


def test_several_gpus_share_weights_and_caches(seven):
    alone, shared = (needs_of(seven, settings(tensor_parallel_size=parts), on_cpu=False) for parts in (1, 2))
    assert 2 * shared.weights == alone.weights and 2 * shared.kv_per_token == alone.kv_per_token
    # Four key-value heads cannot be on eight GPUs: two hold the same one.
    assert 4 * needs_of(seven, settings(tensor_parallel_size=8), on_cpu=False).kv_per_token == alone.kv_per_token


def test_what_cannot_fit_a_gpu_is_refused(seven):
    def check(gpus, **changes):
        rater = settings(**changes)
        check_fits("mine", needs_of(seven, rater, on_cpu=False), rater, Machine(64 * GB, False, gpus))

    check((24 * GB,))
    check((8 * GB, 24 * GB))
    check(())  # nobody can tell
    # 16.58 GB of weights and 0.23 GB for a question are more than nine tenths of 18 GB, less than all of it.
    check((18 * GB,), gpu_memory_fraction=1.0)
    message = r"^rater\.model 'mine' does not fit: 16\.6 GB of weights \(16 bits\) and 0\.2 GB for one question of "
    with pytest.raises(ValueError, match=message + r".*may take 16\.2 GB of a GPU's 18\.0 GB .*tensor_parallel_size"):
        check((18 * GB, 12 * GB))
    check((12 * GB,) * 2, tensor_parallel_size=2)
    with pytest.raises(ValueError, match=r"6\.6 GB for one question of rater\.max_model_len 115000 tokens, but"):
        check((24 * GB,), max_model_len=115_000)


def test_what_cannot_fit_a_machine_without_gpu_is_refused(seven):
    def check(memory, **changes):
        rater = settings(**changes)
        check_fits("mine", needs_of(seven, rater, on_cpu=True), rater, Machine(memory, True))

    check(18 * GB)
    with pytest.raises(ValueError, match=r"16\.6 GB of weights .* and 1\.1 GB of key-value cache .*has 17\.0 GB of"):
        check(17 * GB)
    with pytest.raises(ValueError, match=r"it needs 1\.9 GB for one question .*cpu_kv_cache_gb is 1; raise it to 2"):
        check(64 * GB, max_model_len=32_768)
    check(64 * GB, max_model_len=32_768, cpu_kv_cache_gb=2)


def test_no_more_cache_is_taken_than_all_questions_at_once_can_fill():
    def cache(**changes):
        needs = Needs(weights=0, precision="", kv_per_token=768, longest_question=0, estimated=0)
        return processor_cache(needs, settings(**changes))

    # 10 questions of 3 blocks of 128 tokens, which hold 300, and 16 blocks to spare: 46 x 128 x 768.
    assert cache(max_in_flight=10, max_model_len=300) == 4_521_984
    assert cache(max_in_flight=1, max_model_len=128) == 17 * 128 * 768
    assert cache(max_in_flight=10_000, max_model_len=4096) == 2**30
    assert cache(max_in_flight=10_000, max_model_len=4096, cpu_kv_cache_gb=2) == 2**31


@pytest.mark.parametrize(
    "config",
    [
        {"model_type": "qwen2_vl", "hidden_size": "wide"},
        {"model_type": "qwen3_vl", "text_config": {"hidden_size": -1}},
        {"model_type": "qwen2_5_vl", "vision_config": {"num_heads": 0}},
        {"model_type": "qwen3_vl", "vision_config": 7},
    ],
)
def test_a_configuration_of_no_model_is_explained(tmp_path, config):
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"^rater\.model 'mine': no model can be made of its config\.json \(.*anew"):
        shape_of("mine", tmp_path, None)


def test_memory_of_this_machine(monkeypatch, tmp_path):
    assert this_machine(on_cpu=True).memory > GB
    assert this_machine(on_cpu=True).gpus == ()
    tool = tmp_path / "nvidia-smi"
    tool.write_text('#!/bin/sh\ncase "$*" in *"-i 1") echo 24576 ;; *) echo 24576; echo 81559 ;; esac\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert visible_gpus() == (24_576 * 2**20, 81_559 * 2**20)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert visible_gpus() == (24_576 * 2**20,)
    tool.write_text("#!/bin/sh\necho no devices were found; exit 6\n")
    assert visible_gpus() == ()
