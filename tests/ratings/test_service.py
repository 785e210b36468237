"""Asking through the store, with a front that has no Ray behind it: disks that fill up, servers that die."""

import asyncio
import errno
import re

import numpy as np
import pytest

from actors.rating.backend import Needs, Refused
from actors.rating.front import Delivery, UnknownClient
from actors.rating.settings import RaterSettings
from algorithms.images import encode_png
from algorithms.ratings import RaterIdentity, Rating, RatingRequest, TaskText
from algorithms.scales import RatingScale
from orchestrator.errors import DiskFailing, RatingsFailing, SettingsError
from orchestrator.ratings import service as rating_service
from orchestrator.ratings.question import Question
from orchestrator.ratings.replicas import FrontLost
from orchestrator.ratings.service import RatingService
from orchestrator.ratings.store import RatingStore
from orchestrator.storage import parquet_parts


class MortalFront:
    """Answers all at once; forgets everything, or dies, when told to."""

    def __init__(self):
        self.asked: list[str] = []
        self.errors: list[Exception] = []
        self.identity = RaterIdentity("model", "one")
        self._box: list[Delivery] = []

    async def start(self):
        return self.identity

    async def join(self, trial, weight):
        return trial

    async def submit(self, client, questions):
        self.asked += [key for key, _ in questions]
        self._box += [Delivery(self.answer(key), shared=False) for key, _ in questions]

    def answer(self, key):
        return Rating(key, 1, (0.0, 1.0, 0.0), "", 1, 1, 0.1)

    async def take(self, client, timeout_s=1.0):
        await asyncio.sleep(0.001)
        if self.errors:
            self._box = []
            raise self.errors.pop(0)
        box, self._box = self._box[:40], self._box[40:]
        return box

    async def leave(self, client):
        pass

    async def statistics(self):
        return {}

    async def shutdown(self):
        pass


@pytest.fixture
def front(monkeypatch):
    monkeypatch.setattr(rating_service, "REJOIN_S", 0.01)
    return MortalFront()


@pytest.fixture
def service(front, tmp_path):
    settings = RaterSettings(mode="answer_only", start_timeout_s=2.0)
    service = RatingService(RatingStore(tmp_path / "ratings"), front, settings, "run")
    service.begin_start()
    service.finish_start()
    yield service
    service.close()


def questions(number):
    made = []
    for index in range(number):
        png = encode_png(np.full((28, 28, 3), index, np.uint8))
        request = RatingRequest((png,), TaskText("wait", "the dot"), RatingScale.likert(3), "answer_only")
        made.append(Question(request, (png,), 0, False))
    return made


@pytest.mark.parametrize("error", [FrontLost("its process died"), UnknownClient("who is this")])
def test_after_a_front_was_lost_only_what_is_missing_is_asked_again(service, front, error, tmp_path):
    first = service.ask(questions(50)).result(10)
    front.errors = [error]
    answers = service.ask(questions(120)).result(10)
    assert answers.num_from_store == 50 and answers.num_failed == 0
    assert len(first.outcomes) == 50 and len(answers.outcomes) == 120
    assert len(RatingStore(tmp_path / "ratings")) == 120
    # Lost before anything was taken: the 70 new ones once more, the 50 old ones never.
    assert len(front.asked) == 50 + 70 + 70
    assert [outcome.key for outcome in answers.outcomes] == list(dict.fromkeys(front.asked))


def test_a_front_that_comes_back_with_other_weights_ends_the_run(service, front):
    front.errors = [FrontLost("gone")]
    front.identity = RaterIdentity("model", "two")
    with pytest.raises(SettingsError, match="came back with other weights: model two in place of model one"):
        service.ask(questions(3)).result(10)


def test_a_front_that_never_comes_back_ends_the_run_which_can_be_resumed(service, front, monkeypatch):
    async def gone():
        raise FrontLost("gone")

    front.errors = [FrontLost("gone")]
    front.start = gone
    with pytest.raises(RatingsFailing, match=r"did not come back within rater\.start_timeout_s = 2 s"):
        service.ask(questions(3)).result(10)


def test_a_full_disk_is_told_and_later_only_what_is_missing_is_asked(service, front, monkeypatch, tmp_path):
    write, written = parquet_parts.write_atomic, []

    def full_after_one(path, content):
        written.extend([path] if path.parent.name == "ratings" else [])
        if len(written) > 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, content)

    monkeypatch.setattr(parquet_parts, "write_atomic", full_after_one)
    with pytest.raises(DiskFailing, match=r"ratings could not be written \(No space left on device\)\. Make room"):
        service.ask(questions(100)).result(10)
    monkeypatch.setattr(parquet_parts, "write_atomic", write)
    answers = service.ask(questions(100)).result(10)
    assert answers.num_from_store == 40 and answers.num_failed == 0
    assert len(RatingStore(tmp_path / "ratings")) == 100


def test_other_errors_of_a_disk_keep_their_traceback(service, monkeypatch):
    def not_ours(path, content):
        raise FileExistsError(errno.EEXIST, "File exists")

    monkeypatch.setattr(parquet_parts, "write_atomic", not_ours)
    with pytest.raises(FileExistsError):
        service.ask(questions(1)).result(10)


@pytest.mark.parametrize("lacks", ["", "http://rater.test/v1 (model m) takes no pictures"])
def test_a_server_that_someone_else_runs_is_tried_before_it_is_asked(front, tmp_path, lacks):
    async def check(needs):
        if lacks:
            raise Refused(lacks)
        return f"rater: levels {', '.join(needs.choices)}"

    front.check = check
    settings, needs = RaterSettings(mode="answer_only"), Needs(("1", "2", "3"))
    service = RatingService(RatingStore(tmp_path / "ratings"), front, settings, "run", needs)
    service.begin_start()
    if lacks:
        with pytest.raises(SettingsError, match=f"^{re.escape(lacks)}$"):
            service.finish_start()
    else:
        service.finish_start()
        assert service.relies_on == "rater: levels 1, 2, 3"
    service.close()
    assert front.asked == []


def test_closing_ends_a_session_under_way(front, tmp_path):
    async def never(client, questions):
        await asyncio.Event().wait()

    front.submit = never
    service = RatingService(RatingStore(tmp_path / "ratings"), front, RaterSettings(mode="answer_only"), "run")
    service.begin_start()
    service.finish_start()
    asking = service.ask(questions(3))
    service.close()
    assert asking.cancelled()


def test_a_front_that_was_replaced_between_two_sessions_is_found_out(service, front):
    service.ask(questions(2)).result(10)
    front.identity = RaterIdentity("model", "two")
    assert service.ask(questions(2)).result(10).num_from_store == 2
    with pytest.raises(SettingsError, match="came back with other weights: model two in place of model one"):
        service.ask(questions(3)).result(10)


def test_equal_questions_are_asked_once_and_each_counts_as_answered(service, front):
    told = []
    some = questions(3)
    answers = service.ask([some[0], some[1], some[0], some[0]], lambda *counts: told.append(counts)).result()
    assert len(front.asked) == 2 and len(answers.outcomes) == 4
    assert told[0] == (0, 0, 0, 0) and told[-1] == (4, 0, 0, 0)
    service.ask([some[0], some[0], some[2]], lambda *counts: told.append(counts)).result()
    assert told[-1] == (3, 0, 2, 0)
