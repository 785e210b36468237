"""The pocket rater of episodes that ships: small, found by its name, made for today's prompts, right about most."""

import numpy as np
import pytest

from actors.pocket import checkpoint
from actors.pocket.episodes.evaluation import judge
from actors.pocket.episodes.questions import EpisodeQuestions, all_texts
from actors.pocket.frames.evaluation import balanced_accuracy, confusion
from actors.rating.engine.level_tokens import label_tokens
from actors.rating.models import POCKET_EPISODES_FOLDER, resolve_model
from actors.rating.settings import RaterSettings
from orchestrator.pocket import episodes as making
from orchestrator.pocket.episodes import cases_to_judge, levels, task_text, tiled, with_tiles


@pytest.fixture(scope="module")
def loaded():
    return checkpoint.load(POCKET_EPISODES_FOLDER)


def test_it_is_small_and_found_by_its_name():
    assert sum(path.stat().st_size for path in POCKET_EPISODES_FOLDER.iterdir()) < 8 * 10**6
    assert resolve_model(RaterSettings(model="pocket_episodes")) == POCKET_EPISODES_FOLDER


def test_its_tokenizer_knows_todays_prompts(loaded):
    tokenizer = loaded[1]
    assert len(label_tokens(tokenizer, tuple("12345"))) == 5
    some = ["pick up the red ball, then put it next to the blue box"]
    for text in all_texts(task_text(), some):
        # About a token for each word and mark: a changed prompt would fall apart into bytes.
        assert len(tokenizer.encode(text)) < 2 * len(text.split()) + 10, f"train the pocket rater again: {text}"


def test_it_is_right_about_most_held_out_episodes(loaded):
    model, tokenizer = loaded
    episodes = with_tiles([tiled(one) for one in making._draw_some(("held_out", 0, 12, 5))])
    cases = cases_to_judge(episodes, 4)
    for judged in judge(model, EpisodeQuestions(task_text(), levels(), tokenizer), cases, episodes, scales=[3]):
        right = balanced_accuracy(confusion(judged.true, judged.chosen, 3))
        assert right > 0.6, (judged.mode, right, len(cases))
        # An episode in which nothing was done is hardly ever called good.
        assert np.mean(judged.chosen[judged.true == 0] == 2) < 0.25, judged.mode
