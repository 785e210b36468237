"""What a run's questions ask of a rater."""

import numpy as np
import pytest

from actors.rating.backend import Needs
from actors.worlds.metaworld.settings import MetaWorldTask
from algorithms.images import encode_png
from algorithms.ratings import TaskText
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


def test_an_episodes_own_instruction_is_asked_about_and_else_the_tasks():
    maker = QuestionMaker(TASK, FeedbackSettings(), "answer_only")
    frame = encode_png(np.zeros((28, 28, 3), np.uint8))
    plain, own = maker.question([frame], 0, None), maker.question([frame], 0, None, "open the drawer")
    assert plain.request.task == TaskText("close the drawer", "the drawer")
    assert own.request.task == TaskText("open the drawer", "the drawer")
    assert maker.question([frame], 0, None) == plain
