"""Writing and reading a pocket rater's folder."""

import copy
from pathlib import Path

import torch
import transformers
from transformers import Qwen2_5_VLForConditionalGeneration, Qwen2Tokenizer, Qwen2VLForConditionalGeneration

from actors.pocket import IMAGE_PX
from actors.pocket.tokenizer import save_processor
from actors.rating.precision import processor_dtype

# Its bars would break into ours.
transformers.utils.logging.disable_progress_bar()


def save(
    model: Qwen2VLForConditionalGeneration | Qwen2_5_VLForConditionalGeneration,
    tokenizer: Qwen2Tokenizer,
    folder: Path,
    picture_px: int = IMAGE_PX,
) -> None:
    """Write weights as bfloat16 safetensors, tokenizer and processor settings: a folder as any Qwen-VL's."""
    folder.mkdir(parents=True, exist_ok=True)
    copy.deepcopy(model).to(torch.bfloat16).save_pretrained(folder)
    # safetensors makes files for their owner only; others may want to serve this one.
    (folder / "model.safetensors").chmod(0o644)
    save_processor(tokenizer, folder, picture_px)


def load(folder: Path) -> tuple[Qwen2VLForConditionalGeneration, Qwen2Tokenizer]:
    """The model, in the processor's faster precision and for inference, and its tokenizer.

    Nothing is fetched, no code of the folder runs.
    """
    model = Qwen2VLForConditionalGeneration.from_pretrained(folder, dtype=processor_dtype(), local_files_only=True)
    return model.eval(), Qwen2Tokenizer.from_pretrained(folder, local_files_only=True)


def load_windows(folder: Path) -> tuple[Qwen2_5_VLForConditionalGeneration, Qwen2Tokenizer]:
    """As `load`, the pocket rater of windows."""
    model = Qwen2_5_VLForConditionalGeneration.from_pretrained(folder, dtype=processor_dtype(), local_files_only=True)
    return model.eval(), Qwen2Tokenizer.from_pretrained(folder, local_files_only=True)
