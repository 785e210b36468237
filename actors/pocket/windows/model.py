"""The network that scores windows: a plain Qwen2.5-VL, whose vision tower looks at single frames first.

Qwen2.5-VL and not Qwen2-VL, because most blocks of its vision tower attend within square parts of the picture only:
with parts of the size of a frame, a patch never takes another frame's agent for its own. Blocks that attend
everywhere then compare frames. That learns in minutes what full attention does not.
"""

from torch import Tensor
from transformers import Qwen2_5_VLForConditionalGeneration, Qwen2Tokenizer

from actors.pocket import model as networks
from actors.pocket.model import TEXT_WIDTH
from actors.pocket.pictures import Layout
from actors.pocket.windows import COLUMNS, FRAME_PX, NUM_FRAMES

LAYOUT = Layout(FRAME_PX, COLUMNS)
VISION_WIDTH = 96
VISION_HEADS = 3
VISION_DEPTH = 4
FULL_BLOCK = 2
"""Block of the vision tower that attends everywhere."""
VISION_CONFIG = {
    "depth": VISION_DEPTH,
    "hidden_size": VISION_WIDTH,
    "intermediate_size": 2 * VISION_WIDTH,
    "out_hidden_size": TEXT_WIDTH,
    "num_heads": VISION_HEADS,
    "window_size": FRAME_PX,
    "fullatt_block_indexes": [FULL_BLOCK],
}


def new_model(tokenizer: Qwen2Tokenizer) -> Qwen2_5_VLForConditionalGeneration:
    """A model with random weights from torch's global generator, float32."""
    return networks.new_model(Qwen2_5_VLForConditionalGeneration, tokenizer, VISION_CONFIG)


def image_features(model: Qwen2_5_VLForConditionalGeneration, images: Tensor) -> Tensor:
    """Tokens [B, 9, 9, TEXT_WIDTH], frame by frame, of pictures uint8 [B, 252, 252, 3]."""
    hidden = patch_states(model, images, VISION_DEPTH)
    return model.model.visual.merger(hidden).view(len(images), NUM_FRAMES, LAYOUT.frame_tokens, -1)


def patch_states(model: Qwen2_5_VLForConditionalGeneration, images: Tensor, depth: int) -> Tensor:
    """Hidden states [B, 324, VISION_WIDTH] after the vision tower's first `depth` blocks, in the order of
    `LAYOUT.patches`."""
    parts = [1 if block == FULL_BLOCK else NUM_FRAMES for block in range(depth)]
    return networks.patch_states(model, LAYOUT.patches(images), LAYOUT.patch_positions(), parts)


def in_reading_order(features: Tensor) -> Tensor:
    """Tokens [B, 81, TEXT_WIDTH] row by row of the whole picture, as the text model gets them, of `image_features`."""
    side = LAYOUT.frame_side
    cut = features.view(len(features), COLUMNS, COLUMNS, side, side, -1)
    return cut.transpose(2, 3).reshape(len(features), LAYOUT.num_tokens, -1)
