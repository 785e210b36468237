"""vLLM serves the pocket rater of episodes: four pictures in one question, answered as transformers answers it."""

import numpy as np
import pytest
import ray

from actors.pocket import checkpoint
from actors.pocket.episodes.data import images
from actors.pocket.episodes.evaluation import judge
from actors.pocket.episodes.questions import EpisodeQuestions
from actors.rating.engine.environment import engine_environment
from actors.rating.models import POCKET_EPISODES_FOLDER
from actors.rating.server import RatingServer
from actors.rating.settings import RaterSettings
from actors.rating.tokens import TokenCounter
from algorithms.images import encode_png
from algorithms.ratings import Rating
from orchestrator.kinds import load_experiment
from orchestrator.online.questions import QuestionMaker
from orchestrator.pocket import episodes as making
from orchestrator.pocket.episodes import cases_to_judge, levels, task_text, tiled, with_tiles

SETTINGS = "tune_configs/erl_vlm_language/pocket_clean.yaml"


@pytest.fixture(scope="module")
def server():
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    environment = engine_environment() | {"OMP_NUM_THREADS": "1"}
    actor = ray.remote(RatingServer).options(num_cpus=1, max_concurrency=600, runtime_env={"env_vars": environment})
    handle = actor.remote(RaterSettings(model="pocket_episodes", max_model_len=1024, deadline_s=600.0))
    ray.get(handle.start.remote())
    yield handle
    ray.shutdown()


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["answer_only", "two_turn"])
def test_vllm_rates_as_transformers_does_and_is_right(server, mode):
    model, tokenizer = checkpoint.load(POCKET_EPISODES_FOLDER)
    counter = TokenCounter(RaterSettings(model="pocket_episodes"))
    episodes = with_tiles([tiled(one) for one in making._draw_some(("held_out", 0, 36, 5))])
    cases = cases_to_judge(episodes, 12)
    questions = EpisodeQuestions(task_text(), levels(), tokenizer)
    (ours,) = [one for one in judge(model, questions, cases, episodes, scales=[3]) if one.mode == mode]
    # The words of a run, with each case's own instruction.
    maker = QuestionMaker(load_experiment(SETTINGS, [f"rater.mode={mode}"]))
    asked = []
    for case in cases:
        pngs = [encode_png(picture) for picture in images(case.codes, episodes.pixels)]
        asked.append(maker.question(pngs, 0, None, case.chain.instruction).request)
    answers = ray.get(server.rate.remote(asked))
    assert all(isinstance(answer, Rating) for answer in answers)
    assert answers[0].prompt_tokens <= counter.needed(asked[0]).read
    theirs = np.array([answer.rating for answer in answers])
    same, right = (theirs == ours.chosen).mean(), (theirs == ours.true).mean()
    print(f"\n{mode}: {len(cases)} cases, same {same:.3f}, right {right:.3f}", answers[0].analysis)
    assert same >= 0.97
    assert right >= 0.6
