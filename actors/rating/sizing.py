"""What an engine needs of memory, from a checkpoint's configuration alone: nothing of its weights is read."""

import math
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actors.rating.engine_site.likert_engine_hooks import mend_torchvision
from actors.rating.models import Checkpoint, in_words
from actors.rating.settings import RaterSettings

GPU_OVERHEAD = int(1.5e9)
"""Bytes on each GPU for CUDA itself and captured graphs; a guess, which nothing is refused for."""
CPU_OVERHEAD = int(2e9)
"""Bytes of memory for the engine's and the server's process beside the model; a guess, as above."""
GPU_STEP_TOKENS = 16_384
"""Tokens that vLLM computes in one step on a large GPU; on smaller ones 8,192."""
CPU_STEP_TOKENS = 4_096
CPU_BLOCK_TOKENS = 128
"""Tokens of a block of vLLM's key-value cache on a processor."""
SPARE_BLOCKS = 16
"""Blocks beside those of questions: vLLM keeps one for itself, and beginnings that all questions share stay."""


@dataclass(frozen=True)
class Shape:
    """What of a model's configuration decides over memory."""

    kind: str
    """Its `model_type`."""
    parameters: int
    packable: int
    """Those of linear layers of the language model: what quantisation makes smaller."""
    layers: int
    kv_heads: int
    head_dim: int
    step_bytes_per_token: int
    """Numbers that the widest layer of the language model holds for a token, times two bytes."""
    picture_bytes_per_token: int
    """The same of the vision tower, for all patches of a token."""
    vocabulary: int
    stored_quantization: dict[str, Any]
    """`quantization_config`; empty for plain weights."""


@dataclass(frozen=True)
class Needs:
    """Bytes that an engine needs, on each of its GPUs or on its machine."""

    weights: int
    precision: str
    """How the weights are held, in words."""
    kv_per_token: int
    """Keys and values of a token."""
    longest_question: int
    """Keys and values of `rater.max_model_len` tokens."""
    estimated: int
    """What a step holds in between, and overhead: an estimate, which nothing is refused for."""

    @property
    def certain(self) -> int:
        """Without this much no question can be answered."""
        return self.weights + self.longest_question


@dataclass(frozen=True)
class Machine:
    """Bytes of what an engine may run on."""

    memory: int
    on_cpu: bool
    gpus: tuple[int, ...] = ()
    """Of each GPU that can be seen from here; none if nobody can tell."""


def shape_of(model: str, checkpoint: Checkpoint, revision: str | None) -> Shape:
    """Build the model without its numbers, on torch's meta device, and count them. Takes a second beside the imports.

    `model` is what `rater.model` says. Raises ValueError for a configuration that no model can be made of.
    """
    mend_torchvision()
    import torch
    from huggingface_hub.errors import StrictDataclassError
    from transformers import AutoConfig, AutoModelForImageTextToText

    unfit = (OSError, ValueError, TypeError, KeyError, AttributeError, RuntimeError, ZeroDivisionError)

    try:
        config = AutoConfig.from_pretrained(str(checkpoint), revision=revision, trust_remote_code=False)
        with torch.device("meta"):
            network = AutoModelForImageTextToText.from_config(config)
    except (*unfit, StrictDataclassError) as error:
        raise ValueError(
            f"rater.model {model!r}: no model can be made of its config.json ({type(error).__name__}: "
            f"{in_words(error)}); take it anew from where the checkpoint came from"
        ) from error
    text, vision = config.get_text_config(), config.vision_config
    width = text.hidden_size
    # Beside the hidden state: both inputs of the gate and what comes out of it, and queries, keys and values.
    inner = (
        getattr(text, "moe_intermediate_size", 0) * getattr(text, "num_experts_per_tok", 0) or text.intermediate_size
    )
    tower = getattr(vision, "embed_dim", None) or vision.hidden_size
    tower_inner = getattr(vision, "intermediate_size", None) or int(tower * getattr(vision, "mlp_ratio", 4))
    return Shape(
        kind=config.model_type,
        parameters=sum(one.numel() for one in network.parameters()),
        packable=sum(one.numel() for name, one in network.named_parameters() if _is_packable(name, one)),
        layers=text.num_hidden_layers,
        kv_heads=text.num_key_value_heads,
        head_dim=getattr(text, "head_dim", None) or width // text.num_attention_heads,
        step_bytes_per_token=2 * (4 * width + 3 * inner),
        picture_bytes_per_token=2 * vision.spatial_merge_size**2 * (4 * tower + 2 * tower_inner),
        vocabulary=text.vocab_size,
        stored_quantization=dict(getattr(config, "quantization_config", None) or {}),
    )


def needs_of(shape: Shape, settings: RaterSettings, on_cpu: bool) -> Needs:
    """What an engine of this shape needs with these settings: of memory on the processor, else of each of its GPUs."""
    wide = _bytes_per_number(settings, on_cpu)
    parts = settings.tensor_parallel_size
    packed_bits, precision = _packed(shape, settings, 8 * wide)
    weights = wide * (shape.parameters - shape.packable) + math.ceil(shape.packable * packed_bits / 8)
    kv_per_token = 2 * shape.layers * math.ceil(shape.kv_heads / parts) * shape.head_dim * wide
    step = max(CPU_STEP_TOKENS if on_cpu else GPU_STEP_TOKENS, settings.max_in_flight)
    tokens = step * max(shape.step_bytes_per_token // parts, shape.picture_bytes_per_token) * wide // 2
    logits = settings.max_in_flight * shape.vocabulary * (wide + 4)
    return Needs(
        weights=math.ceil(weights / parts),
        precision=precision,
        kv_per_token=kv_per_token,
        longest_question=kv_per_token * settings.max_model_len,
        estimated=tokens + logits + (CPU_OVERHEAD if on_cpu else GPU_OVERHEAD),
    )


def processor_cache(needs: Needs, settings: RaterSettings) -> int:
    """Bytes of key-value cache of an engine on a processor: `rater.cpu_kv_cache_gb`, or what so many questions as there
    may be at once, of the longest each, can fill, if that is less."""
    blocks = math.ceil(settings.max_model_len / CPU_BLOCK_TOKENS) * settings.max_in_flight + SPARE_BLOCKS
    return min(settings.cpu_kv_cache_gb * 2**30, blocks * CPU_BLOCK_TOKENS * needs.kv_per_token)


def check_fits(model: str, needs: Needs, settings: RaterSettings, machine: Machine) -> None:
    """Raise ValueError, with the sum and the remedy, if an engine cannot run here whatever else goes well."""
    weights = f"{gb(needs.weights)} of weights ({needs.precision})"
    question = f"{gb(needs.longest_question)} for one question of rater.max_model_len {settings.max_model_len} tokens"
    unfit, smaller = f"rater.model {model!r} does not fit", "take a smaller or quantised rater.model"
    if machine.on_cpu:
        cache = processor_cache(needs, settings)
        if needs.weights + cache > machine.memory:
            raise ValueError(
                f"{unfit}: {weights} and {gb(cache)} of key-value cache (rater.cpu_kv_cache_gb), but this machine has "
                f"{gb(machine.memory)} of memory; {smaller}"
            )
        if needs.longest_question > cache:
            raise ValueError(
                f"{unfit}: it needs {question}, but rater.cpu_kv_cache_gb is {settings.cpu_kv_cache_gb}; raise it to "
                f"{math.ceil(needs.longest_question / 2**30)}, or lower rater.max_model_len"
            )
    shared = "leave it the whole GPU (rater.num_gpus=1), " if 0.0 < (settings.num_gpus or 0.0) < 1.0 else ""
    if machine.gpus and not machine.on_cpu and needs.certain > (room := room_of(max(machine.gpus), settings)):
        raise ValueError(
            f"{unfit}: {weights} and {question}, but an engine may take {gb(room)} of a GPU's {gb(max(machine.gpus))} "
            f"(rater.gpu_memory_fraction {settings.engine_memory_fraction:g}); {shared}spread it over more GPUs "
            f"(rater.tensor_parallel_size), {smaller}, or lower rater.max_model_len"
        )


def room_of(gpu: int, settings: RaterSettings) -> int:
    """What an engine may take of a GPU of so many bytes."""
    return int(gpu * settings.engine_memory_fraction)


def this_machine(on_cpu: bool) -> Machine:
    """Memory that this process may use, and that of the GPUs which it may."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for limit in (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes")):
        try:
            memory = min(memory, int(limit.read_text()))
        except (OSError, ValueError):
            continue  # no such limit
    return Machine(memory, on_cpu, () if on_cpu else visible_gpus())


def visible_gpus() -> tuple[int, ...]:
    """Bytes of each GPU that CUDA shows to this process, by the driver's own tool; none if it cannot be asked."""
    command = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        command += ["-i", visible]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
        return tuple(int(line) * 2**20 for line in done.stdout.splitlines())
    except (OSError, subprocess.SubprocessError, ValueError):
        return ()


def gb(size: float) -> str:
    """A size in words."""
    return f"{size / 1e9:.1f} GB" if size < 99.5e9 else f"{size / 1e9:.0f} GB"


def _is_packable(name: str, weights: Any) -> bool:
    return "language_model.layers." in name and weights.dim() >= 2 and not name.endswith("mlp.gate.weight")


def _bytes_per_number(settings: RaterSettings, on_cpu: bool) -> int:
    if settings.dtype == "auto" and on_cpu:
        from actors.rating.precision import has_bfloat16

        return 2 if has_bfloat16() else 4
    # vLLM's "auto" makes 16 bits of checkpoints with 32.
    return 4 if settings.dtype == "float32" else 2


def _packed(shape: Shape, settings: RaterSettings, plain_bits: int) -> tuple[float, str]:
    """Bits that a weight of a linear layer takes with its share of scales, and the precision in words."""
    stored = shape.stored_quantization
    method = str(settings.quantization or stored.get("quant_method") or "")
    plain = f"{plain_bits} bits"
    if not method:
        return plain_bits, plain
    if method.startswith(("awq", "gptq")):
        bits, group = _stored_number(settings, stored, "bits", 4), _stored_number(settings, stored, "group_size", 128)
        # A scale of 16 bits and a zero for each group; -1 is a group of a whole row.
        return bits + ((16 + bits) / group if group > 0 else 0.0), f"{method}, {bits} bits"
    if method.startswith("bitsandbytes"):
        bits = 8 if stored.get("load_in_8bit") else 4
        return bits + 0.5, f"{method}, {bits} bits"
    if "fp8" in method or method.startswith("modelopt"):
        return 8.0, f"{method}, 8 bits"
    # compressed-tensors and others: by what they say of themselves, else as large as the weights were.
    bits = _stated_bits(stored)
    return (bits, f"{method}, {bits} bits") if bits else (plain_bits, f"{method}, counted as {plain}")


def _stored_number(settings: RaterSettings, stored: dict[str, Any], name: str, usual: int) -> int:
    value = stored.get(name, usual)
    if type(value) is not int:
        raise ValueError(
            f"rater.model {settings.model!r}: quantization_config.{name} = {value!r} in its config.json must be a "
            "whole number; take the file anew from where the checkpoint came from"
        )
    return value


def _stated_bits(stored: dict[str, Any]) -> int:
    groups = stored.get("config_groups")
    parts = groups.values() if isinstance(groups, dict) else ()
    weights = [group.get("weights") for group in parts if isinstance(group, dict)]
    stated = [one.get("num_bits") for one in weights if isinstance(one, dict)]
    return max((bits for bits in stated if type(bits) is int), default=0)
