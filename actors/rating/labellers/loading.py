"""Similarity models by hub name or folder: safetensors only, no code of others, the class and every weight checked."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from actors.rating.engine_site.likert_engine_hooks import mend_torchvision
from actors.rating.labellers.settings import DeviceSettings, ModelSettings
from actors.rating.models import folder_digest
from actors.rating.precision import processor_dtype
from algorithms.images import decode_png
from algorithms.ratings import RaterIdentity


@dataclass(frozen=True)
class LoadedModel:
    """A model with what prepares its inputs."""

    network: Any
    image_processor: Any
    tokenizer: Any
    device: torch.device
    dtype: torch.dtype
    identity: RaterIdentity

    def pixels(self, frames: Sequence[bytes]) -> torch.Tensor:
        """PNG files as the network wants them, [N, 3, H, W]."""
        pictures = [Image.fromarray(decode_png(png)) for png in frames]
        prepared = self.image_processor(images=pictures, return_tensors="pt")["pixel_values"]
        return prepared.to(self.device, self.dtype)

    def words(self, text: str, num_tokens: int) -> dict[str, torch.Tensor]:
        """`input_ids` and `attention_mask` of a text, int64 [1, L], cut after `num_tokens`."""
        found = self.tokenizer([text], truncation=True, max_length=num_tokens, return_tensors="pt")
        return {name: found[name].to(self.device) for name in ("input_ids", "attention_mask")}


def load_model(architecture: str, model_type: str, settings: ModelSettings, block: str = "labeller") -> LoadedModel:
    """Load the class `architecture` of transformers.

    Raises ValueError with field (of `block`), value, rule and remedy if there is no such model, if it is of another
    type than `model_type`, lacks weights, or if they are not safetensors.
    """
    mend_torchvision()
    import transformers

    logging.getLogger("transformers").setLevel(logging.ERROR)
    transformers.utils.logging.disable_progress_bar()
    name = str(Path(settings.model).expanduser())
    options = {"revision": settings.revision, "trust_remote_code": False}
    try:
        config = transformers.AutoConfig.from_pretrained(name, **options)
        _check_type(settings.model, config.model_type, model_type)
        device = device_of(settings, block)
        dtype = _dtype(settings, config.dtype, device)
        network, report = getattr(transformers, architecture).from_pretrained(
            name, **options, dtype=dtype, use_safetensors=True, output_loading_info=True
        )
        if report["missing_keys"]:
            raise ValueError(f"its weights lack {sorted(report['missing_keys'])[0]}, so it is no {architecture}")
        tokenizer = transformers.AutoTokenizer.from_pretrained(name, **options)
        # PIL's resizing is what these models were trained with, and the same on every machine.
        processor = transformers.AutoImageProcessor.from_pretrained(name, **options, backend="pil")
    except (OSError, ValueError, ImportError) as error:
        raise ValueError(
            f"{block}.model = {settings.model!r} cannot be loaded ({_first_line(error)}); name a {architecture} that "
            "can be reached, or a folder that save_pretrained wrote, with safetensors, tokenizer and image processor"
        ) from None
    network = network.eval().to(device)
    return LoadedModel(network, processor, tokenizer, device, dtype, _identity(name, config))


def model_type_of(settings: ModelSettings, block: str) -> str:
    """What the model calls its kind, such as `clip`. Raises ValueError as `load_model`."""
    import transformers

    name = str(Path(settings.model).expanduser())
    try:
        return transformers.AutoConfig.from_pretrained(
            name, revision=settings.revision, trust_remote_code=False
        ).model_type
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{block}.model = {settings.model!r} cannot be loaded ({_first_line(error)}); name a model that can be "
            "reached, or a folder that save_pretrained wrote"
        ) from None


def _check_type(model: str, found: str, wanted: str) -> None:
    if found != wanted:
        raise ValueError(f"its model_type is {found!r}, but must be {wanted!r}")


def device_of(settings: DeviceSettings, block: str = "labeller") -> torch.device:
    """Where a model is run. Raises ValueError if it is to be a GPU and there is none."""
    if settings.device == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"{block}.device is 'cuda', and torch finds no GPU; set {block}.device=auto")
    has_gpu = settings.device != "cpu" and torch.cuda.is_available()
    return torch.device("cuda" if has_gpu else "cpu")


def _dtype(settings: ModelSettings, stored: torch.dtype | None, device: torch.device) -> torch.dtype:
    if settings.dtype != "auto":
        return getattr(torch, settings.dtype)
    stored = stored or torch.float32
    return processor_dtype() if device.type == "cpu" and stored != torch.float32 else stored


def _identity(name: str, config: Any) -> RaterIdentity:
    if Path(name).is_dir():
        return RaterIdentity(f"sha256:{folder_digest(Path(name))}", "local")
    return RaterIdentity(name, str(config._commit_hash))


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
