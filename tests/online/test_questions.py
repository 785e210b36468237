"""What a run's questions ask of a rater."""

import numpy as np
import pytest

from actors.rating.backend import Needs
from algorithms.images import encode_png
from algorithms.ratings import TaskText
from orchestrator.online.questions import QuestionMaker
from orchestrator.online.settings import OnlineExperiment

TASK = {"name": "close", "env_id": "drawer-close-v3", "instruction": "close the drawer", "focus": "the drawer"}
TRAJECTORY = {"kind": "trajectory", "num_frames": 4, "num_agent_steps": 8}


def maker(**given):
    return QuestionMaker(
        OnlineExperiment.model_validate({"name": "it", "task": TASK, "rater": {"mode": "answer_only"}} | given)
    )


@pytest.mark.parametrize(
    ("segment", "num_ratings", "needs"),
    [
        ({}, 3, Needs(("1", "2", "3"))),
        (TRAJECTORY, 5, Needs(("1", "2", "3", "4", "5"), num_pictures=4)),
        (TRAJECTORY | {"layout": "joined"}, 2, Needs(("1", "2"))),
    ],
)
def test_levels_about_one_picture_or_several(segment, num_ratings, needs):
    assert maker(feedback={"segment": segment, "num_ratings": num_ratings}).needs == needs


def test_two_pictures_are_compared():
    compares = maker(reward={"source": "preferences"}, rater={"model": "pocket_pairs"})
    assert compares.needs == Needs(("1", "2", "3"), num_pictures=2)
    one, other = (encode_png(np.full((28, 28, 3), shade, np.uint8)) for shade in (0, 255))
    asked = compares.question([one, other], 0, None)
    assert asked.request.images == asked.frames == (one, other)
    assert asked.request.scale.words == ("First", "Second", "Cannot tell") and not asked.request.frame_note


def test_an_episodes_own_instruction_is_asked_about_and_else_the_tasks():
    asks = maker()
    frame = encode_png(np.zeros((28, 28, 3), np.uint8))
    plain, own = asks.question([frame], 0, None), asks.question([frame], 0, None, "open the drawer")
    assert plain.request.task == TaskText("close the drawer", "the drawer")
    assert own.request.task == TaskText("open the drawer", "the drawer")
    assert asks.question([frame], 0, None) == plain
