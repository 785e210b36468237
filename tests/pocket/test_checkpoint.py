"""The pocket rater as it ships."""

import numpy as np
import pytest

from actors.pocket import checkpoint
from actors.pocket.frames import IMAGE_PX
from actors.pocket.frames.evaluation import (
    analyses_of,
    answer_only_levels,
    balanced_accuracy,
    confusion,
    features_of,
    two_turn_levels,
)
from actors.pocket.frames.questions import FrameQuestions, all_texts, analyses
from actors.rating.engine.level_tokens import label_tokens
from actors.rating.models import POCKET_FOLDER
from actors.worlds.metaworld import stages
from actors.worlds.metaworld.progress_frames import collect
from orchestrator.pocket.frames import packaged_task, pocket_task, report

NAMES = ("drawer_close", "button_press", "drawer_open")


@pytest.fixture(scope="module")
def loaded():
    return checkpoint.load(POCKET_FOLDER)


@pytest.fixture(scope="module")
def questions(loaded):
    return FrameQuestions(tuple(pocket_task(packaged_task(name)) for name in NAMES), loaded[1])


@pytest.fixture(scope="module", params=NAMES)
def judged(request, loaded, questions):
    """A task, what is true of some held-out frames of it, and how the model sees them."""
    index = NAMES.index(request.param)
    frames = collect(packaged_task(request.param), 50, IMAGE_PX, seed=7, held_out=True)
    return questions.tasks[index], frames, features_of(loaded[0], frames.images)


def test_it_is_small_enough_for_the_repository():
    sizes = [path.stat().st_size for path in POCKET_FOLDER.iterdir()]
    assert sum(sizes) < 8 * 10**6


def test_its_tokenizer_knows_todays_prompts(loaded, questions):
    tokenizer = loaded[1]
    assert len(label_tokens(tokenizer, tuple("12345"))) == 5
    for text in all_texts(questions.tasks):
        # About a token for each word and mark: a changed prompt would fall apart into bytes.
        assert len(tokenizer.encode(text)) < 2 * len(text.split()) + 10, f"train the pocket rater again: {text}"


def test_it_tells_the_levels_apart_at_once(loaded, questions, judged):
    task, frames, features = judged
    for num_ratings, least in ((2, 0.75), (3, 0.75), (5, 0.6)):
        chosen = answer_only_levels(loaded[0], questions, task, features, num_ratings, with_rubric=True)
        truth = stages.level_of(frames.stages, num_ratings)
        assert balanced_accuracy(confusion(truth, chosen, num_ratings)) > least


def test_it_tells_the_levels_apart_in_two_turns(loaded, questions, judged):
    task, frames, features = judged
    said = analyses_of(loaded[0], questions, task, features)
    assert np.mean([text in analyses(task) for text in said]) > 0.9
    chosen = two_turn_levels(loaded[0], questions, task, said, 3, with_rubric=True)
    assert balanced_accuracy(confusion(stages.level_of(frames.stages, 3), chosen, 3)) > 0.75


@pytest.mark.parametrize("with_rubric", [True, False])
def test_turn_two_follows_the_analysis(loaded, questions, with_rubric):
    for task in questions.tasks:
        for num_ratings in (2, 3, 4, 5):
            said = analyses(task)
            meant = [task.stage(*divmod(index, len(task.words.object))) for index in range(len(said))]
            chosen = two_turn_levels(loaded[0], questions, task, said, num_ratings, with_rubric)
            assert chosen.tolist() == stages.level_of(np.array(meant), num_ratings).tolist()


def test_the_report_averages_over_the_tasks_it_has():
    from orchestrator.pocket.frames import Judgement

    counts = {2: np.diag([3, 1]), 3: np.array([[1, 1, 0], [0, 2, 0], [0, 0, 2]]), 4: np.eye(4), 5: np.eye(5)}
    judgements = [
        Judgement("drawer_close", mode, n, with_rubric, counts[n].astype(np.int64))
        for mode in ("answer_only", "two_turn")
        for n in counts
        for with_rubric in (True, False)
    ]
    text = report(judgements)
    # One of two, two of two, two of two: 0.833.
    assert "| drawer_close | answer_only | 1.000 | 0.833 | 1.000 | 1.000 | 0.833 |" in text
    assert "Mean over the easy tasks at n = 3: 0.833." in text
    assert "paper tasks" not in text
    assert "| drawer_close | 1 / 1 / 0 | 0 / 2 / 0 | 0 / 0 / 2 |" in text
