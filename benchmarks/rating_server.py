"""Ratings per second of the rating server against vLLM's offline `LLM.generate`, in paired rounds.

    python benchmarks/rating_server.py [--model pocket] [--rounds 5] [--questions 256]

Both answer the same new pictures with the same prompts, constraint and engine arguments, each on an engine of its own,
in turns, so that both meet the same load of the machine. The server is asked as a run asks it: by actor calls of a few
questions each. The offline engine runs as vLLM sets it up by default, and gets all questions of a round in one call (in
two-turn mode one call for each turn). Every picture is new to its engine, so no cache helps either.

Beside the rate stands the processor time that one rating takes in all processes of its side, the asking one included:
it tells the two apart also on a machine with other work.
"""

import argparse
import io
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, get_args

import numpy as np
import psutil
import ray
from PIL import Image

from actors.rating.chat import load_chat_format
from actors.rating.engine.arguments import engine_arguments, sampling_parameters
from actors.rating.engine.environment import engine_environment, prepare_process
from actors.rating.engine.level_tokens import label_tokens
from actors.rating.images import prepare_images
from actors.rating.models import load_revision, resolve_model, token_px
from actors.rating.server import RatingServer
from actors.rating.settings import POCKET, RaterSettings
from algorithms.prompts import Prompt, analysis_prompt, answer_labels, answer_only_prompt, rating_prompt
from algorithms.ratings import AskingMode, Rating, RatingRequest, TaskText
from algorithms.scales import RatingScale

SCALE = RatingScale.likert(3)
TASK = TaskText("close the drawer", "the drawer")

IDLE_S = 2.0
"""vLLM's processes poll for a second after their last work; a turn begins when the other side's have gone to sleep."""


def process_seconds() -> float:
    """Processor time of this process and of all that it started, which for an actor are its engine's."""
    me = psutil.Process()
    return sum(sum(process.cpu_times()[:2]) for process in [me, *me.children(recursive=True)])


class MeasuredServer(RatingServer):
    """The rating server, and what it costs."""

    async def process_seconds(self) -> float:
        return process_seconds()


class OfflineEngine:
    """`vllm.LLM` with the engine arguments, prompts and sampling of the rating server."""

    def __init__(self, settings: RaterSettings) -> None:
        on_cpu = prepare_process(settings)
        os.environ.pop("VLLM_ENABLE_V1_MULTIPROCESSING", None)
        from vllm import LLM

        checkpoint, revision = resolve_model(settings), load_revision(settings)
        self._settings = settings
        self._token_px = token_px(checkpoint, revision)
        self._llm = LLM(**engine_arguments(settings, str(checkpoint), revision, on_cpu))
        self._chat = load_chat_format(settings.model, checkpoint, revision)
        self._tokens = list(label_tokens(self._chat.tokenizer, answer_labels(SCALE)).values())

    def rate(self, requests: Sequence[RatingRequest]) -> list[int]:
        """The levels."""
        if requests[0].mode == "answer_only":
            outputs = self._generate([(answer_only_prompt(r), r.images) for r in requests], self._tokens)
        else:
            analyses = self._generate([(analysis_prompt(r), r.images) for r in requests], ())
            pairs = zip(requests, analyses, strict=True)
            outputs = self._generate([(rating_prompt(r, a.outputs[0].text), ()) for r, a in pairs], self._tokens)
        return [self._tokens.index(output.outputs[0].token_ids[0]) for output in outputs]

    def process_seconds(self) -> float:
        return process_seconds()

    def _generate(self, questions: Sequence[tuple[Prompt, tuple[bytes, ...]]], tokens: Sequence[int]) -> list[Any]:
        limits = self._settings.min_pixels, self._settings.max_pixels
        inputs = []
        for prompt, images in questions:
            inputs.append({"prompt_token_ids": list(self._chat.tokens(prompt, len(images), at_once=bool(tokens)))})
            if images:
                inputs[-1]["multi_modal_data"] = {"image": prepare_images(images, *limits, self._token_px)}
        return self._llm.generate(inputs, sampling_parameters(self._settings, tokens), use_tqdm=False)


def new_requests(rng: np.random.Generator, number: int, image_px: int, mode: AskingMode) -> list[RatingRequest]:
    """Questions about pictures that nobody has seen."""
    requests = []
    for _ in range(number):
        coarse = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
        file = io.BytesIO()
        coarse.resize((image_px, image_px), Image.Resampling.BICUBIC).save(file, format="PNG")
        requests.append(RatingRequest((file.getvalue(),), TASK, SCALE, mode))
    return requests


def ask_server(server: Any, requests: Sequence[RatingRequest], chunk: int, in_flight: int) -> list[int]:
    """Actor calls of `chunk` questions, up to `in_flight` questions at once."""
    waiting = [list(requests[start : start + chunk]) for start in range(0, len(requests), chunk)]
    waiting.reverse()
    running: dict[Any, int] = {}
    levels: dict[int, list[int]] = {}
    while waiting or running:
        while waiting and len(running) * chunk < in_flight:
            running[server.rate.remote(waiting.pop())] = len(waiting)
        ray.wait(list(running), num_returns=1)
        done, _ = ray.wait(list(running), num_returns=len(running), timeout=0)
        for reference in done:
            outcomes = ray.get(reference)
            failed = [outcome for outcome in outcomes if not isinstance(outcome, Rating)]
            if failed:
                raise RuntimeError(f"the server failed on a question: {failed[0]}")
            levels[running.pop(reference)] = [outcome.rating for outcome in outcomes]
    return [level for place in sorted(levels, reverse=True) for level in levels[place]]


@dataclass(frozen=True)
class Turn:
    """What one side did in one round."""

    levels: list[int]
    ratings_per_s: float
    cpu_ms: float
    """Processor time for each rating."""


def take_turn(actor: Any, ask: Callable[[], list[int]]) -> Turn:
    """Ask, and measure."""
    time.sleep(IDLE_S)
    cpu_s = ray.get(actor.process_seconds.remote()) + time.process_time()
    started = time.perf_counter()
    levels = ask()
    elapsed_s = time.perf_counter() - started
    cpu_s = ray.get(actor.process_seconds.remote()) + time.process_time() - cpu_s
    return Turn(levels, len(levels) / elapsed_s, 1000 * cpu_s / len(levels))


def compare(server: Any, offline: Any, arguments: argparse.Namespace, mode: AskingMode) -> None:
    """Print the rounds of one mode, and the medians."""
    rng = np.random.default_rng(arguments.seed)
    rounds: list[tuple[Turn, Turn]] = []
    for number in range(arguments.rounds + 1):
        requests = new_requests(rng, arguments.questions, arguments.image_px, mode)

        def ask_online(requests: list[RatingRequest] = requests) -> list[int]:
            return ask_server(server, requests, arguments.chunk, 2 * arguments.max_in_flight)

        def ask_offline(requests: list[RatingRequest] = requests) -> list[int]:
            return ray.get(offline.rate.remote(requests))

        # Who begins changes from round to round.
        if number % 2:
            ours, theirs = take_turn(server, ask_online), take_turn(offline, ask_offline)
        else:
            theirs, ours = take_turn(offline, ask_offline), take_turn(server, ask_online)
        if number == 0:
            continue  # the first round warms up both
        rounds.append((ours, theirs))
        same = np.mean(np.array(ours.levels) == np.array(theirs.levels))
        print(f"{mode:12} round {number}: {line([rounds[-1]])}  same level {same:.1%}", flush=True)
    print(f"{mode:12} median : {line(rounds)}", flush=True)


def line(rounds: Sequence[tuple[Turn, Turn]]) -> str:
    """Medians over rounds as text."""
    rates = [median(turn.ratings_per_s for turn in side) for side in zip(*rounds, strict=True)]
    costs = [median(turn.cpu_ms for turn in side) for side in zip(*rounds, strict=True)]
    ratio = median(ours.ratings_per_s / theirs.ratings_per_s for ours, theirs in rounds)
    return (
        f"server {rates[0]:6.1f}/s, {costs[0]:5.2f} cpu-ms   LLM.generate {rates[1]:6.1f}/s, {costs[1]:5.2f} cpu-ms   "
        f"ratio {ratio:.3f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=POCKET, help="as rater.model")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--questions", type=int, default=256, help="in each round")
    parser.add_argument("--chunk", type=int, default=8, help="questions in one actor call")
    parser.add_argument("--image-px", type=int, default=112)
    parser.add_argument("--analysis-tokens", type=int, default=32)
    parser.add_argument("--max-in-flight", type=int, default=256)
    parser.add_argument("--modes", nargs="+", choices=get_args(AskingMode), default=get_args(AskingMode))
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    settings = RaterSettings(
        model=arguments.model,
        max_analysis_tokens=arguments.analysis_tokens,
        max_in_flight=arguments.max_in_flight,
        max_model_len=2048,
    )
    ray.init(address="local", include_dashboard=False, log_to_driver=False)
    gpus = {"num_gpus": 0.5} if ray.cluster_resources().get("GPU") else {}
    if gpus:
        # Both engines share a GPU's memory; each computes alone while the other waits.
        settings = settings.model_copy(update=gpus)
    options = {"num_cpus": 0, **gpus, "runtime_env": {"env_vars": engine_environment() | {"OMP_NUM_THREADS": "1"}}}
    server = ray.remote(MeasuredServer).options(**options, max_concurrency=4 * arguments.max_in_flight).remote(settings)
    offline = ray.remote(OfflineEngine).options(**options).remote(settings)
    ray.get([server.start.remote(), offline.__ray_ready__.remote()])
    for mode in arguments.modes:
        compare(server, offline, arguments, mode)
    ray.get(server.shutdown.remote())
    ray.shutdown()


if __name__ == "__main__":
    main()
