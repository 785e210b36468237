"""vLLM and transformers choose the same level, in both modes, on frames as tasks draw them."""

import numpy as np
import pytest
import ray

from actors.pocket import checkpoint
from actors.pocket.frames import IMAGE_PX
from actors.pocket.frames.evaluation import analyses_of, answer_only_levels, features_of, two_turn_levels
from actors.pocket.frames.questions import FrameQuestions, request
from actors.rating.engine.environment import engine_environment
from actors.rating.models import POCKET_FOLDER
from actors.rating.server import RatingServer
from actors.rating.settings import RaterSettings
from actors.worlds.metaworld.progress_frames import collect, reduced
from algorithms.images import encode_png
from algorithms.ratings import AskingMode, Rating
from orchestrator.pocket.frames import packaged_task, pocket_task
from orchestrator.settings.loading import packaged_tasks

FRAMES_PER_TASK = 64
"""Of eight tasks: 512 frames."""


@pytest.fixture(scope="module")
def frames():
    """Every task's held-out frames at the size that the task draws."""
    tasks = {name: packaged_task(name) for name in packaged_tasks()}
    return {
        name: collect(task, FRAMES_PER_TASK, task.image_px, seed=3, held_out=True).images
        for name, task in tasks.items()
    }


@pytest.fixture(scope="module")
def server():
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    environment = engine_environment() | {"OMP_NUM_THREADS": "1"}
    actor = ray.remote(RatingServer).options(num_cpus=1, max_concurrency=600, runtime_env={"env_vars": environment})
    handle = actor.remote(RaterSettings(max_model_len=1024, deadline_s=600.0))
    ray.get(handle.start.remote())
    yield handle
    ray.shutdown()


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["answer_only", "two_turn"])
def test_vllm_and_transformers_choose_the_same_level(server, frames, mode: AskingMode):
    model, tokenizer = checkpoint.load(POCKET_FOLDER)
    tasks = tuple(pocket_task(packaged_task(name)) for name in frames)
    questions = FrameQuestions(tasks, tokenizer)
    ours, theirs = [], []
    for task in tasks:
        asked = request(task, 3, True, mode)
        questions_asked = [_with_picture(asked, image) for image in frames[task.name]]
        answers = ray.get(server.rate.remote(questions_asked))
        assert all(isinstance(answer, Rating) for answer in answers)
        theirs += [answer.rating for answer in answers]
        features = features_of(model, np.stack([reduced(image, IMAGE_PX) for image in frames[task.name]]))
        if mode == "answer_only":
            ours += answer_only_levels(model, questions, task, features, 3, True).tolist()
        else:
            said = analyses_of(model, questions, task, features)
            ours += two_turn_levels(model, questions, task, said, 3, True).tolist()
    agreement = np.mean(np.array(ours) == np.array(theirs))
    print(f"\n{mode}: {len(ours)} frames, same level on {agreement:.4f}")
    assert len(ours) >= 500
    assert agreement >= 0.99


def _with_picture(asked, image):
    return type(asked)(**(vars(asked) | {"images": (encode_png(image),)}))
