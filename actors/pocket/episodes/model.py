"""The network that rates episodes: a plain Qwen2.5-VL as that of windows, which sees each picture alone, and whose text
model is one layer deeper."""

import torch
from torch import Tensor
from transformers import Qwen2_5_VLForConditionalGeneration, Qwen2Tokenizer

from actors.pocket import model as networks
from actors.pocket.episodes import FRAME_PX
from actors.pocket.episodes.data import Episodes
from actors.pocket.episodes.embedding import tell_tiles_apart
from actors.pocket.model import embedded
from actors.pocket.pictures import Layout
from actors.pocket.windows.model import VISION_CONFIG as OF_WINDOWS
from actors.pocket.windows.pointing import point_near

LAYOUT = Layout(FRAME_PX)
VISION_DEPTH = 3
VISION_CONFIG = OF_WINDOWS | {"depth": VISION_DEPTH, "window_size": FRAME_PX}
TEXT_DEPTH = 4
GROUNDED = 3
"""Layers of the text model after which a sub-task's last word must know how far it is."""


def new_model(tokenizer: Qwen2Tokenizer, tables: Episodes) -> Qwen2_5_VLForConditionalGeneration:
    """A model with random weights from torch's global generator, but that its patches tell the tiles of `tables` apart,
    and some heads look at what is near. float32."""
    model = networks.new_model(Qwen2_5_VLForConditionalGeneration, tokenizer, VISION_CONFIG, TEXT_DEPTH)
    tell_tiles_apart(model, tables)
    point_near(model)
    return model


def image_features(model: Qwen2_5_VLForConditionalGeneration, images: Tensor) -> Tensor:
    """Tokens [B, 4, TEXT_WIDTH] of pictures uint8 [B, 56, 56, 3]."""
    hidden = networks.patch_states(model, LAYOUT.patches(images), LAYOUT.patch_positions(), VISION_DEPTH * [1])
    return model.model.visual.merger(hidden.flatten(0, 1)).view(len(images), LAYOUT.num_tokens, -1)


def read(
    model: Qwen2_5_VLForConditionalGeneration, tokens: Tensor, positions: Tensor, features: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Hidden states [B, L, TEXT_WIDTH] after GROUNDED layers, and the last ones; see `networks.next_token_states`."""
    read = model.model.language_model(
        inputs_embeds=embedded(model, tokens, features),
        position_ids=positions,
        use_cache=False,
        output_hidden_states=True,
    )
    return read.hidden_states[GROUNDED], read.last_hidden_state


def features_of(model: Qwen2_5_VLForConditionalGeneration, images: Tensor, part: int = 512) -> Tensor:
    """Tokens [B, F * 4, TEXT_WIDTH] of pictures uint8 [B, F, 56, 56, 3], without gradients."""
    flat = images.flatten(0, 1)
    with torch.no_grad():
        seen = torch.cat([image_features(model, flat[at : at + part]) for at in range(0, len(flat), part)])
    return seen.view(len(images), -1, seen.shape[-1])
