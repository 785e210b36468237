"""vLLM serves the pocket rater of pairs: two pictures in one question, answered as transformers answers it."""

import numpy as np
import pytest
import ray

from actors.pocket import checkpoint
from actors.pocket.frames import IMAGE_PX
from actors.pocket.frames.evaluation import features_of
from actors.pocket.pairs.evaluation import PairJudgement, judge, pairs_to_judge
from actors.pocket.pairs.questions import PairQuestions, request
from actors.rating.engine.environment import engine_environment
from actors.rating.models import POCKET_PAIRS_FOLDER
from actors.rating.server import RatingServer
from actors.rating.settings import RaterSettings
from actors.rating.tokens import TokenCounter
from actors.worlds.metaworld.progress_frames import collect, reduced
from algorithms.images import encode_png
from algorithms.ratings import Rating
from orchestrator.pocket.frames import packaged_task, pocket_task

NAMES = ("drawer_open", "button_press")
NUM_FRAMES, NUM_PAIRS = 30, 40


@pytest.fixture(scope="module")
def frames():
    """Held-out frames of two tasks at the size that the task draws."""
    tasks = {name: packaged_task(name) for name in NAMES}
    return {name: collect(task, NUM_FRAMES, task.image_px, seed=3, held_out=True) for name, task in tasks.items()}


@pytest.fixture(scope="module")
def server():
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    environment = engine_environment() | {"OMP_NUM_THREADS": "1"}
    actor = ray.remote(RatingServer).options(num_cpus=1, max_concurrency=600, runtime_env={"env_vars": environment})
    handle = actor.remote(RaterSettings(model="pocket_pairs", max_model_len=1024, deadline_s=600.0))
    ray.get(handle.start.remote())
    yield handle
    ray.shutdown()


@pytest.mark.slow
def test_vllm_compares_as_transformers_does_and_is_right(server, frames):
    model, tokenizer = checkpoint.load(POCKET_PAIRS_FOLDER)
    counter = TokenCounter(RaterSettings(model="pocket_pairs"))
    same, right = [], []
    for name, drawn in frames.items():
        task, pairs = pocket_task(packaged_task(name)), pairs_to_judge(drawn.stages, NUM_PAIRS)
        pngs = [encode_png(image) for image in drawn.images]
        features = features_of(model, np.stack([reduced(image, IMAGE_PX) for image in drawn.images]))
        questions = PairQuestions((task,), tokenizer)
        for ours in judge(model, questions, task, features, drawn.stages, pairs, NUM_PAIRS):
            asked = [
                type(one)(**(vars(one) | {"images": (pngs[first], pngs[second])}))
                for one in [request(task, ours.mode)]
                for order in (pairs, pairs[:, ::-1])
                for first, second in order
            ]
            answers = ray.get(server.rate.remote(asked))
            assert all(isinstance(answer, Rating) for answer in answers)
            assert answers[0].prompt_tokens <= counter.needed(asked[0]).read
            theirs = np.array([answer.rating for answer in answers]).reshape(2, -1).T
            told = PairJudgement(name, ours.mode, ours.gaps, theirs)
            same.append((ours.answers == theirs).mean())
            right.append(told.right.mean())
            print(f"\n{name}, {ours.mode}: same {same[-1]:.3f}, right {right[-1]:.3f}", answers[0].analysis)
    assert np.mean(same) >= 0.98
    assert np.mean(right) >= 0.75
