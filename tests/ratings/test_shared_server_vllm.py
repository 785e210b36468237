"""A shared rating server with the real engine, killed where it hurts. A Qwen2-VL of random weights answers."""

import os
import signal
import time

import psutil
import pytest
import ray

from actors.rating.server import RatingServer
from actors.rating.settings import RaterSettings
from algorithms.images import encode_png
from algorithms.ratings import RatingRequest, TaskText
from algorithms.scales import RatingScale
from orchestrator.ratings import shared_server
from orchestrator.ratings.question import Question
from orchestrator.ratings.service import RatingService
from orchestrator.ratings.store import RatingStore
from tests.fakes.tiny_qwen import build_tiny_qwen
from tests.fakes.toy_reach import draw

pytestmark = pytest.mark.slow


class ProbedServer(RatingServer):
    async def process_ids(self) -> list[int]:
        """The actor's own process, then its descendants."""
        return [os.getpid(), *(child.pid for child in psutil.Process().children(recursive=True))]


def question(number: int) -> Question:
    png = encode_png(draw(-1.0 + number / 1_000))
    request = RatingRequest((png,), TaskText("move the dot", "the dot"), RatingScale.likert(3), "two_turn")
    return Question(request, (png,), 0, False)


def alive(pids: list[int]) -> list[int]:
    return [pid for pid in pids if psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE]


def until(condition, timeout_s=120.0):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def engines(pids: list[int]) -> list[int]:
    """Python's resource tracker belongs to the actor, and outlives an engine."""
    return [pid for pid in pids if "resource_tracker" not in " ".join(psutil.Process(pid).cmdline())]


def kill_in_mid_work(service, stored, replica, first, kill_actor):
    actor, *others = ray.get(replica.process_ids.remote())
    engine = engines(others)
    assert engine
    known = stored()
    asking = service.ask([question(1 + first + number) for number in range(200)])
    until(lambda: stored() > known or asking.done())
    assert not asking.done()
    os.kill(actor if kill_actor else engine[0], signal.SIGKILL)
    answers = asking.result(300)
    assert answers.num_failed == 0 and len(answers.outcomes) == 200
    until(lambda: not alive([actor, *others] if kill_actor else engine))


def test_engine_and_actor_are_killed_in_mid_work_and_every_question_is_answered(tmp_path):
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    rater = RaterSettings(
        server="real",
        model=str(build_tiny_qwen(tmp_path / "model")),
        max_analysis_tokens=16,
        max_model_len=1024,
        max_in_flight=16,
        deadline_s=300.0,
        max_attempts=5,
    )
    store = RatingStore(tmp_path / "ratings")

    def stored():
        return len(RatingStore(tmp_path / "ratings"))

    try:
        service = RatingService(store, shared_server.attach(rater, ProbedServer), rater, "run")
        service.begin_start()
        service.finish_start()
        replica = ray.get_actor("rating-server/real/replica-0", shared_server.NAMESPACE)
        # First the engine's own process, then the actor that holds it.
        for number, kill_actor in enumerate((False, True)):
            kill_in_mid_work(service, stored, replica, 200 * number, kill_actor)
            restarts = ray.get(replica.statistics.remote())["num_restarts"]
            assert restarts == (0 if kill_actor else 1)
        assert stored() == 400
        last = ray.get(replica.process_ids.remote())
        service.close()
        shared_server.stop("real")
        until(lambda: not alive(last))
    finally:
        ray.shutdown()
