"""Writing and reading a pocket rater's folder."""

import copy
import json
from pathlib import Path

import torch
import transformers
from transformers import AutoModelForImageTextToText, Qwen2Tokenizer

from actors.pocket.model import PocketModel
from actors.pocket.pictures import IMAGE_MEAN, IMAGE_STD, MERGE, PATCH_PX
from actors.rating.precision import processor_dtype

# Its bars would break into ours.
transformers.utils.logging.disable_progress_bar()


def save(model: PocketModel, tokenizer: Qwen2Tokenizer, folder: Path, picture_px: int) -> None:
    """Write weights as bfloat16 safetensors, tokenizer and processor settings: a folder as any Qwen-VL's.

    The processor brings every picture to `picture_px` squared.
    """
    folder.mkdir(parents=True, exist_ok=True)
    copy.deepcopy(model).to(torch.bfloat16).save_pretrained(folder)
    # safetensors makes files for their owner only; others may want to serve this one.
    (folder / "model.safetensors").chmod(0o644)
    tokenizer.save_pretrained(folder)
    _save_processor(folder, picture_px)


def load(folder: Path) -> tuple[PocketModel, Qwen2Tokenizer]:
    """The model, in the processor's faster precision and for inference, and its tokenizer.

    The folder says which of the two kinds it holds. Nothing is fetched, no code of the folder runs.
    """
    model = AutoModelForImageTextToText.from_pretrained(
        folder, dtype=processor_dtype(), local_files_only=True, trust_remote_code=False
    )
    return model.eval(), Qwen2Tokenizer.from_pretrained(folder, local_files_only=True)


def _save_processor(folder: Path, picture_px: int) -> None:
    pixels = picture_px**2
    image_settings = {
        "image_processor_type": "Qwen2VLImageProcessor",
        "processor_class": "Qwen2VLProcessor",
        "do_convert_rgb": True,
        "do_resize": True,
        "do_rescale": True,
        "do_normalize": True,
        "image_mean": IMAGE_MEAN,
        "image_std": IMAGE_STD,
        "merge_size": MERGE,
        "patch_size": PATCH_PX,
        "temporal_patch_size": 2,
        "size": {"shortest_edge": pixels, "longest_edge": pixels},
    }
    video_settings = image_settings | {"video_processor_type": "Qwen2VLVideoProcessor"}
    del video_settings["image_processor_type"]
    _write(folder / "preprocessor_config.json", image_settings)
    _write(folder / "video_preprocessor_config.json", video_settings)


def _write(path: Path, settings: dict) -> None:
    path.write_text(json.dumps(settings, indent=2) + "\n")
