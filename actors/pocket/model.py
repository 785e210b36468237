"""The pocket raters' networks: plain Qwen-VLs, with a forward pass for many equal pictures at once.

Transformers' own forward pass treats the pictures of a batch one after the other. All pictures of a rater have one
size, so the same weights can take them together, about ten times faster on a processor.
"""

from collections.abc import Sequence
from typing import Any, TypeVar

import torch.nn.functional as F
from torch import Tensor, nn
from transformers import Qwen2_5_VLForConditionalGeneration, Qwen2Tokenizer, Qwen2VLForConditionalGeneration
from transformers.models.qwen2_vl.modeling_qwen2_vl import apply_rotary_pos_emb_vision

from actors.pocket.pictures import MERGE, PATCH_PX
from actors.pocket.tokenizer import END_OF_TURN, IMAGE, PADDING

PocketModel = Qwen2VLForConditionalGeneration | Qwen2_5_VLForConditionalGeneration
Kind = TypeVar("Kind", Qwen2VLForConditionalGeneration, Qwen2_5_VLForConditionalGeneration)

TEXT_WIDTH = 128
TEXT_DEPTH = 3
MANY_PATCHES = 128
"""From so many on torch's fused attention is the faster one."""


def new_model(
    kind: type[Kind], tokenizer: Qwen2Tokenizer, vision_config: dict[str, Any], text_depth: int = TEXT_DEPTH
) -> Kind:
    """A model with random weights from torch's global generator, float32.

    Text models are alike but for their depth; `vision_config` holds what is the vision tower's own.
    """
    token = tokenizer.convert_tokens_to_ids
    config = kind.config_class(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": TEXT_WIDTH,
            "intermediate_size": 2 * TEXT_WIDTH,
            "num_hidden_layers": text_depth,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 4096,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [4, 6, 6]},
            "bos_token_id": token(PADDING),
            "eos_token_id": token(END_OF_TURN),
            "pad_token_id": token(PADDING),
        },
        vision_config={"patch_size": PATCH_PX, "spatial_merge_size": MERGE, "temporal_patch_size": 2} | vision_config,
        image_token_id=token(IMAGE),
        video_token_id=token("<|video_pad|>"),
        vision_start_token_id=token("<|vision_start|>"),
        vision_end_token_id=token("<|vision_end|>"),
        tie_word_embeddings=True,
    )
    model = kind(config)
    model.generation_config.eos_token_id = [token(END_OF_TURN), token(PADDING)]
    model.generation_config.pad_token_id = token(PADDING)
    model.generation_config.do_sample = False
    return model


def patch_states(model: PocketModel, cut: Tensor, positions: Tensor, parts: Sequence[int]) -> Tensor:
    """Hidden states [B, patches, width] of patches [B, patches, 588] at `positions` [patches, 2].

    They are those after the vision tower's first `len(parts)` blocks; each attends within that many equal parts.
    """
    tower = model.model.visual
    # A still picture fills both frames of a temporal patch: one product with the summed kernel gives the same.
    kernel = tower.patch_embed.proj.weight.sum(dim=2).flatten(1)
    hidden = F.linear(cut.to(kernel.dtype), kernel)
    cos, sin = tower.rotary_pos_emb(hidden, positions)
    for block, num_parts in zip(tower.blocks[: len(parts)], parts, strict=True):
        hidden = hidden + _attention(block.attn, block.norm1(hidden), cos, sin, num_parts)
        hidden = hidden + block.mlp(block.norm2(hidden))
    return hidden


def _attention(attention: nn.Module, hidden: Tensor, cos: Tensor, sin: Tensor, num_parts: int) -> Tensor:
    batch, length, width = hidden.shape
    query, key, value = attention.qkv(hidden).view(batch, length, 3, attention.num_heads, -1).unbind(2)
    query, key = apply_rotary_pos_emb_vision(query, key, cos, sin)
    cut = (batch * num_parts, length // num_parts, attention.num_heads, -1)
    query, key, value = (part.reshape(cut).transpose(1, 2).to(value.dtype) for part in (query, key, value))
    if length // num_parts < MANY_PATCHES:
        # Written out: for a few dozen patches the fused attention takes half of the training time on a processor.
        mixed = (query @ key.transpose(2, 3) * attention.scaling).softmax(dim=-1).to(value.dtype) @ value
    else:
        mixed = F.scaled_dot_product_attention(query, key, value, scale=attention.scaling)
    return attention.proj(mixed.transpose(1, 2).reshape(batch, length, width))


def embedded(model: PocketModel, tokens: Tensor, features: Tensor | None) -> Tensor:
    """What the text model reads, [B, L, TEXT_WIDTH], of token ids [B, L].

    `features`, picture after picture, replace the place holders of pictures; None if the texts have no picture.
    """
    words = model.model.language_model.embed_tokens(tokens)
    if features is None:
        return words
    places = (tokens == model.config.image_token_id).unsqueeze(-1).expand_as(words)
    return words.masked_scatter(places, features.to(words.dtype))


def next_token_states(model: PocketModel, tokens: Tensor, positions: Tensor, features: Tensor | None) -> Tensor:
    """Last hidden states [B, L, TEXT_WIDTH] of token ids [B, L] at positions [3, B, L]; `features` as in `embedded`."""
    # Rows are padded on the right, and attention looks back only: padding needs no mask.
    return model.model.language_model(
        inputs_embeds=embedded(model, tokens, features), position_ids=positions, use_cache=False
    ).last_hidden_state
