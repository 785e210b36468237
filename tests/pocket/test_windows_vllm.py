"""vLLM serves the pocket rater of windows: its answers are well formed, right, and those of transformers."""

import dataclasses

import numpy as np
import pytest
import ray

from actors.babyai import tiles
from actors.pocket import checkpoint
from actors.pocket.windows import evaluation as judging
from actors.pocket.windows.data import picture
from actors.pocket.windows.questions import WindowQuestions
from actors.rating.engine.environment import engine_environment
from actors.rating.models import POCKET_WINDOWS_FOLDER
from actors.rating.server import RatingServer
from actors.rating.settings import RaterSettings
from actors.rating.tokens import TokenCounter
from algorithms.images import encode_png
from algorithms.scores import Scores, ScoringMode
from orchestrator.pocket.windows import BABYAI, UNITS, draw_chains, windows_to_judge

NUM_WINDOWS = 200
LEAST = {"two_turn": 0.6, "single_turn": 0.6, "logits": 0.4}
"""Spearman's correlation by mode. The mean of a distribution tells apart what the truth calls equal, which costs."""


@pytest.fixture(scope="module")
def windows():
    chains = draw_chains("held_out", 36, seed=11)
    every = {unit: windows_to_judge(chains, unit) for unit in UNITS}
    order = np.random.default_rng(0).permutation
    return {unit: [some[index] for index in order(len(some))[:NUM_WINDOWS]] for unit, some in every.items()}


@pytest.fixture(scope="module")
def server():
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    environment = engine_environment() | {"OMP_NUM_THREADS": "1"}
    actor = ray.remote(RatingServer).options(num_cpus=1, max_concurrency=600, runtime_env={"env_vars": environment})
    handle = actor.remote(RaterSettings(model="pocket_windows", max_model_len=1024, deadline_s=600.0))
    ray.get(handle.start.remote())
    yield handle
    ray.shutdown()


@pytest.mark.slow
@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("mode", ["two_turn", "single_turn", "logits"])
def test_vllm_scores_windows_well_and_as_transformers_does(server, windows, mode: ScoringMode, unit: str):
    windows = windows[unit]
    pixels = tiles.tiles(BABYAI.tile_px).pixels
    asked = [
        dataclasses.replace(window.request(mode), images=(encode_png(picture(window.frames, pixels)),))
        for window in windows
    ]
    answers = ray.get(server.rate.remote(asked))
    check_tokens(asked[:20], answers)
    said = [answer.scores if isinstance(answer, Scores) else None for answer in answers]
    judged = judging.judgement(mode, windows, said)
    model, tokenizer = checkpoint.load(POCKET_WINDOWS_FOLDER)
    (ours,) = [one for one in judging.judge(model, WindowQuestions(tokenizer), windows, pixels) if one.mode == mode]
    print(f"\nvLLM {judged}\ntransformers {ours}")
    assert judged.num_windows >= 200
    assert judged.num_failures <= 0.01 * judged.num_windows
    assert abs(judged.correlation - ours.correlation) < 0.03
    assert judged.correlation >= LEAST[mode]


def check_tokens(asked, answers):
    """What was counted before anything was loaded is what the engine read; of analyses that ended early, more."""
    counter = TokenCounter(RaterSettings(model="pocket_windows"))
    for request, answer in zip(asked, answers, strict=False):
        if isinstance(answer, Scores):
            needed = counter.needed(request)
            assert answer.prompt_tokens == needed.read or (
                request.mode == "two_turn" and answer.prompt_tokens < needed.read
            )
            assert answer.completion_tokens <= needed.written
