"""The pocket rater's network: a plain Qwen2-VL, with a forward pass for many equal pictures at once.

Transformers' own forward pass treats the pictures of a batch one after the other. All pictures here have one size, so
the same weights can take them together, about ten times faster on a processor.
"""

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import Qwen2Tokenizer, Qwen2VLConfig, Qwen2VLForConditionalGeneration
from transformers.models.qwen2_vl.modeling_qwen2_vl import apply_rotary_pos_emb_vision

from actors.pocket import IMAGE_PX
from actors.pocket.tokenizer import END_OF_TURN, IMAGE, IMAGE_MEAN, IMAGE_STD, MERGE, PADDING, PATCH_PX

GRID = IMAGE_PX // PATCH_PX
IMAGE_TOKENS = (GRID // MERGE) ** 2
TEXT_WIDTH = 128
VISION_WIDTH = 128
VISION_DEPTH = 5
TEXT_DEPTH = 3


def new_model(tokenizer: Qwen2Tokenizer) -> Qwen2VLForConditionalGeneration:
    """A model with random weights from torch's global generator, float32."""
    token = tokenizer.convert_tokens_to_ids
    config = Qwen2VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": TEXT_WIDTH,
            "intermediate_size": 2 * TEXT_WIDTH,
            "num_hidden_layers": TEXT_DEPTH,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 4096,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [4, 6, 6]},
            "bos_token_id": token(PADDING),
            "eos_token_id": token(END_OF_TURN),
            "pad_token_id": token(PADDING),
        },
        vision_config={
            "depth": VISION_DEPTH,
            "embed_dim": VISION_WIDTH,
            "hidden_size": TEXT_WIDTH,
            "num_heads": 4,
            "mlp_ratio": 2,
            "patch_size": PATCH_PX,
            "spatial_merge_size": MERGE,
            "temporal_patch_size": 2,
        },
        image_token_id=token(IMAGE),
        video_token_id=token("<|video_pad|>"),
        vision_start_token_id=token("<|vision_start|>"),
        vision_end_token_id=token("<|vision_end|>"),
        tie_word_embeddings=True,
    )
    model = Qwen2VLForConditionalGeneration(config)
    model.generation_config.eos_token_id = [token(END_OF_TURN), token(PADDING)]
    model.generation_config.pad_token_id = token(PADDING)
    model.generation_config.do_sample = False
    return model


def patches(images: Tensor) -> Tensor:
    """Normalised patches, float32 [B, GRID^2, 3 * 14 * 14], of images uint8 [B, 112, 112, 3], in Qwen2-VL's order."""
    mean, std = torch.tensor(IMAGE_MEAN), torch.tensor(IMAGE_STD)
    pixels = (images.float() / 255.0 - mean) / std
    side = GRID // MERGE
    cut = pixels.view(len(images), side, MERGE, PATCH_PX, side, MERGE, PATCH_PX, 3)
    return cut.permute(0, 1, 4, 2, 5, 7, 3, 6).reshape(len(images), GRID**2, -1)


def image_features(model: Qwen2VLForConditionalGeneration, images: Tensor) -> Tensor:
    """The picture's tokens [B, IMAGE_TOKENS, TEXT_WIDTH] of images uint8 [B, 112, 112, 3]."""
    return features_of_patches(model, patches(images))


def features_of_patches(model: Qwen2VLForConditionalGeneration, cut: Tensor) -> Tensor:
    """The picture's tokens [B, IMAGE_TOKENS, TEXT_WIDTH] of `patches` [B, GRID^2, 588]."""
    tower = model.model.visual
    batch = len(cut)
    # A still picture fills both frames of a temporal patch: one product with the summed kernel gives the same.
    kernel = tower.patch_embed.proj.weight.sum(dim=2).flatten(1)
    hidden = F.linear(cut.to(kernel.dtype), kernel)
    cos, sin = tower.rotary_pos_emb(hidden, _patch_positions())
    for block in tower.blocks:
        hidden = hidden + _attention(block.attn, block.norm1(hidden), cos, sin)
        hidden = hidden + block.mlp(block.norm2(hidden))
    return tower.merger(hidden.reshape(batch * GRID**2, -1)).view(batch, IMAGE_TOKENS, -1)


def _attention(attention, hidden: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    batch, length, width = hidden.shape
    query, key, value = attention.qkv(hidden).view(batch, length, 3, attention.num_heads, -1).unbind(2)
    query, key = apply_rotary_pos_emb_vision(query, key, cos, sin)
    query, key, value = (part.transpose(1, 2).to(value.dtype) for part in (query, key, value))
    # Written out: torch's fused attention takes half of the training time on a processor, for 64 patches.
    weights = (query @ key.transpose(2, 3) * attention.scaling).softmax(dim=-1)
    mixed = weights.to(value.dtype) @ value
    return attention.proj(mixed.transpose(1, 2).reshape(batch, length, width))


def _patch_positions() -> Tensor:
    """Row and column [GRID^2, 2] of each patch in Qwen2-VL's order: merged windows, row by row."""
    side = GRID // MERGE
    index = torch.arange(GRID)
    rows, columns = (grid.reshape(side, MERGE, side, MERGE) for grid in torch.meshgrid(index, index, indexing="ij"))
    return torch.stack([grid.permute(0, 2, 1, 3).flatten() for grid in (rows, columns)], dim=-1)


def next_token_states(
    model: Qwen2VLForConditionalGeneration, tokens: Tensor, positions: Tensor, features: Tensor | None
) -> Tensor:
    """Last hidden states [B, L, TEXT_WIDTH] of token ids [B, L] at positions [3, B, L].

    `features` [B, IMAGE_TOKENS, TEXT_WIDTH] replace the picture's place holders; None if the texts have no picture.
    """
    embedded = model.model.language_model.embed_tokens(tokens)
    if features is not None:
        places = (tokens == model.config.image_token_id).unsqueeze(-1).expand_as(embedded)
        embedded = embedded.masked_scatter(places, features.to(embedded.dtype))
    # Rows are padded on the right, and attention looks back only: padding needs no mask.
    text_model = model.model.language_model
    return text_model(inputs_embeds=embedded, position_ids=positions, use_cache=False).last_hidden_state
