"""Attention heads that start out looking at one place: a frame's next frame, a patch's neighbour, the word before.

Rotary positions tell a head how far away a key is only by the phases of its query and key. From random weights it
takes thousands of steps until any head looks a fixed way off; as the biases of query and key, the phases can be given
at once. Training is free to turn the heads elsewhere.
"""

import torch
from torch import Tensor
from transformers import Qwen2_5_VLForConditionalGeneration

from actors.pocket.pictures import MERGE
from actors.pocket.windows import COLUMNS
from actors.pocket.windows.model import FULL_BLOCK, LAYOUT, VISION_HEADS

SHARPNESS = 6.0
"""Length of a query's and a key's part for each frequency: with it a head gives most of its weight to one place."""
FRAME = LAYOUT.frame_side * MERGE
"""Patches on a side of a frame."""
NEIGHBOURS = (((-1, 0), (1, 0)), ((0, -1), (0, 1)))
"""Rows and columns off, that the first heads of the first blocks look."""
NEXT_FRAME = ((0, FRAME), (FRAME, -(COLUMNS - 1) * FRAME))
"""The same place in the next frame: beside it, or at the start of the next row of frames."""
WORDS_BEFORE = (1, 2)
"""Words back, that two heads of the text model's first layer look."""


def point_heads(model: Qwen2_5_VLForConditionalGeneration) -> None:
    """Set the biases of some heads of a model with random weights."""
    point_near(model)
    _point_vision(model.model.visual, FULL_BLOCK, NEXT_FRAME)


def point_near(model: Qwen2_5_VLForConditionalGeneration) -> None:
    """Set the biases of those heads alone that look at neighbouring patches, and at the words before."""
    for number, offsets in enumerate(NEIGHBOURS):
        _point_vision(model.model.visual, number, offsets)
    text = model.model.language_model
    attention = text.layers[0].self_attn
    width = attention.head_dim
    with torch.no_grad():
        # Both heads share a key, so the offsets are in their queries.
        attention.k_proj.bias[:width] = _phases(torch.zeros(width // 2))
        for head, back in enumerate(WORDS_BEFORE):
            attention.q_proj.bias[head * width : (head + 1) * width] = _phases(-back * text.rotary_emb.inv_freq)


def _point_vision(tower: torch.nn.Module, block: int, offsets: tuple[tuple[int, int], ...]) -> None:
    bias = tower.blocks[block].attn.qkv.bias
    width = len(bias) // 3 // VISION_HEADS
    frequencies = tower.rotary_pos_emb.inv_freq
    queries, keys, _ = bias.data.view(3, VISION_HEADS, width)
    for head, (rows, columns) in enumerate(offsets):
        queries[head] = _phases(torch.cat([rows * frequencies, columns * frequencies]))
        keys[head] = _phases(torch.zeros(width // 2))


def _phases(angles: Tensor) -> Tensor:
    """A query whose best key lies where rotary positions have turned by `angles` [width / 2]; [width]."""
    return SHARPNESS * torch.cat([angles.cos(), angles.sin()])
