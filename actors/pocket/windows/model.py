"""The network that scores windows: a plain Qwen2.5-VL, with a forward pass for many equal pictures at once.

Qwen2.5-VL and not Qwen2-VL, because most blocks of its vision tower attend within square parts of the picture only:
with parts of the size of a frame, a patch never takes another frame's agent for its own. Blocks that attend
everywhere then compare frames. That learns in minutes what full attention does not.
"""

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration, Qwen2Tokenizer
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import apply_rotary_pos_emb_vision

from actors.pocket.tokenizer import END_OF_TURN, IMAGE, IMAGE_MEAN, IMAGE_STD, MERGE, PADDING, PATCH_PX
from actors.pocket.windows import COLUMNS, FRAME_PX, NUM_FRAMES, PICTURE_PX

GRID = PICTURE_PX // PATCH_PX
"""Patches on a side of the picture."""
SIDE = FRAME_PX // PATCH_PX // MERGE
"""Tokens on a side of a frame."""
FRAME_TOKENS = SIDE**2
IMAGE_TOKENS = NUM_FRAMES * FRAME_TOKENS
WIDTH = 128
VISION_WIDTH = 96
VISION_HEADS = 3
VISION_DEPTH = 4
FULL_BLOCK = 2
"""Block of the vision tower that attends everywhere."""
TEXT_DEPTH = 3


def new_model(tokenizer: Qwen2Tokenizer) -> Qwen2_5_VLForConditionalGeneration:
    """A model with random weights from torch's global generator, float32."""
    token = tokenizer.convert_tokens_to_ids
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": WIDTH,
            "intermediate_size": 2 * WIDTH,
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
            "hidden_size": VISION_WIDTH,
            "intermediate_size": 2 * VISION_WIDTH,
            "out_hidden_size": WIDTH,
            "num_heads": VISION_HEADS,
            "patch_size": PATCH_PX,
            "spatial_merge_size": MERGE,
            "temporal_patch_size": 2,
            "window_size": FRAME_PX,
            "fullatt_block_indexes": [FULL_BLOCK],
        },
        image_token_id=token(IMAGE),
        video_token_id=token("<|video_pad|>"),
        vision_start_token_id=token("<|vision_start|>"),
        vision_end_token_id=token("<|vision_end|>"),
        tie_word_embeddings=True,
    )
    model = Qwen2_5_VLForConditionalGeneration(config)
    model.generation_config.eos_token_id = [token(END_OF_TURN), token(PADDING)]
    model.generation_config.pad_token_id = token(PADDING)
    model.generation_config.do_sample = False
    return model


def image_features(model: Qwen2_5_VLForConditionalGeneration, images: Tensor) -> Tensor:
    """Tokens [B, NUM_FRAMES, FRAME_TOKENS, WIDTH], frame by frame, of pictures uint8 [B, 252, 252, 3]."""
    hidden = patch_states(model, images, VISION_DEPTH)
    return model.model.visual.merger(hidden).view(len(images), NUM_FRAMES, FRAME_TOKENS, -1)


def patch_states(model: Qwen2_5_VLForConditionalGeneration, images: Tensor, depth: int) -> Tensor:
    """Hidden states [B, GRID^2, VISION_WIDTH] after the vision tower's first `depth` blocks, in the order of
    `patches`."""
    tower = model.model.visual
    # A still picture fills both frames of a temporal patch: one product with the summed kernel gives the same.
    kernel = tower.patch_embed.proj.weight.sum(dim=2).flatten(1)
    hidden = F.linear(patches(images).to(kernel.dtype), kernel)
    cos, sin = tower.rotary_pos_emb(hidden, patch_positions())
    for number, block in enumerate(tower.blocks[:depth]):
        parts = 1 if number == FULL_BLOCK else NUM_FRAMES
        hidden = hidden + _attention(block.attn, block.norm1(hidden), cos, sin, parts)
        hidden = hidden + block.mlp(block.norm2(hidden))
    return hidden


def in_reading_order(features: Tensor) -> Tensor:
    """Tokens [B, IMAGE_TOKENS, WIDTH] row by row of the whole picture, as the text model gets them, of
    `image_features`."""
    cut = features.view(len(features), COLUMNS, COLUMNS, SIDE, SIDE, -1)
    return cut.transpose(2, 3).reshape(len(features), IMAGE_TOKENS, -1)


def patches(images: Tensor) -> Tensor:
    """Normalised patches, float32 [B, GRID^2, 3 * 14 * 14], frame by frame, and within it in Qwen-VL's order."""
    mean, std = torch.tensor(IMAGE_MEAN), torch.tensor(IMAGE_STD)
    pixels = (images.float() / 255.0 - mean) / std
    cut = pixels.view(len(images), COLUMNS, SIDE, MERGE, PATCH_PX, COLUMNS, SIDE, MERGE, PATCH_PX, 3)
    return cut.permute(0, 1, 5, 2, 6, 3, 7, 9, 4, 8).reshape(len(images), GRID**2, -1)


def patch_positions() -> Tensor:
    """Row and column [GRID^2, 2] of each patch in the order of `patches`."""
    index = torch.arange(GRID)
    rows, columns = (
        grid.reshape(COLUMNS, SIDE, MERGE, COLUMNS, SIDE, MERGE) for grid in torch.meshgrid(index, index, indexing="ij")
    )
    return torch.stack([grid.permute(0, 3, 1, 4, 2, 5).flatten() for grid in (rows, columns)], dim=-1)


def _attention(attention, hidden: Tensor, cos: Tensor, sin: Tensor, parts: int) -> Tensor:
    """Attention within each of `parts` equal parts of the picture."""
    batch, length, width = hidden.shape
    query, key, value = attention.qkv(hidden).view(batch, length, 3, attention.num_heads, -1).unbind(2)
    query, key = apply_rotary_pos_emb_vision(query, key, cos, sin)
    cut = (batch * parts, length // parts, attention.num_heads, -1)
    query, key, value = (part.reshape(cut).transpose(1, 2).to(value.dtype) for part in (query, key, value))
    if parts == 1:
        mixed = F.scaled_dot_product_attention(query, key, value, scale=attention.scaling)
    else:
        # Written out: for 36 patches torch's fused attention takes longer.
        mixed = (query @ key.transpose(2, 3) * attention.scaling).softmax(dim=-1).to(value.dtype) @ value
    return attention.proj(mixed.transpose(1, 2).reshape(batch, length, width))
