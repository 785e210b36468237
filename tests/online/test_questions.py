"""What a run's questions ask of a rater."""

import pytest

from actors.rating.backend import Needs
from actors.worlds.metaworld.settings import MetaWorldTask
from algorithms.settings import FeedbackSettings
from orchestrator.online.questions import QuestionMaker

TASK = MetaWorldTask(name="close", env_id="drawer-close-v3", instruction="close the drawer", focus="the drawer")
TRAJECTORY = {"kind": "trajectory", "num_frames": 4, "num_agent_steps": 8}


@pytest.mark.parametrize(
    ("segment", "num_ratings", "needs"),
    [
        ({}, 3, Needs(("1", "2", "3"))),
        (TRAJECTORY, 5, Needs(("1", "2", "3", "4", "5"), num_pictures=4)),
        (TRAJECTORY | {"layout": "joined"}, 2, Needs(("1", "2"))),
    ],
)
def test_levels_about_one_picture_or_several(segment, num_ratings, needs):
    settings = FeedbackSettings.model_validate({"segment": segment, "num_ratings": num_ratings})
    assert QuestionMaker(TASK, settings, "answer_only").needs(settings.segment.num_frames) == needs
