"""CLIP, BLIP-2 and X-CLIP of random weights: the real classes, processors and tokenizers, a few pixels wide."""

from pathlib import Path
from typing import Any

from actors.rating.engine_site.likert_engine_hooks import mend_torchvision

WORDS = "reach place an agent in a room 0 1 2 3 4 5 6 7 8 9".split()
SIZE = 16
VISION = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": SIZE,
    "patch_size": 8,
    "initializer_range": 0.5,
}


def build_tiny_clip(folder: Path, **save: Any) -> Path:
    """A `CLIPModel`."""
    mend_torchvision()
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel

    config = CLIPConfig(text_config=_text(), vision_config=VISION, projection_dim=12, initializer_factor=4.0)
    return _save(CLIPModel, config, CLIPImageProcessor(size={"shortest_edge": SIZE}, crop_size=_square()), folder)


def build_tiny_xclip(folder: Path, num_frames: int = 4) -> Path:
    """An `XCLIPModel`."""
    mend_torchvision()
    from transformers import CLIPImageProcessor, XCLIPConfig, XCLIPModel

    vision = VISION | {
        "num_frames": num_frames,
        "mit_hidden_size": 12,
        "mit_intermediate_size": 24,
        "mit_num_attention_heads": 2,
    }
    config = XCLIPConfig(
        text_config=_text(), vision_config=vision, projection_dim=12, prompt_num_attention_heads=2, prompt_layers=1
    )
    return _save(XCLIPModel, config, CLIPImageProcessor(size={"shortest_edge": SIZE}, crop_size=_square()), folder)


def build_tiny_blip2(folder: Path, image_token: bool = False) -> Path:
    """A `Blip2ForImageTextRetrieval`, with a place for each query before the text, or without."""
    mend_torchvision()
    from transformers import Blip2Config, Blip2ForImageTextRetrieval, BlipImageProcessor

    qformer = {
        "vocab_size": 64,
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": 48,
        "encoder_hidden_size": 16,
        "cross_attention_frequency": 1,
        "use_qformer_text_input": True,
        "initializer_range": 0.5,
    }
    config = Blip2Config(
        vision_config=VISION,
        qformer_config=qformer,
        text_config={"model_type": "opt", "hidden_size": 16, "ffn_dim": 16, "num_hidden_layers": 1,
                     "num_attention_heads": 2, "vocab_size": 64, "word_embed_proj_dim": 16},
        num_query_tokens=3,
        image_text_hidden_size=12,
        image_token_index=63 if image_token else None,
    )  # fmt: skip
    return _save(Blip2ForImageTextRetrieval, config, BlipImageProcessor(size=_square()), folder)


def _text() -> dict[str, Any]:
    return {
        "vocab_size": 64,
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "max_position_embeddings": 10,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 2,
    }


def _square() -> dict[str, int]:
    return {"height": SIZE, "width": SIZE}


def _save(kind: Any, config: Any, processor: Any, folder: Path) -> Path:
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = kind(config)
        for name, weights in network.named_parameters():
            # Some begin as zeros, and what they touch would then be the same for every picture.
            if name.endswith(("query_tokens", "cls_token", "class_embedding", "position_embedding", "projection")):
                torch.nn.init.normal_(weights, std=0.5)
    network.save_pretrained(folder)
    vocabulary = {word: number for number, word in enumerate(["[UNK]", "[BOS]", "[EOS]", *dict.fromkeys(WORDS)])}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.post_processor = processors.TemplateProcessing(
        single="[BOS] $A [EOS]", special_tokens=[("[BOS]", 1), ("[EOS]", 2)]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, unk_token="[UNK]", bos_token="[BOS]", eos_token="[EOS]", pad_token="[EOS]"
    )
    tokenizer.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
