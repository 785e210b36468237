"""Settings of the rating server. Importing them loads no model code."""

import math
from dataclasses import asdict
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from algorithms.ratings import Sampling
from algorithms.settings import NumGpus, PositiveFloat, PositiveInt, Settings

POCKET = "pocket"
"""Name of the small rater that ships with the package."""
POCKET_WINDOWS = "pocket_windows"
"""Name of the small rater of BabyAI windows that ships with the package."""
POCKET_EPISODES = "pocket_episodes"
"""Name of the small rater of whole BabyAI episodes that ships with the package."""
POCKET_PAIRS = "pocket_pairs"
"""Name of the small rater that compares two pictures of a packaged task, and ships with the package."""
POCKET_PIXELS = {POCKET: 112 * 112, POCKET_WINDOWS: 252 * 252, POCKET_EPISODES: 56 * 56, POCKET_PAIRS: 112 * 112}
"""Each learnt from pictures of this size, so every picture is brought to it."""

MEMORY_OF_SHARE = 0.9
"""Of the share of a GPU that Ray reserves for an engine, what its memory may be; the rest is for what CUDA and other
processes take besides, which nobody counts."""


class RaterSettings(Settings):
    """Which vision-language model rates, how it is asked, and how it is served."""

    model: Annotated[str, Field(min_length=1)] = POCKET
    """`pocket` for frames, `pocket_pairs` for preferences, `pocket_windows` for windows, `pocket_episodes` for BabyAI
    episodes, a local folder, or a hub name such as `Qwen/Qwen2-VL-7B-Instruct`: a Qwen2-VL, Qwen2.5-VL or Qwen3-VL."""
    revision: str | None = None
    """Hub revision; pin it for a reproducible study."""
    mode: Literal["two_turn", "answer_only"] = "two_turn"
    """Analyse then rate (published), or one forward pass with the probability of each level."""
    endpoint: Annotated[str, Field(pattern=r"^https?://")] | None = None
    """Base URL of an OpenAI-compatible server to ask instead of starting an engine, such as `http://host:8000/v1`.
    The key is read from the environment variable LIKERT_ENDPOINT_KEY. docs/endpoints.md tells what is needed of it."""
    temperature: Annotated[float, Field(ge=0.0, le=2.0)] = 0.0
    """Sampling temperature of both turns; 0 takes the most likely answer."""
    max_analysis_tokens: Annotated[int, Field(gt=0, lt=2**31)] = 256
    """Length limit of the analysis, and of what a model thinks before it answers."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Sampling seed, when the temperature is above 0."""

    server: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$")] | None = None
    """Name of a rating server that runs share: found in the cluster, or started by the first run that names it, with
    that run's settings of this block. It outlives runs; `likert rater stop NAME` ends it. Absent: engines of the run's
    own, which end with it."""
    server_weight: PositiveFloat = 1.0
    """The run's share of a shared server, against those of other runs, while several have questions waiting."""
    num_replicas: PositiveInt = 1
    """Engines that share the questions."""
    max_in_flight: PositiveInt = 256
    """Questions that one replica works on at once."""
    deadline_s: PositiveFloat = 120.0
    """Time that one question may take, retries included."""
    max_attempts: PositiveInt = 3
    """Tries per question; transient errors are retried with growing pauses."""
    stall_timeout_s: PositiveFloat = 60.0
    """An engine with work that finishes no token for so long counts as hung and is restarted."""
    start: Literal["auto", "at_once", "when_asked"] = "auto"
    """When an engine of the run's own loads its model. `at_once`: while the rest of the run is made. `when_asked`:
    before the first question that the store does not answer, so that a run whose answers are all there loads none.
    `auto`: `when_asked` if an online run begins anew whose name has asked into its store before, else `at_once`. Shared
    servers load at once, and endpoints are tried at once."""
    start_timeout_s: PositiveFloat = 900.0
    """Time that an engine may take to load and warm up."""

    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    """Precision of the weights; `auto` is the checkpoint's, or float32 on a processor without bfloat16 of its own."""
    quantization: str | None = None
    """vLLM quantisation name, such as `awq` or `gptq`."""
    tensor_parallel_size: PositiveInt = 1
    """GPUs that one engine is spread over."""
    gpu_memory_fraction: Annotated[float, Field(gt=0.0, le=1.0)] | None = None
    """Share of each of its GPUs' memory that an engine may take; absent: nine tenths of what Ray reserves for it."""
    max_model_len: PositiveInt = 4096
    """Context length in tokens; shorter needs less memory."""
    min_pixels: PositiveInt = 3136
    """Images below this many pixels are enlarged. The pocket raters' defaults are their own: 112 x 112, 252 x 252 and
    56 x 56."""
    max_pixels: PositiveInt = 1_003_520
    """Images above this many pixels are reduced. The pocket raters' defaults are their own: 112 x 112, 252 x 252 and
    56 x 56."""
    enforce_eager: bool = False
    """Skip graph capture: starts faster, runs slower on a GPU. Always on on a processor."""
    cpu_kv_cache_gb: PositiveInt = 1
    """Key-value cache of an engine that runs on a processor, at most: what `max_in_flight` questions of `max_model_len`
    tokens cannot fill is not taken."""
    num_cpus: Annotated[float, Field(ge=0.0)] = 1.0
    """Processors that Ray reserves for a replica."""
    num_gpus: NumGpus | None = None
    """GPUs that Ray reserves for a replica. Absent: none where the cluster has none; else `tensor_parallel_size`, or of
    its only GPU what the reward learner and the policy leave, or what fits `gpu_memory_fraction`."""
    accelerator_type: str | None = None
    """Kind of GPU that a replica needs, as Ray names it, such as `A100` or `L4`."""
    resources: dict[str, float] = Field(default_factory=dict)
    """Custom Ray resources that a replica needs, to place it on certain nodes."""

    @model_validator(mode="before")
    @classmethod
    def _pocket_pixels(cls, given: Any) -> Any:
        if isinstance(given, dict) and given.get("endpoint") is None:
            # A value of a wrong type is for pydantic to complain about.
            pixels = POCKET_PIXELS.get(str(given.get("model", POCKET)))
            return {"min_pixels": pixels, "max_pixels": pixels} | given if pixels else given
        return given

    @model_validator(mode="after")
    def _pixels_in_order(self) -> "RaterSettings":
        if self.min_pixels > self.max_pixels:
            raise ValueError(f"min_pixels {self.min_pixels} is above max_pixels {self.max_pixels}")
        return self

    @model_validator(mode="after")
    def _starts_its_own(self) -> "RaterSettings":
        elsewhere = "endpoint" if self.endpoint else "server" if self.server else None
        if self.start == "when_asked" and elsewhere:
            raise ValueError(
                f"start 'when_asked' is of an engine of the run's own, and {elsewhere} names another; leave it out"
            )
        return self

    @property
    def wished_gpus(self) -> float:
        """GPUs that a replica takes where there are some, if `num_gpus` does not say it: those it is spread over, or
        the share of one that its memory needs."""
        if self.tensor_parallel_size > 1 or self.gpu_memory_fraction is None:
            return float(self.tensor_parallel_size)
        return min(1.0, math.ceil(100 * self.gpu_memory_fraction / MEMORY_OF_SHARE - 1e-6) / 100)

    @property
    def engine_memory_fraction(self) -> float:
        """Share of the memory of each of its GPUs that an engine takes at its start: as set, else by its share."""
        if self.gpu_memory_fraction is not None:
            return self.gpu_memory_fraction
        return round(MEMORY_OF_SHARE * min(1.0, self.num_gpus or 1.0), 4)

    @property
    def sampling(self) -> Sampling:
        """The part of these settings that can change an answer."""
        return Sampling(
            temperature=self.temperature,
            max_analysis_tokens=self.max_analysis_tokens,
            seed=self.seed,
            min_pixels=self.min_pixels,
            max_pixels=self.max_pixels,
            precision=f"{self.dtype}+{self.quantization}" if self.quantization else self.dtype,
        )

    def other_answers(self, asked: "RaterSettings") -> list[str]:
        """Settings by which a server with these would answer otherwise than `asked` wants; each names both values."""
        own, other = (
            {"model": rater.model, "revision": rater.revision, "endpoint": rater.endpoint} | asdict(rater.sampling)
            for rater in (self, asked)
        )
        return [f"{name} {own[name]!r} (asked for: {other[name]!r})" for name in own if own[name] != other[name]]
