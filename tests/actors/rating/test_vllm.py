"""The real engine in a real Ray actor, on a Qwen2-VL of random weights. One engine start for all fast tests.

The tests run in order: the last one kills the actor.
"""

import asyncio
import io
import os
import signal
import sys

import numpy as np
import psutil
import pytest
import ray
from PIL import Image

from actors.rating.backend import Refused
from actors.rating.chat import chat_text
from actors.rating.engine import vllm_engine
from actors.rating.engine.environment import engine_environment
from actors.rating.engine.level_tokens import label_tokens, renormalised
from actors.rating.models import folder_digest
from actors.rating.precision import processor_dtype
from actors.rating.server import RatingServer
from actors.rating.settings import RaterSettings
from actors.rating.sizing import Machine
from algorithms.prompts import Prompt, answer_labels, answer_only_prompt, rating_prompt
from algorithms.ratings import RaterIdentity, RatingFailure, RatingRequest, TaskText
from algorithms.scales import RatingScale
from tests.fakes.tiny_qwen import build_tiny_qwen


def png(seed: int, px: int = 56) -> bytes:
    """Coloured squares, so that two seeds look different also to a small model."""
    squares = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(squares).resize((px, px), Image.Resampling.NEAREST).save(file, format="PNG")
    return file.getvalue()


def request(seed: int, mode: str = "answer_only", num_ratings: int = 3, **changes) -> RatingRequest:
    values = {
        "images": (png(seed),),
        "task": TaskText("close the drawer", "the drawer"),
        "scale": RatingScale.likert(num_ratings),
        "mode": mode,
    }
    return RatingRequest(**(values | changes))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return build_tiny_qwen(tmp_path_factory.mktemp("tiny_qwen"))


@pytest.fixture(scope="module")
def server(checkpoint):
    class ProbedServer(RatingServer):
        async def process_ids(self) -> list[int]:
            """The actor's own process, then its descendants."""
            return [os.getpid(), *(child.pid for child in psutil.Process().children(recursive=True))]

        async def heavy(self) -> list[str]:
            return sorted({"vllm", "torch", "transformers"} & set(sys.modules))

    settings = RaterSettings(
        model=str(checkpoint), max_analysis_tokens=24, max_model_len=1024, stall_timeout_s=20.0, deadline_s=300.0
    )
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    environment = engine_environment() | {"OMP_NUM_THREADS": "1"}
    actor = ray.remote(ProbedServer).options(num_cpus=1, max_concurrency=300, runtime_env={"env_vars": environment})
    handle = actor.remote(settings)
    ray.get(handle.start.remote())
    yield handle
    ray.shutdown()


def rate(server, *requests):
    return ray.get(server.rate.remote(list(requests)))


@pytest.mark.parametrize("mode", ["answer_only", "two_turn"])
def test_every_scale_is_answered_in_both_modes(server, mode):
    ratings = rate(server, *[request(seed, mode, num_ratings) for num_ratings in (2, 3, 4, 5) for seed in range(4)])
    for place, rating in enumerate(ratings):
        assert len(rating.probabilities) == 2 + place // 4
        assert sum(rating.probabilities) == pytest.approx(1.0)
        assert rating.rating == int(np.argmax(rating.probabilities))
        assert bool(rating.analysis) == (mode == "two_turn")
        assert rating.completion_tokens == (1 if mode == "answer_only" else rating.completion_tokens) >= 1
    assert len({rating.probabilities for rating in ratings}) == len(ratings)


def test_probabilities_are_those_of_the_model_over_the_levels(server, checkpoint):
    """The same prompt through transformers: the next token's logits, softmax over the levels alone."""
    import torch
    from transformers import AutoProcessor, Qwen2VLForConditionalGeneration

    processor = AutoProcessor.from_pretrained(checkpoint)
    model = Qwen2VLForConditionalGeneration.from_pretrained(checkpoint, dtype=processor_dtype())
    labels = answer_labels(RatingScale.likert(5))
    tokens = list(label_tokens(processor.tokenizer, labels).values())

    def expected(prompt, images):
        text = chat_text(processor.tokenizer, prompt, len(images))
        pictures = [Image.open(io.BytesIO(image)) for image in images]
        inputs = processor(text=[text], images=pictures or None, return_tensors="pt")
        with torch.inference_mode():
            logits = model(**inputs).logits[0, -1].float()
        assert inputs["input_ids"].shape[1] > 0
        return torch.softmax(logits[tokens], dim=0).tolist()

    shown = request(1, "answer_only", 5)
    two_frames = request(2, "answer_only", 5, images=(png(2), png(3)), frame_note="two frames, in time order")
    analysed = request(4, "two_turn", 5)
    answers = rate(server, shown, two_frames, analysed)
    # Weights and activations have eight bits of precision.
    assert answers[0].probabilities == pytest.approx(expected(answer_only_prompt(shown), shown.images), abs=0.03)
    assert answers[1].probabilities == pytest.approx(
        expected(answer_only_prompt(two_frames), two_frames.images), abs=0.03
    )
    turn_two = rating_prompt(analysed, answers[2].analysis)
    assert answers[2].probabilities == pytest.approx(expected(turn_two, ()), abs=0.03)


def test_what_the_engine_can_not_take_is_refused_and_the_rest_answered(server):
    outcomes = rate(
        server,
        request(1),
        request(2, images=(b"\x89PNG no picture",)),
        request(3, task=TaskText("close the drawer " * 500, "the drawer")),
        request(4, "two_turn"),
    )
    assert [getattr(outcome, "cause", "rated") for outcome in outcomes] == ["rated", "refused", "refused", "rated"]
    assert outcomes[1].detail.startswith("image 0 of 1 is no readable PNG file")
    assert all(outcome.attempts == 1 for outcome in outcomes if isinstance(outcome, RatingFailure))


def test_pictures_are_fitted_to_the_pixel_limits(server):
    small, large = rate(server, request(1, images=(png(1, px=20),)), request(1, images=(png(1, px=280),)))
    # One token for each 28 by 28 pixels: 20 pixels are enlarged to the minimum of 56, which is 4; 280 give 100.
    assert large.prompt_tokens - small.prompt_tokens == 96


def test_the_weights_are_named_by_their_contents(server, checkpoint):
    assert ray.get(server.identity.remote()) == RaterIdentity(f"sha256:{folder_digest(checkpoint)}", "local")


def test_a_step_takes_as_many_tokens_as_offline(checkpoint, monkeypatch):
    from vllm.v1.engine.async_llm import AsyncLLM

    engine = vllm_engine.VllmEngine(RaterSettings(model=str(checkpoint), max_model_len=1024))
    monkeypatch.setattr(AsyncLLM, "from_vllm_config", lambda config, **_: config)
    config = engine._build(engine._prepare_start())
    # vLLM's default: 4096 offline and 2048 online on a processor, more on GPUs.
    assert config.scheduler_config.max_num_batched_tokens >= 4096


def test_what_asks_the_engine_has_loaded_neither_it_nor_torch(server):
    assert ray.get(server.heavy.remote()) == []


def test_statistics_count_what_was_asked(server):
    before = ray.get(server.statistics.remote())
    rate(server, *[request(seed) for seed in range(100, 140)])
    after = ray.get(server.statistics.remote())
    assert after["num_rated"] - before["num_rated"] == 40
    assert after["completion_tokens"] - before["completion_tokens"] == 40
    assert after["num_restarts"] == 0 and 0 < after["latency_p50_s"] <= after["latency_p95_s"]


@pytest.mark.slow
def test_a_stopped_engine_counts_as_hung_and_is_restarted(server):
    _, *before = ray.get(server.process_ids.remote())
    for pid in before:
        os.kill(pid, signal.SIGSTOP)
    (rating,) = rate(server, request(500))
    assert len(rating.probabilities) == 3
    assert ray.get(server.statistics.remote())["num_restarts"] == 1
    assert not any(psutil.pid_exists(pid) for pid in before)


@pytest.mark.slow
def test_a_killed_engine_is_restarted(server):
    restarts = ray.get(server.statistics.remote())["num_restarts"]
    for process in engine_processes(server):
        process.kill()
    (rating,) = rate(server, request(600))
    assert len(rating.probabilities) == 3
    assert ray.get(server.statistics.remote())["num_restarts"] == restarts + 1


def test_no_process_outlives_a_killed_actor(server):
    actor, *descendants = (psutil.Process(pid) for pid in ray.get(server.process_ids.remote()))
    assert len(descendants) >= 2
    actor.kill()
    _, alive = psutil.wait_procs(descendants, timeout=20)
    assert not alive


def engine_processes(server) -> list[psutil.Process]:
    return [psutil.Process(pid) for pid in ray.get(server.process_ids.remote())[1:]]


class FakeEngine:
    """Notes what reaches it."""

    def __init__(self, events) -> None:
        self._events = events

    async def generate(self, question, sampling, request_id):
        self._events.append(("sent", question))
        yield question


@pytest.mark.parametrize("num_bytes", [1, 2 * vllm_engine.SMALL_IMAGE_BYTES], ids=["small", "large"])
def test_questions_are_sent_while_others_are_prepared(monkeypatch, num_bytes):
    """The engine does not wait for all of them, nor for one that is refused."""
    number, refused = 8, 3
    events = []

    def render(llm, prompt, images, pictures, at_once):
        events.append(("prepared", prompt.text))
        if prompt.text == str(refused):
            raise Refused("too long")
        return prompt.text

    engine = vllm_engine.VllmEngine(RaterSettings())
    monkeypatch.setattr(engine, "_render", render)
    monkeypatch.setattr(vllm_engine, "prepare_images", lambda *_: [])
    monkeypatch.setattr(vllm_engine, "sampling_parameters", lambda *_: None)

    async def ask_all():
        prompts = [Prompt(str(place), with_images=True) for place in range(number)]
        asked = [engine._ask(FakeEngine(events), prompt, (bytes(num_bytes),), ()) for prompt in prompts]
        return await asyncio.wait_for(asyncio.gather(*asked, return_exceptions=True), timeout=60)

    answers = asyncio.run(ask_all())
    assert isinstance(answers.pop(refused), Refused)
    assert answers == [str(place) for place in range(number) if place != refused]
    steps = [step for step, _ in events]
    assert steps.count("sent") == number - 1
    assert steps.index("sent") <= 2


@pytest.mark.parametrize(
    ("memory", "message"), [(10**9, "does not fit: .* of weights"), (10**12, "it needs .* GB for one question of")]
)
def test_what_cannot_fit_is_refused_before_anything_is_loaded(monkeypatch, checkpoint, memory, message):
    engine = vllm_engine.VllmEngine(RaterSettings(model=str(checkpoint), max_model_len=10**7))
    monkeypatch.setattr(vllm_engine, "this_machine", lambda on_cpu: Machine(memory, on_cpu))
    with pytest.raises(ValueError, match=rf"rater\.model .*{message}"):
        engine._check_before_loading(checkpoint, None, on_cpu=True)


class FakeTokenizer:
    def __init__(self, tokens) -> None:
        self._tokens = tokens

    def encode(self, text, add_special_tokens):
        assert add_special_tokens is False
        return self._tokens[text]


def test_labels_must_be_single_tokens():
    with pytest.raises(ValueError, match=r"rater\.model: its tokenizer splits the answer label '2' into 2 tokens"):
        label_tokens(FakeTokenizer({"1": [7], "2": [3, 8]}), ("1", "2"))


def test_labels_must_be_distinct_tokens():
    with pytest.raises(ValueError, match="gives two of the answer labels 1, 2 the same token"):
        label_tokens(FakeTokenizer({"1": [7], "2": [7]}), ("1", "2"))


def test_renormalised_by_hand():
    # 0.1, 0.1 and 0.3 of the whole vocabulary are 0.2, 0.2 and 0.6 among themselves.
    logprobs = [float(np.log(0.1)), float(np.log(0.1)), float(np.log(0.3))]
    assert renormalised(logprobs) == pytest.approx((0.2, 0.2, 0.6))
    assert renormalised([-2000.0, -float("inf")]) == (1.0, 0.0)
