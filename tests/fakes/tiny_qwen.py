"""Qwen-VLs of random weights, small enough to start a real engine in a test, in the layouts that are published."""

import json
from pathlib import Path
from typing import Any, Literal

from actors.rating.engine_site.likert_engine_hooks import mend_torchvision

Kind = Literal["qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_vl_moe"]

SPECIAL_TOKENS = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
]

_TURNS = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
)
CHAT_TEMPLATE = _TURNS + "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
"""As Qwen-VLs' own, without videos, tools and the system turn that Qwen2-VL adds where there is none."""
THINKING_TEMPLATE = _TURNS + "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"
"""As that of a checkpoint that thinks first."""
TEXT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""For text alone, as stands beside the one for pictures in some checkpoints."""
BLIND_TEMPLATE = CHAT_TEMPLATE.replace("<|vision_start|><|image_pad|><|vision_end|>", "")
"""Leaves pictures out."""

_PROCESSORS = {
    "qwen2_vl": "Qwen2VLProcessor",
    "qwen2_5_vl": "Qwen2_5_VLProcessor",
    "qwen3_vl": "Qwen3VLProcessor",
    "qwen3_vl_moe": "Qwen3VLProcessor",
}


def build_tiny_qwen(folder: Path, seed: int = 0, kind: Kind = "qwen2_vl") -> Path:
    """Write a checkpoint of about 0.1 million parameters and return its folder."""
    mend_torchvision()
    import torch
    from transformers import AutoConfig, AutoModelForImageTextToText

    tokenizer = _tokenizer()
    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in SPECIAL_TOKENS}
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": 4096,
        "initializer_range": 0.2,
        "bos_token_id": ids["<|endoftext|>"],
        "eos_token_id": ids["<|im_end|>"],
        "pad_token_id": ids["<|endoftext|>"],
        "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [4, 6, 6]},
    }
    config = AutoConfig.for_model(
        kind,
        text_config=text | _TEXT[kind],
        vision_config=_VISION[kind],
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
        tie_word_embeddings=True,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = AutoModelForImageTextToText.from_config(config).to(torch.bfloat16)
    model.generation_config.eos_token_id = ids["<|im_end|>"]
    model.save_pretrained(folder)
    if kind == "qwen3_vl_moe":
        _turn_experts(folder / "model.safetensors")
    tokenizer.save_pretrained(folder)
    _write(folder / "preprocessor_config.json", _pictures(kind))
    # Qwen3-VL is published with settings for videos; of the others transformers would look for a class of its own.
    if kind.startswith("qwen3"):
        videos = {"video_processor_type": "Qwen3VLVideoProcessor", "processor_class": _PROCESSORS[kind]}
        size = {"shortest_edge": 4096, "longest_edge": 25_165_824}
        _write(folder / "video_preprocessor_config.json", videos | {"size": size, "patch_size": 16, "merge_size": 2})
    else:
        _write(folder / "processor_config.json", {"processor_class": _PROCESSORS[kind]})
    return arrange(folder, jinja=CHAT_TEMPLATE)


def _turn_experts(path: Path) -> None:
    """Experts as published, [experts, in, out]. transformers reads and saves them turned; vLLM reads these alone."""
    from safetensors.torch import load_file, save_file

    weights = {
        name: weight.transpose(1, 2).contiguous() if ".experts." in name else weight
        for name, weight in load_file(path).items()
    }
    save_file(weights, path, metadata={"format": "pt"})


def arrange(folder: Path, *, jinja: str = "", legacy: str = "", tokenizer: str = "") -> Path:
    """Put chat templates where checkpoints have them: `chat_template.jinja`, `chat_template.json`, the tokenizer's."""
    for name in ("chat_template.jinja", "chat_template.json"):
        (folder / name).unlink(missing_ok=True)
    if jinja:
        (folder / "chat_template.jinja").write_text(jinja)
    if legacy:
        _write(folder / "chat_template.json", {"chat_template": legacy})
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings.pop("chat_template", None)
    _write(folder / "tokenizer_config.json", settings | ({"chat_template": tokenizer} if tokenizer else {}))
    return folder


_QWEN3_TEXT = {
    "head_dim": 32,
    "rope_parameters": {
        "rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [6, 5, 5], "mrope_interleaved": True,
    },
}  # fmt: skip
_TEXT: dict[str, dict[str, Any]] = {
    "qwen2_vl": {},
    "qwen2_5_vl": {},
    "qwen3_vl": _QWEN3_TEXT,
    "qwen3_vl_moe": _QWEN3_TEXT
    # transformers has no default for the last, which published ones state and vLLM reads. It knows by their shape how
    # experts lie, so none is square.
    | {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 96, "norm_topk_prob": True},
}
_TOWER = {"hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "out_hidden_size": 64}
_QWEN3_TOWER = _TOWER | {
    "depth": 3, "patch_size": 16, "num_position_embeddings": 64, "deepstack_visual_indexes": [0, 1],
}  # fmt: skip
_VISION: dict[str, dict[str, Any]] = {
    "qwen2_vl": {"depth": 1, "embed_dim": 32, "hidden_size": 64, "num_heads": 2, "mlp_ratio": 2},
    "qwen2_5_vl": _TOWER | {"depth": 2, "fullatt_block_indexes": [1], "window_size": 112},
    "qwen3_vl": _QWEN3_TOWER,
    "qwen3_vl_moe": _QWEN3_TOWER,
}


def _pictures(kind: Kind) -> dict[str, Any]:
    """As published: the older ones with CLIP's colours and limits of their own, Qwen3-VL in `size`."""
    common = {"temporal_patch_size": 2, "merge_size": 2, "processor_class": _PROCESSORS[kind]}
    if kind.startswith("qwen3"):
        return common | {
            "size": {"shortest_edge": 65_536, "longest_edge": 16_777_216},
            "patch_size": 16,
            "image_mean": [0.5, 0.5, 0.5],
            "image_std": [0.5, 0.5, 0.5],
            "image_processor_type": "Qwen2VLImageProcessorFast",
        }
    return common | {
        "min_pixels": 3136,
        "max_pixels": 12_845_056,
        "patch_size": 14,
        "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_std": [0.26862954, 0.26130258, 0.27577711],
        "image_processor_type": "Qwen2VLImageProcessor",
    }


def _tokenizer() -> Any:
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import Qwen2Tokenizer

    return Qwen2Tokenizer(
        vocab={symbol: number for number, symbol in enumerate(sorted(ByteLevel.alphabet()))},
        merges=[],
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=SPECIAL_TOKENS,
    )


def _write(path: Path, settings: dict[str, Any]) -> None:
    path.write_text(json.dumps(settings, indent=2))
