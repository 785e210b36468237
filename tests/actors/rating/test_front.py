"""The front of a rating server over replicas that are plain objects: sharing, joining, deaths; no Ray."""

import asyncio

import pytest

from actors.rating import front as front_module
from actors.rating import replica_link
from actors.rating.backend import Needs, Refused
from actors.rating.front import RatingFront, UnknownClient
from actors.rating.replica_link import ReplicaLost
from actors.rating.settings import RaterSettings
from algorithms.ratings import RaterIdentity, Rating, RatingFailure


class Replica:
    """Answers what it is let answer, in the order of asking; can die and come back."""

    def __init__(self, answers_by_itself=True, identity="one", start_error=None):
        self.asked: list[str] = []
        self.num_starts = 0
        self.num_losses = 0
        self.fault = None
        self._by_itself = answers_by_itself
        self._identity = RaterIdentity(identity, "fake")
        self._start_error = start_error
        self._box: list = []
        self._waiting: list[str] = []
        self._changed = asyncio.Event()
        self._dead = False

    def die(self):
        """Lose all work; the next start brings it back."""
        self._dead, self._waiting, self._box = True, [], []
        self._changed.set()

    def answer(self, number=1, failing=False):
        for key in self._waiting[:number]:
            self._box.append(RatingFailure(key, "unparsable", "", 1) if failing else rating(key))
        self._waiting = self._waiting[number:]
        self._changed.set()

    async def start(self):
        self.num_starts += 1
        if self._start_error is not None:
            raise self._start_error
        self._dead = False

    async def identity(self):
        return self._identity

    async def submit(self, front, questions):
        self._check()
        self.asked += [key for key, _ in questions]
        self._waiting += [key for key, _ in questions]
        if self._by_itself:
            self.answer(len(self._waiting))

    async def take(self, front, timeout_s):
        while not self._box:
            self._check()
            self._changed.clear()
            await self._changed.wait()
        box, self._box = self._box, []
        return box

    async def check(self, needs):
        if self.num_losses:
            self.num_losses -= 1
            raise ReplicaLost("it died")
        if self.fault is not None:
            raise self.fault
        return f"relies on {needs.num_pictures}"

    async def statistics(self):
        return {}

    async def kill(self):
        self.die()

    async def shutdown(self):
        pass

    def _check(self):
        if self._dead:
            raise ReplicaLost("it died")


def rating(key):
    return Rating(key, 1, (0.0, 1.0, 0.0), "", 1, 1, 0.1)


def settings(**changes):
    return RaterSettings(mode="answer_only", **{"max_in_flight": 4, "max_attempts": 2} | changes)


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    monkeypatch.setattr(replica_link, "PAUSES_S", (0.0, 0.0, 0.0, 0.0))


def questions(*keys):
    return [(key, None) for key in keys]


async def taken(front, client, number):
    answers = []
    while len(answers) < number:
        arrived = await front.take(client, 20.0)
        assert arrived, f"{len(answers)} of {number} answers came"
        answers += arrived
    return answers


def run(scenario):
    return asyncio.run(asyncio.wait_for(scenario(), 20.0))


async def settle():
    """Let everything that can go on go on."""
    for _ in range(20):
        await asyncio.sleep(0)


def test_a_small_trial_is_not_kept_waiting_by_a_large_one():
    async def scenario():
        replica = Replica(answers_by_itself=False)
        front = RatingFront(settings(), [replica])
        await front.start()
        large, small = await front.join("large", 1.0), await front.join("small", 1.0)
        asking = asyncio.create_task(front.submit(large, questions(*(f"large{i}" for i in range(2_000)))))
        await settle()
        await front.submit(small, questions(*(f"small{i}" for i in range(20))))
        while sum(key.startswith("small") for key in replica.asked) < 20:
            replica.answer()
            await settle()
        # Places for 6 are filled with the large trial's when the small one comes.
        assert len(replica.asked) <= 6 + 40
        asking.cancel()

    run(scenario)


def test_asking_waits_for_room_and_goes_on_as_answers_come():
    async def scenario():
        replica = Replica(answers_by_itself=False)
        front = RatingFront(settings(), [replica])
        await front.start()
        client = await front.join("trial", 1.0)
        asking = asyncio.create_task(front.submit(client, questions(*(str(i) for i in range(300)))))
        await settle()
        assert not asking.done()
        replica.answer(6)
        for _ in range(8):
            await settle()
            replica.answer(6)
        await asyncio.wait_for(asking, 2.0)

    run(scenario)


def test_equal_questions_of_two_trials_are_asked_once_in_the_queue_under_way_and_just_answered():
    async def scenario():
        replica = Replica(answers_by_itself=False)
        front = RatingFront(settings(max_in_flight=1), [replica])
        await front.start()
        a, b = await front.join("a", 1.0), await front.join("b", 1.0)
        keys = [f"k{i}" for i in range(6)]
        await front.submit(a, questions(*keys))
        await front.submit(b, questions(*keys))
        for _ in keys:
            await settle()
            replica.answer()
        mine, others = await taken(front, a, 6), await taken(front, b, 6)
        assert sorted(replica.asked) == keys
        assert {answer.outcome.key for answer in mine} == {answer.outcome.key for answer in others} == set(keys)
        assert sum(answer.shared for answer in mine + others) == 6
        late = await front.join("c", 1.0)
        await front.submit(late, questions("k0"))
        (answer,) = await taken(front, late, 1)
        assert answer.shared and len(replica.asked) == 6
        counts = (await front.statistics())["trials"]
        assert sum(trial["num_asked"] for trial in counts.values()) == 6
        assert sum(trial["num_shared"] for trial in counts.values()) == 7

    run(scenario)


def test_a_failed_question_is_no_memory_and_is_asked_again():
    async def scenario():
        replica = Replica(answers_by_itself=False)
        front = RatingFront(settings(), [replica])
        await front.start()
        client = await front.join("a", 1.0)
        for failing in (True, False):
            await front.submit(client, questions("k"))
            await settle()
            replica.answer(failing=failing)
            (answer,) = await taken(front, client, 1)
            assert isinstance(answer.outcome, RatingFailure) == failing
        assert replica.asked == ["k", "k"]

    run(scenario)


def test_work_of_a_dead_replica_is_asked_again_and_it_comes_back():
    async def scenario():
        dying, steady = Replica(answers_by_itself=False), Replica()
        front = RatingFront(settings(), [dying, steady])
        await front.start()
        client = await front.join("a", 1.0)
        keys = [f"k{i}" for i in range(40)]
        await front.submit(client, questions(*keys))
        await settle()
        assert dying.asked
        dying.die()
        answers = await taken(front, client, 40)
        assert sorted(answer.outcome.key for answer in answers) == sorted(keys)
        assert all(isinstance(answer.outcome, Rating) for answer in answers)
        await settle()
        assert dying.num_starts == 2

    run(scenario)


def test_a_question_that_kills_its_replica_again_and_again_ends_as_a_failure():
    async def scenario():
        replica = Replica(answers_by_itself=False)
        front = RatingFront(settings(max_attempts=2), [replica])
        await front.start()
        client = await front.join("a", 1.0)
        await front.submit(client, questions("deadly"))
        for _ in range(2):
            await settle()
            replica.die()
        (answer,) = await taken(front, client, 1)
        assert isinstance(answer.outcome, RatingFailure)
        assert (answer.outcome.cause, answer.outcome.attempts) == ("engine_dead", 2)
        assert replica.asked == ["deadly", "deadly"]

    run(scenario)


def test_without_any_replica_waiting_questions_fail_in_the_end():
    async def scenario():
        replica = Replica(answers_by_itself=False)
        front = RatingFront(settings(start_timeout_s=0.5, max_attempts=99), [replica])
        await front.start()
        client = await front.join("a", 1.0)
        await front.submit(client, questions("k0", "k1"))
        await settle()
        replica._start_error = ReplicaLost("its node is gone")
        replica.die()
        answers = await taken(front, client, 2)
        assert {answer.outcome.cause for answer in answers} == {"engine_dead"}

    run(scenario)


def test_a_replica_that_does_not_react_is_killed_and_replaced(monkeypatch):
    monkeypatch.setattr(replica_link, "TAKE_S", 0.05)
    monkeypatch.setattr(replica_link, "STUCK_S", 0.05)

    async def scenario():
        replica = Replica(answers_by_itself=False)
        front = RatingFront(settings(max_attempts=99), [replica])
        await front.start()
        client = await front.join("a", 1.0)
        await front.submit(client, questions("k"))
        while replica.num_starts < 2:
            await asyncio.sleep(0.05)
        while not await front.take(client, 0.01):
            replica.answer()

    run(scenario)


def test_what_keeps_a_replica_from_starting_is_raised_and_a_later_start_tries_again():
    async def scenario():
        replica = Replica(start_error=ValueError("no such model"))
        front = RatingFront(settings(), [replica])
        with pytest.raises(ValueError, match="no such model"):
            await front.start()
        replica._start_error = None
        assert (await front.start()).model == "one"

    run(scenario)


def test_replicas_with_different_weights_are_refused():
    async def scenario():
        with pytest.raises(ValueError, match="different weights"):
            await RatingFront(settings(), [Replica(identity="one"), Replica(identity="two")]).start()

    run(scenario)


def test_a_replica_that_is_lost_just_now_keeps_no_run_from_being_checked(monkeypatch):
    monkeypatch.setattr(front_module, "PAUSES_S", (0.0,))

    async def scenario():
        lost, well = Replica(), Replica()
        front = RatingFront(settings(), [lost, well])
        await front.start()
        lost.num_losses = 1
        assert await front.check(Needs(num_pictures=3)) == "relies on 3"
        lost.num_losses = well.num_losses = 2
        assert await front.check(Needs(num_pictures=4)) == "relies on 4"
        well.fault = Refused("takes no pictures")
        with pytest.raises(Refused, match="takes no pictures"):
            await front.check(Needs())
        hopeless = RatingFront(settings(start_timeout_s=0.1), [lost])
        lost.num_losses = 10**9
        with pytest.raises(TimeoutError):
            await hopeless.check(Needs())

    run(scenario)


def test_a_client_that_left_takes_its_questions_along_but_not_those_of_others():
    async def scenario():
        replica = Replica(answers_by_itself=False)
        front = RatingFront(settings(max_in_flight=1), [replica])
        await front.start()
        a, b = await front.join("a", 1.0), await front.join("b", 1.0)
        await front.submit(a, questions("under way", "both", "only a"))
        await front.submit(b, questions("both"))
        await settle()
        await front.leave(a)
        for _ in range(4):
            await settle()
            replica.answer()
        (answer,) = await taken(front, b, 1)
        assert answer.outcome.key == "both"
        await settle()
        assert "only a" not in replica.asked
        with pytest.raises(UnknownClient):
            await front.take(a)

    run(scenario)


def test_a_client_that_is_silent_for_too_long_is_dropped(monkeypatch):
    monkeypatch.setattr(front_module, "LEASE_S", 0.1)

    async def scenario():
        front = RatingFront(settings(), [Replica()])
        await front.start()
        client = await front.join("a", 1.0)
        await asyncio.sleep(2.2)
        with pytest.raises(UnknownClient):
            await front.submit(client, questions("k"))

    run(scenario)


def test_a_front_that_took_the_place_of_one_that_died_starts_its_replicas_when_it_is_first_joined():
    async def scenario():
        replica = Replica()
        front = RatingFront(settings(), [replica])
        client = await front.join("trial", 1.0)
        await front.submit(client, questions("a"))
        assert [one.outcome.key for one in await taken(front, client, 1)] == ["a"]
        assert replica.num_starts == 1 and (await front.start()).model == "one" and replica.num_starts == 1

    run(scenario)
