"""What each way of labelling asks of a rater, so that a server is tried for it before the first question."""

import pytest

from actors.rating.backend import Needs
from actors.rating.labellers.gvl import Gvl
from actors.rating.labellers.settings import GvlLabeller, TopRewardLabeller
from actors.rating.labellers.topreward import TopReward
from algorithms.progress_prompts import percentages_schema
from algorithms.scoring_prompts import SCORE_LETTERS, scores_schema
from orchestrator.labelling.command import needs_of
from orchestrator.labelling.settings import LabelSettings


@pytest.mark.parametrize(
    ("mode", "needs"),
    [
        ("two_turn", Needs(schema=scores_schema(5))),
        ("single_turn", Needs(schema=scores_schema(5))),
        ("logits", Needs(SCORE_LETTERS, probabilities=True)),
    ],
)
def test_windows_need_a_list_or_the_probabilities_of_letters(tmp_path, mode, needs):
    settings = LabelSettings(data=tmp_path, mode=mode, window={"num_actions": 5}, rewards={"rg_vlm": {}})
    assert needs_of(settings) == needs


def test_whole_trajectories_need_several_pictures():
    assert Gvl(GvlLabeller(num_frames=12)).needs() == Needs(schema=percentages_schema(11), num_pictures=12)
    expected = Needs(("True", "False"), probabilities=True, num_pictures=6)
    assert TopReward(TopRewardLabeller(num_frames=6)).needs() == expected
