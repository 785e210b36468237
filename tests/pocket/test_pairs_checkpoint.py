"""The pocket rater of pairs that ships: small, found by its name, made for today's prompts, right in both orders."""

import numpy as np
import pytest

from actors.pocket import checkpoint
from actors.pocket.frames import IMAGE_PX
from actors.pocket.frames.evaluation import features_of
from actors.pocket.pairs.data import nearer
from actors.pocket.pairs.evaluation import answers_from, judge, pairs_to_judge
from actors.pocket.pairs.questions import PairQuestions, all_texts, comparisons, stages_of
from actors.rating.engine.level_tokens import label_tokens
from actors.rating.models import POCKET_PAIRS_FOLDER, resolve_model
from actors.rating.settings import RaterSettings
from actors.worlds.metaworld.progress_frames import collect
from orchestrator.pocket.frames import known_tasks, packaged_task, pocket_task


@pytest.fixture(scope="module")
def loaded():
    return checkpoint.load(POCKET_PAIRS_FOLDER)


@pytest.fixture(scope="module")
def questions(loaded):
    return PairQuestions(tuple(pocket_task(packaged_task(name)) for name in known_tasks()), loaded[1])


def test_it_is_small_and_found_by_its_name():
    assert sum(path.stat().st_size for path in POCKET_PAIRS_FOLDER.iterdir()) < 8 * 10**6
    assert resolve_model(RaterSettings(model="pocket_pairs")) == POCKET_PAIRS_FOLDER


def test_its_tokenizer_knows_todays_prompts(loaded, questions):
    tokenizer = loaded[1]
    assert len(label_tokens(tokenizer, tuple("123"))) == 3
    for text in set(all_texts(questions.tasks[:2])):
        # About a token for each word and mark: a changed prompt would fall apart into bytes.
        assert len(tokenizer.encode(text)) < 2 * len(text.split()) + 10, f"train the pocket rater again: {text}"


def test_it_is_right_on_most_pairs_and_in_both_orders(loaded, questions):
    task = next(task for task in questions.tasks if task.name == "drawer_open")
    frames = collect(packaged_task(task.name), 40, IMAGE_PX, seed=7, held_out=True)
    pairs = pairs_to_judge(frames.stages, 48)
    features = features_of(loaded[0], frames.images)
    for judged in judge(loaded[0], questions, task, features, frames.stages, pairs, 24):
        assert judged.right.mean(axis=0).min() > 0.75, judged.mode
        assert judged.consistent.mean() > 0.75, judged.mode


def test_turn_two_follows_the_analysis(loaded, questions):
    for task in questions.tasks[::3]:
        said = comparisons(task)
        meant = [nearer(*stages_of(task, place)) for place in range(len(said))]
        assert np.mean(answers_from(loaded[0], questions, task, said) == meant) > 0.95, task.name
