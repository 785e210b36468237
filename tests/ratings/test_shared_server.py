"""A rating server in a real Ray, found by name: shared, refused, killed, stopped. Its engines are functions."""

import time

import numpy as np
import pytest
import ray

from actors.rating.backend import Needs
from actors.rating.settings import RaterSettings
from algorithms.images import encode_png
from algorithms.ratings import Rating, RatingRequest, TaskText
from algorithms.scales import RatingScale
from orchestrator.errors import SettingsError
from orchestrator.ratings import shared_server
from orchestrator.ratings.question import Question
from orchestrator.ratings.service import RatingService
from orchestrator.ratings.store import RatingStore
from tests.fakes.toy_reach import CountingServer

RATER = RaterSettings(server="shared", mode="answer_only", num_replicas=2, num_cpus=0.5)


class SlowServer(CountingServer):
    """Takes a while, so that there is a middle of the work."""

    def __init__(self, settings):
        super().__init__(settings)

    async def check(self, needs):
        return f"relies on {len(needs.choices)} levels"

    async def rate_one(self, request):
        import asyncio

        await asyncio.sleep(0.02)
        return await super().rate_one(request)


class FailingServer(CountingServer):
    async def start(self):
        import asyncio

        await asyncio.sleep(1.0)
        raise ValueError("there is no such model")


@pytest.fixture(scope="module", autouse=True)
def local_ray():
    ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def server(local_ray):
    return shared_server.find_or_start(RATER, SlowServer)


def wait_for(front):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            ray.get(front.settings.remote())
            return
        except ray.exceptions.ActorUnavailableError:
            time.sleep(0.5)
    raise TimeoutError("the front did not come back")


def question(number: int) -> Question:
    picture = np.full((28, 28, 3), number % 256, np.uint8)
    picture[0, 0] = number // 256
    png = encode_png(picture)
    request = RatingRequest((png,), TaskText("wait", "the dot"), RatingScale.likert(3), "answer_only")
    return Question(request, (png,), 0, False)


def questions(*numbers: int) -> list[Question]:
    return [question(number) for number in numbers]


@pytest.fixture
def service(server, tmp_path):
    """Makes services of runs that share a store; they leave at the end."""
    made = []

    def make(run: str) -> RatingService:
        front = shared_server.attach(RATER, SlowServer)
        service = RatingService(RatingStore(tmp_path / "ratings"), front, RATER, run, Needs(("1", "2", "3")))
        service.begin_start()
        service.finish_start()
        made.append(service)
        return service

    yield make
    for one in made:
        one.close()


def test_two_runs_ask_equal_questions_once_and_each_finds_its_answers_in_the_store(service, tmp_path):
    a, b = service("run-a"), service("run-b")
    assert a.relies_on == b.relies_on == "relies on 3 levels"
    asked = questions(*range(100))
    first, second = a.ask(asked), b.ask(asked)
    answers = first.result(60), second.result(60)
    assert [len(one.outcomes) for one in answers] == [100, 100]
    assert all(isinstance(outcome, Rating) for one in answers for outcome in one.outcomes)
    assert sum(one.num_shared + one.num_from_store for one in answers) == 100
    status = shared_server.status("shared")
    assert sum(replica["num_rated"] for replica in status.replicas) == 100
    assert all(replica["num_rated"] > 0 for replica in status.replicas)
    assert sum(trial["num_asked"] for trial in status.trials.values()) == 100
    assert len(RatingStore(tmp_path / "ratings")) == 100
    assert b.ask(asked).result(60).num_from_store == 100


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"model": "Qwen/Qwen2-VL-7B-Instruct"}, "model 'pocket' (asked for: 'Qwen/Qwen2-VL-7B-Instruct')"),
        ({"temperature": 0.5}, "temperature 0.0 (asked for: 0.5)"),
    ],
)
def test_whoever_asks_for_other_answers_under_the_same_name_is_refused_with_both_named(server, changes, named):
    with pytest.raises(SettingsError) as refused:
        shared_server.attach(RATER.model_copy(update=changes), SlowServer)
    assert named in str(refused.value)
    assert "likert rater stop shared" in str(refused.value)
    # How it is served is the first one's business, and no reason to refuse.
    shared_server.attach(RATER.model_copy(update={"num_replicas": 5, "server_weight": 2.0}), SlowServer)


@pytest.mark.parametrize("victim", ["rating-server/shared/replica-0", "rating-server/shared"])
def test_a_killed_replica_or_front_comes_back_and_no_question_is_lost(service, victim):
    run = service(f"run-{victim[-1]}")
    asking = run.ask(questions(*range(1_000, 1_600)))
    time.sleep(0.5)
    ray.kill(ray.get_actor(victim, shared_server.NAMESPACE), no_restart=False)
    answers = asking.result(120)
    assert len(answers.outcomes) == 600 and answers.num_failed == 0


def test_a_front_that_is_killed_between_two_sessions_answers_the_next_one(service):
    run = service("run-between")
    run.ask(questions(*range(2_000, 2_010))).result(120)
    front = ray.get_actor("rating-server/shared", shared_server.NAMESPACE)
    ray.kill(front, no_restart=False)
    # The run asks only once it is there again, and so cannot know that it was ever gone.
    wait_for(front)
    assert run.ask(questions(*range(2_010, 2_020))).result(120).num_failed == 0


def test_a_server_that_can_not_start_says_why_and_frees_its_name(tmp_path):
    rater = RATER.model_copy(update={"server": "broken", "num_replicas": 1})
    attached = shared_server.attach(rater, FailingServer)
    service = RatingService(RatingStore(tmp_path), attached, rater, "run")
    service.begin_start()
    with pytest.raises(SettingsError, match="did not start: there is no such model"):
        service.finish_start()
    service.close()
    assert "broken" not in shared_server.list_servers()


def test_all_runs_that_wait_for_a_server_that_can_not_start_are_told(tmp_path):
    rater = RATER.model_copy(update={"server": "broken", "num_replicas": 1})
    fronts = [shared_server.attach(rater, FailingServer) for _ in range(2)]
    services = [RatingService(RatingStore(tmp_path), front, rater, "run") for front in fronts]
    services[0].begin_start()
    with pytest.raises(SettingsError, match="there is no such model"):
        services[0].finish_start()
    # The first has ended what the second is attached to.
    services[1].begin_start()
    with pytest.raises(SettingsError, match="there is no such model"):
        services[1].finish_start()
    for service in services:
        service.close()
    assert "broken" not in shared_server.list_servers()


def test_a_server_without_a_place_is_refused_at_once():
    rater = RATER.model_copy(update={"server": "large", "resources": {"rare": 1.0}})
    with pytest.raises(SettingsError, match=r"2 of 2 rating replicas cannot be placed: .* no node has rare"):
        shared_server.attach(rater, SlowServer)
    assert "large" not in shared_server.list_servers()


def test_stopping_frees_name_place_and_processes(server):
    assert shared_server.list_servers() == ["shared"]
    shared_server.stop("shared")
    assert shared_server.list_servers() == []
    deadline = time.monotonic() + 30
    while ray.available_resources().get("CPU") != 4.0:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    with pytest.raises(SettingsError, match="there is no rating server called 'shared'; there are none"):
        shared_server.stop("shared")


@pytest.mark.slow
def test_the_node_of_all_replicas_goes_and_comes_back_and_no_question_is_lost(tmp_path):
    """Last, for it brings a cluster of its own."""
    from ray.cluster_utils import Cluster

    ray.shutdown()
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    try:
        node = cluster.add_node(num_cpus=2, resources={"gpu_node": 2})
        rater = RATER.model_copy(update={"server": "on-a-node", "resources": {"gpu_node": 1.0}, "max_attempts": 5})
        store = RatingStore(tmp_path / "ratings")
        run = RatingService(store, shared_server.attach(rater, SlowServer), rater, "run")
        run.begin_start()
        run.finish_start()
        asking = run.ask(questions(*range(2_000)))
        while not len(store):
            time.sleep(0.1)
        cluster.remove_node(node, allow_graceful=False)
        time.sleep(5.0)
        assert not asking.done()
        cluster.add_node(num_cpus=2, resources={"gpu_node": 2})
        answers = asking.result(300)
        assert len(answers.outcomes) == 2_000 and answers.num_failed == 0
        run.close()
        shared_server.stop("on-a-node")
    finally:
        ray.shutdown()
        cluster.shutdown()
