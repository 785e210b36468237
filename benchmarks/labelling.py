"""Windows per second of labelling against the same windows asked one at a time; and its memory as the set grows.

    python benchmarks/labelling.py [--rounds 3] [--windows 96] [--episodes 60] [--only speed|memory]

Speed: BabyAI demonstrations are made, and their windows are put to one rating server in two turns, by the stream that
`likert label` uses, and one after the other, each new to the server. Both sides wait for every answer.

Memory: a set and one five times larger are labelled from end to end by Ray Data, a rating server that answers at once,
and the store; printed is the most memory that the labelling process and the readers held at any moment. Pages that
processes share count once.
"""

import argparse
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import psutil
import ray

from actors.babyai.settings import BabyAISettings
from actors.rating.engine.environment import engine_environment
from actors.rating.fake import FunctionBackend
from actors.rating.server import RatingServer
from actors.rating.settings import POCKET, RaterSettings
from algorithms.label_settings import WindowSettings
from algorithms.scores import ScoreRequest, Scores
from orchestrator.cluster.placement import ONE_THREAD
from orchestrator.data.babyai import BabyAIDataSettings, dataset_info, make_episode
from orchestrator.data.datasets import TrajectoryDataset
from orchestrator.data.writer import DatasetWriter
from orchestrator.labelling.settings import LabelSettings
from orchestrator.labelling.window_stream import request_of, stream_windows, window_rows
from orchestrator.labelling.windows import Labelling
from orchestrator.ratings.score_service import ScoreService
from orchestrator.ratings.score_store import AskedWindow, ScoreStore

WINDOW = WindowSettings()
SAMPLE_S = 0.1


class InstantServer(RatingServer):
    """Answers at once, so that nothing but the labelling itself takes memory."""

    def __init__(self, settings: RaterSettings) -> None:
        super().__init__(settings, FunctionBackend(self._answer))

    @staticmethod
    def _answer(prompt: Any, images: Any, choices: Any) -> str:
        if not prompt.schema:
            return "The agent moves."
        number = int(prompt.schema.split('"minItems": ')[1].split(",")[0])
        return "[" + ",".join(["5"] * number) + "]"


def make_set(folder: Path, num_episodes: int, seed: int) -> TrajectoryDataset:
    """BabyAI demonstrations, made in this process; small parts, so that a set has many."""
    room = BabyAISettings(room_size=12, num_rows=1, num_cols=1, num_objects=8, subtasks=("goto", "pickup", "putnext"))
    settings = BabyAIDataSettings(num_episodes=num_episodes, chain_lengths=(3,), seed=seed, babyai=room)
    with DatasetWriter(folder, dataset_info(settings, folder.name), part_bytes=2**20) as writer:
        for number in range(num_episodes):
            writer.write(make_episode(settings, number))
    return TrajectoryDataset(folder)


def windows_in(dataset: TrajectoryDataset) -> Iterator[AskedWindow]:
    """The questions about a set."""
    for part in dataset.parts:
        for row in window_rows(dataset.folder, part, WINDOW):
            if row["kind"] == "window":
                yield AskedWindow(
                    request_of(row, "two_turn"), dataset.info.name, row["episode_id"], row["first_action"]
                )


def measure_speed(arguments: argparse.Namespace, folder: Path) -> None:
    """Print windows per second of both sides."""
    rater = RaterSettings(model=arguments.model, max_model_len=2048, max_analysis_tokens=arguments.analysis_tokens,
                          min_pixels=3136, max_pixels=63504)  # fmt: skip
    options = {"runtime_env": {"env_vars": ONE_THREAD | engine_environment()}, "max_concurrency": 1000}
    server = ray.remote(RatingServer).options(**options).remote(rater)
    service = ScoreService(ScoreStore(folder / "store"), [server], rater, "benchmark")
    service.finish_start()
    per_round = arguments.windows + arguments.single
    asked = list(windows_in(make_set(folder / "speed", arguments.rounds * per_round // 3 + 40, seed=1)))
    ratios = []
    for number in range(arguments.rounds + 1):
        batch = asked[number * per_round : (number + 1) * per_round]
        if len(batch) < per_round:
            raise SystemExit(f"only {len(asked)} windows: lower --windows, --single or --rounds")
        streamed = stream_rate(service, batch[: arguments.windows])
        single = single_rate(server, [window.request for window in batch[arguments.windows :]])
        if number == 0:
            continue  # the first round warms up both
        ratios.append(streamed / single)
        print(
            f"speed  round {number}: labelling {streamed:6.2f} windows/s   one at a time {single:6.2f} windows/s   "
            f"ratio {ratios[-1]:.2f}",
            flush=True,
        )
    print(f"speed  median : ratio {median(ratios):.2f}")
    service.close()


def stream_rate(service: ScoreService, windows: list[AskedWindow]) -> float:
    """Windows per second of the stream."""
    started = time.perf_counter()
    outcomes = [answer.outcome for answer in service.stream(enumerate(windows))]
    elapsed_s = time.perf_counter() - started
    check(outcomes)
    return len(windows) / elapsed_s


def single_rate(server: Any, requests: list[ScoreRequest]) -> float:
    """Windows per second, one after the other."""
    started = time.perf_counter()
    outcomes = [ray.get(server.rate_one.remote(request)) for request in requests]
    elapsed_s = time.perf_counter() - started
    check(outcomes)
    return len(requests) / elapsed_s


def check(outcomes: list[Any]) -> None:
    """Raise RuntimeError if a question failed."""
    failed = [outcome for outcome in outcomes if not isinstance(outcome, Scores)]
    if failed:
        raise RuntimeError(f"{len(failed)} of {len(outcomes)} questions failed, the first with {failed[0]}")


def measure_memory(arguments: argparse.Namespace, folder: Path) -> None:
    """Print the peaks for a set and one five times larger."""
    peaks = []
    # The first labelling of a process grows caches and pools that stay.
    for name, factor in (("warm-up", 1), ("small", 1), ("large", 5)):
        dataset = make_set(folder / name, factor * arguments.episodes, seed=len(peaks) + 2)
        peak_mb, num_windows = labelling_peak(dataset, folder / f"store-{name}")
        peaks.append(peak_mb)
        print(
            f"memory {name:8}: {dataset.info.num_episodes:4} episodes, {num_windows:5} windows, "
            f"{sum(path.stat().st_size for path in dataset.folder.glob('*.parquet')) / 2**20:6.1f} MiB on disk, "
            f"peak {peak_mb:7.1f} MiB",
            flush=True,
        )
    print(f"memory growth : {peaks[2] - peaks[1]:+.1f} MiB, ratio {peaks[2] / peaks[1]:.3f}")


def labelling_peak(dataset: TrajectoryDataset, store: Path) -> tuple[float, int]:
    """Most MiB held while a set is labelled, and its number of windows."""
    settings = LabelSettings(data=dataset.folder, ratings_folder=store)
    server = ray.remote(InstantServer).options(max_concurrency=1000).remote(settings.rater)
    service = ScoreService(ScoreStore(store), [server], settings.rater, "benchmark")
    labelling = Labelling(settings, dataset, service, service.finish_start())
    with PeakMemory() as peak:
        labelling.run(stream_windows(dataset.folder, dataset.parts, WINDOW, num_readers=1))
    service.close()
    ray.kill(server)
    return peak.mb, labelling.counts.windows


class PeakMemory:
    """Watches this process and Ray's workers below it, the rating server's own apart."""

    def __init__(self) -> None:
        self.mb = 0.0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "PeakMemory":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(SAMPLE_S):
            self.mb = max(self.mb, sum(map(self._pss, self._processes())) / 2**20)

    def _processes(self) -> list[psutil.Process]:
        me = psutil.Process(os.getpid())
        return [me, *(child for child in me.children(recursive=True) if self._counts(child))]

    @staticmethod
    def _counts(process: psutil.Process) -> bool:
        try:
            return "MapBatches" in " ".join(process.cmdline())
        except psutil.Error:
            return False

    @staticmethod
    def _pss(process: psutil.Process) -> int:
        try:
            return process.memory_full_info().pss
        except psutil.Error:
            return 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=POCKET, help="as rater.model")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--windows", type=int, default=96, help="streamed in each round")
    parser.add_argument("--single", type=int, default=12, help="asked one at a time in each round")
    parser.add_argument("--analysis-tokens", type=int, default=32)
    parser.add_argument("--episodes", type=int, default=60, help="in the smaller set of the memory test")
    parser.add_argument("--only", choices=["speed", "memory"])
    arguments = parser.parse_args()
    ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False)
    with tempfile.TemporaryDirectory() as temporary:
        if arguments.only != "memory":
            measure_speed(arguments, Path(temporary))
        if arguments.only != "speed":
            measure_memory(arguments, Path(temporary))
    ray.shutdown()


if __name__ == "__main__":
    main()
