"""What a shared rating server costs and how fairly it shares, with engines that only wait.

    python benchmarks/shared_rating_server.py [fairness] [overhead] [scaling] [--seconds 20]

Everything but the engine is real: Ray actors, the front with its fair queue, `RatingService`, and the rating store on
disk. An engine answers each question after a fixed time, so many at once, so what it could do at most is known.

- fairness: 16 trials that ask without pause, some 20 at a time, some 2,000, against one of them alone. Jain's index of
  the trials' rates (1 is equal), and the sum of their rates over the rate of one alone.
- overhead: time beyond the engine's own, for each rating, with 10,000 questions in flight.
- scaling: ratings a second of 1, 2, 4 and 8 replicas over what as many could do at most.
"""

import argparse
import asyncio
import io
import itertools
import math
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import ray
from PIL import Image

from actors.rating.fake import FunctionBackend
from actors.rating.server import RatingServer
from actors.rating.settings import RaterSettings
from algorithms.ratings import RatingRequest, TaskText
from algorithms.scales import RatingScale
from orchestrator.cluster.placement import ONE_THREAD
from orchestrator.ratings import shared_server
from orchestrator.ratings.question import Question
from orchestrator.ratings.service import RatingService
from orchestrator.ratings.store import RatingStore

NUM_TRIALS = 16
TRIALS_PER_PROCESS = 4
SESSIONS = (20, 50, 200, 2_000)
"""Questions that a trial asks at once; trials take these in turn."""
FAIR_LATENCY_S = 0.25
FAIR_PLACES = 32
IN_FLIGHT = 10_000
OVERHEAD_LATENCY_S = 4.0
SCALING_LATENCY_S = 0.5
SCALING_PLACES = 16


class WaitingServer(RatingServer):
    """A rating server whose engine waits for `latency_s` and knows nothing."""

    latency_s = 0.0

    def __init__(self, settings: RaterSettings) -> None:
        async def answer(prompt, images, choices):
            await asyncio.sleep(self.latency_s)
            return choices[0]

        super().__init__(settings, FunctionBackend(answer))


def waiting_server(latency_s: float) -> type[WaitingServer]:
    """A class of its own, because it travels to the actors as it is."""
    return type("WaitingServer", (WaitingServer,), {"latency_s": latency_s})


def rater(name: str, num_replicas: int, places: int) -> RaterSettings:
    """Settings of a server of answer-only engines with so many places."""
    return RaterSettings(
        server=name, mode="answer_only", num_replicas=num_replicas, max_in_flight=places, num_cpus=0.1, deadline_s=600.0
    )


def questions(number: int, seed: int) -> list[Question]:
    """Questions about pictures that nobody has seen, a few kilobytes each."""
    rng = np.random.default_rng(seed)
    scale, task = RatingScale.likert(3), TaskText("close the drawer", "the drawer")
    made = []
    for _ in range(number):
        file = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (28, 28, 3), dtype=np.uint8)).save(file, format="PNG")
        made.append(
            Question(RatingRequest((file.getvalue(),), task, scale, "answer_only"), (file.getvalue(),), 0, False)
        )
    return made


def service(settings: RaterSettings, server_class: type[RatingServer], folder: Path, run: str) -> RatingService:
    """A run's way to the server, loaded and joined."""
    made = RatingService(RatingStore(folder), shared_server.attach(settings, server_class), settings, run)
    made.begin_start()
    made.finish_start()
    return made


class Trials:
    """Several trials in one process, each asking session after session."""

    def __init__(self, settings: RaterSettings, latency_s: float, folder: Path, numbers: list[int]) -> None:
        server_class = waiting_server(latency_s)
        self._trials = [(number, service(settings, server_class, folder, f"trial-{number}")) for number in numbers]

    def ask(self, most: int) -> None:
        """Ask from now on, `most` questions for each trial at most; the pictures are made first."""
        for number, trial in self._trials:
            size = SESSIONS[number % len(SESSIONS)]
            self._next(trial, iter(questions(max(most, 2 * size), seed=number)), size)

    def _next(self, trial: RatingService, pool: Iterator[Question], size: int) -> None:
        if asked := list(itertools.islice(pool, size)):
            trial.ask(asked).add_done_callback(lambda _: self._next(trial, pool, size))


def answered(name: str) -> dict[str, int]:
    """Questions answered for each trial so far."""
    return {trial: counts["num_asked"] for trial, counts in shared_server.status(name).trials.items()}


def rates(num_trials: int, seconds: float) -> np.ndarray:
    """Ratings a second of each trial while all of them ask."""
    name, capacity = f"fair-{num_trials}", FAIR_PLACES / FAIR_LATENCY_S
    settings = rater(name, 1, FAIR_PLACES)
    with tempfile.TemporaryDirectory() as folder:
        # One that asks 2,000 at a time is never out of questions.
        numbers = list(range(num_trials)) if num_trials > 1 else [SESSIONS.index(max(SESSIONS))]
        groups = [numbers[start : start + TRIALS_PER_PROCESS] for start in range(0, num_trials, TRIALS_PER_PROCESS)]
        actor = ray.remote(Trials).options(num_cpus=0.1, runtime_env={"env_vars": ONE_THREAD})
        shared_server.find_or_start(settings, waiting_server(FAIR_LATENCY_S))
        actors = [actor.remote(settings, FAIR_LATENCY_S, Path(folder), group) for group in groups]
        most = math.ceil(1.5 * capacity * (seconds + 10.0) / num_trials)
        ray.get([one.ask.remote(most) for one in actors])
        time.sleep(3.0)
        before, began = answered(name), time.perf_counter()
        time.sleep(seconds)
        after, ended = answered(name), time.perf_counter()
        for one in actors:
            ray.kill(one)
        shared_server.stop(name)
    return np.array([after[trial] - before[trial] for trial in after]) / (ended - began)


def fairness(seconds: float) -> None:
    alone, together = rates(1, seconds), rates(NUM_TRIALS, seconds)
    jain = together.sum() ** 2 / (len(together) * (together**2).sum())
    print(f"one trial alone: {alone.sum():.1f} ratings/s; the engine could do {FAIR_PLACES / FAIR_LATENCY_S:.1f}")
    print(f"{NUM_TRIALS} trials: {together.sum():.1f} ratings/s, each {together.min():.2f} to {together.max():.2f}")
    print(f"Jain's index: {jain:.3f} (bar: 0.95)")
    print(f"throughput of {NUM_TRIALS} over one alone: {together.sum() / alone.sum():.3f} (bar: 0.85)")


def overhead(seconds: float) -> None:
    settings = rater("overhead", 1, IN_FLIGHT)
    number = 2 * IN_FLIGHT
    asked = questions(number, seed=1)
    with tempfile.TemporaryDirectory() as folder:
        run = service(settings, waiting_server(OVERHEAD_LATENCY_S), Path(folder), "run")
        run.ask(questions(256, seed=2)).result()
        began = time.perf_counter()
        answers = run.ask(asked).result()
        elapsed_s = time.perf_counter() - began
        assert answers.num_failed == 0, answers.outcomes[0]
        ideal_s = OVERHEAD_LATENCY_S * number / IN_FLIGHT
        run.close()
    shared_server.stop("overhead")
    print(f"{number:,} questions, {IN_FLIGHT:,} in flight: {elapsed_s:.1f} s, of which the engine {ideal_s:.1f} s")
    print(f"overhead for each rating: {1000 * (elapsed_s - ideal_s) / number:.3f} ms (bar: 1 ms)")


def scaling(seconds: float) -> None:
    for replicas in (1, 2, 4, 8):
        name = f"scaling-{replicas}"
        capacity = replicas * SCALING_PLACES / SCALING_LATENCY_S
        asked = questions(math.ceil(capacity * seconds), seed=replicas)
        with tempfile.TemporaryDirectory() as folder:
            run = service(rater(name, replicas, SCALING_PLACES), waiting_server(SCALING_LATENCY_S), Path(folder), "run")
            run.ask(questions(256, seed=100 + replicas)).result()
            began = time.perf_counter()
            answers = run.ask(asked).result()
            rate = len(asked) / (time.perf_counter() - began)
            assert answers.num_failed == 0
            run.close()
        shared_server.stop(name)
        print(
            f"{replicas} replicas: {rate:.1f} ratings/s of {capacity:.0f}: {rate / capacity:.3f} of linear (bar: 0.9)"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=["fairness", "overhead", "scaling", []], default=[])
    parser.add_argument("--seconds", type=float, default=20.0)
    arguments = parser.parse_args()
    ray.init(address="local", num_cpus=8, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    try:
        for part in (fairness, overhead, scaling):
            if not arguments.parts or part.__name__ in arguments.parts:
                part(arguments.seconds)
    finally:
        ray.shutdown()


if __name__ == "__main__":
    main()
