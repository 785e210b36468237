"""The network that compares two pictures: the pocket rater of frames once more, in other words."""

import torch
from transformers import Qwen2Tokenizer, Qwen2VLForConditionalGeneration

from actors.pocket import checkpoint
from actors.pocket.frames.model import new_model as new_frame_model
from actors.rating.models import POCKET_FOLDER


def new_model(tokenizer: Qwen2Tokenizer) -> Qwen2VLForConditionalGeneration:
    """A model, float32, that begins from the weights of the rater of frames that ships.

    Words that only the new tokenizer has are random, from torch's global generator.
    """
    begun, known = checkpoint.load(POCKET_FOLDER)
    model = new_frame_model(tokenizer)
    model.model.visual.load_state_dict(begun.model.visual.state_dict())
    text, begun_text = model.model.language_model, begun.model.language_model
    text.layers.load_state_dict(begun_text.layers.state_dict())
    text.norm.load_state_dict(begun_text.norm.state_dict())
    places = known.get_vocab()
    with torch.no_grad():
        for word, index in tokenizer.get_vocab().items():
            if word in places:
                text.embed_tokens.weight[index] = begun_text.embed_tokens.weight[places[word]]
    return model
