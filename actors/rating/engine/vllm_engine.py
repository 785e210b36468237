"""A Qwen-VL served by vLLM in this process and its children. The only module that imports vllm, once it is started."""

import asyncio
import gc
import itertools
import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from hashlib import sha256
from io import BytesIO
from typing import TYPE_CHECKING, Any

from actors.rating.backend import EngineDead, Refused, Reply, ServerError
from actors.rating.chat import ChatFormat, load_chat_format, without_thought_marks
from actors.rating.engine.arguments import engine_arguments, sampling_parameters
from actors.rating.engine.environment import fork_engines, prepare_process
from actors.rating.engine.level_tokens import label_tokens, renormalised
from actors.rating.images import prepare_images
from actors.rating.models import Checkpoint, load_revision, rater_identity, resolve_model, token_px
from actors.rating.settings import RaterSettings
from actors.rating.sizing import check_fits, needs_of, processor_cache, shape_of, this_machine
from algorithms.prompts import Prompt, answer_labels
from algorithms.ratings import RaterIdentity
from algorithms.scales import SCALE_WORDS, RatingScale

if TYPE_CHECKING:
    from PIL.Image import Image
    from vllm import AsyncEngineArgs, RequestOutput
    from vllm.inputs import EngineInput
    from vllm.v1.engine.async_llm import AsyncLLM

LONGEST_SCALE = RatingScale.likert(max(SCALE_WORDS))

SMALL_IMAGE_BYTES = 64 * 1024
"""Pictures up to this are prepared at once, in a few milliseconds; larger ones in threads, so that others go on."""


class VllmEngine:
    """One engine. `start` and `stop` may alternate; a supervisor decides when.

    `num_outputs` grows whenever the engine brings something forth: the sign of life that counts.
    """

    def __init__(self, settings: RaterSettings, forks: bool = False) -> None:
        """`forks`: on a processor the engine's process is a fork of this one, which holds nothing but the engine, and
        shares with it what both have loaded."""
        self.num_outputs = 0
        self._forks = forks
        self._settings = settings
        self._identity: RaterIdentity | None = None
        self._llm: AsyncLLM | None = None
        self._chat: ChatFormat | None = None
        self._label_tokens: dict[str, int] = {}
        self._token_px = 0
        self._on_cpu = False
        self._request_numbers = itertools.count()
        # The kernel ends the engine's processes with the thread that started them (`die_with_parent`), so that thread
        # lives as long as this object.
        self._thread: ThreadPoolExecutor | None = None
        self._others: set[Any] = set()
        self._preparing = asyncio.Lock()
        self._tokens_of_prompt = lru_cache(maxsize=1024)(self._tokenise)

    async def start(self) -> None:
        """Load the model and warm it up. Raises ValueError if the model or its tokenizer does not fit."""
        if self._thread is None:
            self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="vllm-start")
        loop = asyncio.get_running_loop()
        # Two calls: libraries keep errors of imports that they do without, and with them the frames around the import,
        # which must not be those that hold the engine. It would never be let go of.
        arguments = await loop.run_in_executor(self._thread, self._prepare_start)
        self._llm = await loop.run_in_executor(self._thread, self._build, arguments)
        self._label_tokens = label_tokens(self._chat.tokenizer, answer_labels(LONGEST_SCALE))
        await self._warm_up()

    async def generate(self, prompt: Prompt, images: tuple[bytes, ...], choices: tuple[str, ...]) -> Reply:
        """Answer one prompt; with choices from one forward pass."""
        from vllm.exceptions import VLLMClientError
        from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

        if self._llm is None:
            raise EngineDead("the engine is not running")
        tokens = self._tokens_of(choices)
        try:
            output = await self._ask(self._llm, prompt, images, tokens)
        except EngineDeadError as error:
            raise EngineDead("the engine's process ended") from error
        except VLLMClientError as error:
            raise Refused(str(error)) from error
        except EngineGenerateError as error:
            raise ServerError(f"the engine failed on this question: {error.__cause__!r}") from error
        answer = output.outputs[0]
        if answer.finish_reason not in ("stop", "length"):
            raise ServerError(f"the engine gave a question up: {answer.finish_reason}")
        num_tokens = len(output.prompt_token_ids), len(answer.token_ids)
        if not choices:
            # What it thinks belongs to its analysis.
            said = without_thought_marks(answer.text) if self._chat.thinks else answer.text
            return Reply(said, None, *num_tokens, cut_short=answer.finish_reason == "length")
        # The engine reports log probabilities over the whole vocabulary, taken before the mask.
        probabilities = renormalised([answer.logprobs[0][token].logprob for token in tokens])
        return Reply(choices[tokens.index(answer.token_ids[0])], probabilities, *num_tokens)

    def _tokens_of(self, choices: tuple[str, ...]) -> list[int]:
        if any(choice not in self._label_tokens for choice in choices):
            try:
                self._label_tokens |= label_tokens(self._chat.tokenizer, choices)
            except ValueError as error:
                raise Refused(str(error)) from error
        return [self._label_tokens[choice] for choice in choices]

    def identity(self) -> RaterIdentity:
        """Name and revision of the weights, or the digest of a local folder."""
        if self._identity is None:
            self._identity = rater_identity(self._settings)
        return self._identity

    async def stop(self, grace_s: float) -> None:
        """End the engine's processes, by force after `grace_s`. Harmless when there are none."""
        llm, self._llm = self._llm, None
        if llm is not None and llm.output_handler is not None:
            # It would take the end of the engine's process for a failure, and say so at length.
            llm.output_handler.cancel()
            await asyncio.wait((llm.output_handler,))
        if llm is not None and grace_s > 0 and not self._on_cpu:
            # On a processor the kernel frees all that it holds, and its own way down takes it three seconds.
            await asyncio.to_thread(llm.shutdown, timeout=grace_s)
        processes = [child for child in multiprocessing.active_children() if child not in self._others]
        for process in processes:
            process.kill()
        if llm is not None:
            await asyncio.to_thread(llm.shutdown, timeout=0)
        for process in processes:
            await asyncio.to_thread(process.join)
        # The engine's client is full of reference cycles; let go of its sockets and threads now.
        del llm
        gc.collect()

    async def _ask(
        self, llm: "AsyncLLM", prompt: Prompt, images: tuple[bytes, ...], tokens: Sequence[int]
    ) -> "RequestOutput":
        question = await self._prepare(llm, prompt, images, at_once=bool(tokens or prompt.schema))
        latest: RequestOutput | None = None
        sampling = sampling_parameters(self._settings, tokens, prompt.schema, prompt.max_tokens)
        async for output in llm.generate(question, sampling, str(next(self._request_numbers))):
            self.num_outputs += 1
            latest = output
        assert latest is not None, "vLLM ends by a last output or an error"
        return latest

    async def _prepare(
        self, llm: "AsyncLLM", prompt: Prompt, images: tuple[bytes, ...], at_once: bool
    ) -> "EngineInput":
        """Decode, tokenise and process for the model: milliseconds of Python for each question.

        One question after the other. If all advanced together, the engine would wait until nearly all were ready.
        """
        arguments = images, self._settings.min_pixels, self._settings.max_pixels, self._token_px
        large = sum(map(len, images)) > SMALL_IMAGE_BYTES
        pictures = await asyncio.to_thread(prepare_images, *arguments) if large else []
        async with self._preparing:
            if large:
                return await asyncio.to_thread(self._render, llm, prompt, images, pictures, at_once)
            question = self._render(llm, prompt, images, prepare_images(*arguments), at_once)
            # Others get a turn: answers are handed out, and the next question waits for the lock.
            await asyncio.sleep(0)
            return question

    def _render(
        self, llm: "AsyncLLM", prompt: Prompt, images: Sequence[bytes], pictures: "list[Image]", at_once: bool
    ) -> "EngineInput":
        from vllm.renderers.inputs.preprocess import parse_model_prompt

        question: dict[str, Any] = {"prompt_token_ids": list(self._tokens_of_prompt(prompt, len(pictures), at_once))}
        if pictures:
            question["multi_modal_data"] = {"image": pictures}
            # vLLM knows equal pictures by these; its own hash of the decoded pixels takes as long as a third of the
            # rest of this function.
            question["multi_modal_uuids"] = {"image": [sha256(image).hexdigest() for image in images]}
        [rendered] = llm.renderer.render_cmpl([parse_model_prompt(llm.model_config, question)])
        return rendered

    def _tokenise(self, prompt: Prompt, num_images: int, at_once: bool) -> tuple[int, ...]:
        """Kept for the next question: all frames of a task share their prompt."""
        return self._chat.tokens(prompt, num_images, at_once)

    def _prepare_start(self) -> "AsyncEngineArgs":
        """All but the engine itself, vLLM's import included; returns the engine's arguments."""
        checkpoint = resolve_model(self._settings)
        revision = load_revision(self._settings)
        self._token_px = token_px(checkpoint, revision)
        self._others = set(multiprocessing.active_children())
        self._on_cpu = prepare_process(self._settings)
        cache = self._check_before_loading(checkpoint, revision, self._on_cpu)
        import vllm.v1.engine.async_llm  # noqa: F401
        from vllm import AsyncEngineArgs

        return AsyncEngineArgs(**engine_arguments(self._settings, str(checkpoint), revision, self._on_cpu, cache))

    def _build(self, arguments: "AsyncEngineArgs") -> "AsyncLLM":
        from vllm.usage.usage_lib import UsageContext
        from vllm.v1.engine.async_llm import AsyncLLM

        try:
            # vLLM's offline default of tokens, and of pictures' tokens, in one step. Its default for servers, where the
            # first word of an answer must not wait, is a half or less, and made the steps twice as many.
            config = arguments.create_engine_config(UsageContext.LLM_CLASS)
            if self._forks and self._on_cpu:
                # Now, because for a processor the configuration itself has said that engines are spawned.
                fork_engines(self._settings)
            return AsyncLLM.from_vllm_config(
                config, usage_context=UsageContext.LLM_CLASS, disable_log_stats=arguments.disable_log_stats
            )
        except RuntimeError as error:
            raise RuntimeError(
                f"vLLM could not start an engine for rater.model {self._settings.model!r}: {error} "
                "The root cause stands in the output of this process (of a Ray actor: in its log file)."
            ) from error

    def _check_before_loading(self, checkpoint: Checkpoint, revision: str | None, on_cpu: bool) -> int:
        """Raises ValueError if it does not fit; returns the bytes of its key-value cache on a processor."""
        settings = self._settings
        self._chat = load_chat_format(settings.model, checkpoint, revision)
        needs = needs_of(shape_of(settings.model, checkpoint, revision), settings, on_cpu)
        check_fits(settings.model, needs, settings, this_machine(on_cpu))
        return processor_cache(needs, settings)

    async def _warm_up(self) -> None:
        """Both kinds of question once, so that the first real one does not wait for kernels."""
        from PIL import Image

        file = BytesIO()
        Image.new("RGB", (56, 56), "grey").save(file, format="PNG")
        await self.generate(Prompt("Describe the picture.", with_images=True), (file.getvalue(),), ())
        await self.generate(Prompt("Answer 1 or 2.", with_images=False), (), ("1", "2"))
