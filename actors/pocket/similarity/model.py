"""The network of the pocket CLIP, a plain `CLIPModel` of transformers, its tokenizer, and the folder of both."""

import copy
import json
from collections.abc import Iterable
from pathlib import Path

import torch
import transformers
from tokenizers import pre_tokenizers, trainers
from torch import Tensor
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPTokenizer

from actors.pocket.pictures import IMAGE_MEAN, IMAGE_STD
from actors.pocket.similarity import IMAGE_PX

transformers.utils.logging.disable_progress_bar()

WIDTH = 128
PATCH_PX = 28
"""Large ones: few tokens, so that a processor learns from many frames in minutes."""
MAX_TOKENS = 48
"""Of a sentence; the longest that it learns has 14 words."""
VOCABULARY = 600
"""Tokens that are learnt, at most; letters that end a word, and CLIP's two marks, come besides."""


def train_tokenizer(texts: Iterable[str]) -> CLIPTokenizer:
    """CLIP's own, with a small vocabulary; any other text is spelled out in bytes."""
    start, end = "<|startoftext|>", "<|endoftext|>"
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    # As in CLIP, what ends a word is another token than the same letters inside of one.
    untrained = CLIPTokenizer(vocab={token: index for index, token in enumerate([*alphabet, start, end])})
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        initial_alphabet=alphabet,
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    backend = untrained.backend_tokenizer
    backend.train_from_iterator(texts, trainer)
    learned = json.loads(backend.to_str())["model"]
    vocabulary = dict.fromkeys([*alphabet, *(f"{letter}</w>" for letter in alphabet), *learned["vocab"]])
    numbered = {
        token: index for index, token in enumerate([*(t for t in vocabulary if t not in (start, end)), start, end])
    }
    return CLIPTokenizer(
        vocab=numbered, merges=[tuple(merge) for merge in learned["merges"]], model_max_length=MAX_TOKENS
    )


def new_model(tokenizer: CLIPTokenizer) -> CLIPModel:
    """A model with random weights from torch's global generator, float32."""
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": WIDTH,
        "intermediate_size": 2 * WIDTH,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": MAX_TOKENS,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    vision = {
        "hidden_size": WIDTH,
        "intermediate_size": 2 * WIDTH,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "image_size": IMAGE_PX,
        "patch_size": PATCH_PX,
    }
    return CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=64))


def pixels_of(images: Tensor) -> Tensor:
    """What the network sees, float32 [N, 3, 112, 112], of images uint8 [N, 112, 112, 3]."""
    mean, deviation = torch.tensor(IMAGE_MEAN), torch.tensor(IMAGE_STD)
    return ((images / 255.0 - mean) / deviation).permute(0, 3, 1, 2)


def save(model: CLIPModel, tokenizer: CLIPTokenizer, folder: Path) -> None:
    """Write weights as bfloat16 safetensors, tokenizer and image processor: a folder as any CLIP's."""
    folder.mkdir(parents=True, exist_ok=True)
    copy.deepcopy(model).to(torch.bfloat16).save_pretrained(folder)
    # safetensors makes files for their owner only.
    (folder / "model.safetensors").chmod(0o644)
    tokenizer.save_pretrained(folder)
    square = {"height": IMAGE_PX, "width": IMAGE_PX}
    CLIPImageProcessor(size=square, do_center_crop=False, image_mean=IMAGE_MEAN, image_std=IMAGE_STD).save_pretrained(
        folder
    )
