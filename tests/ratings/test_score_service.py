"""A stream of windows through the store, with a front that has no Ray behind it and is lost on the way."""

import numpy as np
import pytest

from actors.rating.front import UnknownClient
from actors.rating.settings import RaterSettings
from algorithms.images import encode_png
from algorithms.ratings import RaterIdentity
from algorithms.scores import ScoreRequest, Scores
from orchestrator.errors import SettingsError
from orchestrator.ratings import service as rating_service
from orchestrator.ratings.replicas import FrontLost
from orchestrator.ratings.score_service import ScoreService
from orchestrator.ratings.score_store import AskedWindow, ScoreStore
from tests.ratings.test_service import MortalFront


class ScoringFront(MortalFront):
    """Gives every action a 7; may refuse to let anybody join, once for each error in `refusals`."""

    def __init__(self):
        super().__init__()
        self.refusals: list[Exception] = []

    async def join(self, trial, weight):
        if self.refusals:
            raise self.refusals.pop(0)
        return trial

    def answer(self, key):
        return Scores(key, (7.0,), (), "", 1, 1, 0.1)


@pytest.fixture
def front(monkeypatch):
    monkeypatch.setattr(rating_service, "REJOIN_S", 0.01)
    return ScoringFront()


@pytest.fixture
def service(front, tmp_path):
    service = ScoreService(ScoreStore(tmp_path), front, RaterSettings(start_timeout_s=2.0), "label")
    service.finish_start()
    yield service
    service.close()


def windows(number):
    for index in range(number):
        png = encode_png(np.full((28, 28, 3), index, np.uint8))
        yield index, AskedWindow(ScoreRequest((png,), "go", ("left",), "single_turn", ""), "set", f"e{index}", 0)


@pytest.mark.parametrize("error", [FrontLost("its process died"), UnknownClient("who is this")])
def test_after_a_front_was_lost_every_window_is_answered_once(service, front, error, tmp_path):
    front.errors = [error]
    answers = list(service.stream(windows(50)))
    assert sorted(answer.tag for answer in answers) == list(range(50))
    assert all(answer.outcome.scores == (7.0,) for answer in answers) and len(ScoreStore(tmp_path)) == 50
    assert len(set(front.asked)) == 50 < len(front.asked)


def test_a_front_that_is_lost_while_one_joins_is_waited_for(service, front):
    front.refusals = [FrontLost("gone")]
    assert len(list(service.stream(windows(3)))) == 3


def test_a_front_that_comes_back_with_other_weights_ends_the_labelling(service, front):
    front.errors = [FrontLost("gone")]
    stream = service.stream(windows(3))
    front.identity = RaterIdentity("model", "two")
    with pytest.raises(SettingsError, match="came back with other weights: model two in place of model one"):
        list(stream)
