"""What vLLM is told: how to make an engine of our settings, and how to decode an answer."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from actors.rating.settings import RaterSettings

if TYPE_CHECKING:
    from vllm import SamplingParams

MAX_JSON_TOKENS = 512
"""A constrained answer ends by itself; this only bounds what its schema leaves open."""

REPORT_EVERY_TOKENS = 16
"""An analysis under way shows progress this often."""


def engine_arguments(
    settings: RaterSettings, model: str, revision: str | None, on_cpu: bool, cache: int | None = None
) -> dict[str, Any]:
    """vLLM's engine arguments for these settings.

    `cache`: bytes of key-value cache on a processor; None: as much as the settings allow.
    """
    arguments = {
        "model": model,
        "revision": revision,
        "tokenizer_revision": revision,
        "trust_remote_code": False,
        "load_format": "safetensors",
        "dtype": engine_dtype(settings, on_cpu),
        "quantization": settings.quantization,
        "tensor_parallel_size": settings.tensor_parallel_size,
        "max_model_len": settings.max_model_len,
        "max_num_seqs": settings.max_in_flight,
        "enforce_eager": settings.enforce_eager or on_cpu,
        "enable_prefix_caching": True,
        # Qwen's processor counts these "edges" in pixels of area.
        # It would resize once more where few sizes are within bounds; pictures come to it as they are to be seen.
        "mm_processor_kwargs": {
            "size": {"shortest_edge": settings.min_pixels, "longest_edge": settings.max_pixels},
            "do_resize": False,
        },
        "limit_mm_per_prompt": {"video": 0},
        # Every frame is new: a cache of processed images would only fill memory.
        "mm_processor_cache_gb": 0,
        # Spaces between the values of an answer would be endless for a model that likes them.
        "structured_outputs_config": {"backend": "xgrammar", "disable_any_whitespace": True},
        "disable_log_stats": True,
        "use_tqdm_on_load": False,
        "seed": settings.seed,
    }
    if settings.tensor_parallel_size > 1:
        # Inside a Ray actor vLLM would look for a placement group; the actor holds the GPUs itself.
        arguments["distributed_executor_backend"] = "mp"
    if on_cpu:
        return arguments | {"kv_cache_memory_bytes": cache or settings.cpu_kv_cache_gb * 2**30}
    return arguments | {"gpu_memory_utilization": settings.engine_memory_fraction}


def engine_dtype(settings: RaterSettings, on_cpu: bool) -> str:
    """vLLM's name of the precision: as set; `auto` is the checkpoint's, except on a processor that would emulate it."""
    if settings.dtype == "auto" and on_cpu:
        from actors.rating.precision import has_bfloat16

        return "auto" if has_bfloat16() else "float32"
    return settings.dtype


def sampling_parameters(
    settings: RaterSettings, tokens: Sequence[int], schema: str = "", max_tokens: int | None = None
) -> "SamplingParams":
    """How to decode: free text, with `tokens` one of them and the probability of each, or JSON that obeys `schema`.

    `max_tokens` takes the place of our own limits of a text or of JSON.
    """
    from vllm import SamplingParams
    from vllm.sampling_params import StructuredOutputsParams

    common = {"temperature": settings.temperature, "seed": settings.seed if settings.temperature else None}
    if schema:
        constraint = StructuredOutputsParams(json=schema)
        return SamplingParams(**common, max_tokens=max_tokens or MAX_JSON_TOKENS, structured_outputs=constraint)
    if not tokens:
        length = max_tokens or settings.max_analysis_tokens
        return SamplingParams(**common, max_tokens=length, stream_interval=REPORT_EVERY_TOKENS)
    # Every choice is one token, so the choice is enforced by a mask over one step, without a grammar.
    return SamplingParams(**common, max_tokens=1, allowed_token_ids=list(tokens), logprob_token_ids=list(tokens))
