"""The network that rates frames: a plain Qwen2-VL, whose vision tower attends everywhere."""

from torch import Tensor
from transformers import Qwen2Tokenizer, Qwen2VLForConditionalGeneration

from actors.pocket import model as networks
from actors.pocket.frames import IMAGE_PX
from actors.pocket.model import TEXT_WIDTH, patch_states
from actors.pocket.pictures import Layout

LAYOUT = Layout(IMAGE_PX)
VISION_WIDTH = 128
VISION_DEPTH = 5


def new_model(tokenizer: Qwen2Tokenizer) -> Qwen2VLForConditionalGeneration:
    """A model with random weights from torch's global generator, float32."""
    vision = {
        "depth": VISION_DEPTH,
        "embed_dim": VISION_WIDTH,
        "hidden_size": TEXT_WIDTH,
        "num_heads": 4,
        "mlp_ratio": 2,
    }
    return networks.new_model(Qwen2VLForConditionalGeneration, tokenizer, vision)


def image_features(model: Qwen2VLForConditionalGeneration, images: Tensor) -> Tensor:
    """The picture's tokens [B, 16, TEXT_WIDTH] of images uint8 [B, 112, 112, 3]."""
    return features_of_patches(model, LAYOUT.patches(images))


def features_of_patches(model: Qwen2VLForConditionalGeneration, cut: Tensor) -> Tensor:
    """The picture's tokens [B, 16, TEXT_WIDTH] of `LAYOUT.patches` [B, 64, 588]."""
    hidden = patch_states(model, cut, LAYOUT.patch_positions(), VISION_DEPTH * [1])
    return model.model.visual.merger(hidden.flatten(0, 1)).view(len(cut), LAYOUT.num_tokens, -1)
