"""A small data set of toy trajectories, and a labelling of it by a function, in this process, without Ray."""

import asyncio
import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from actors.rating.fake import FunctionBackend
from actors.rating.front import RatingFront
from actors.rating.labellers.settings import GvlLabeller
from actors.rating.server import RatingServer
from actors.rating.settings import RaterSettings
from algorithms.images import encode_png
from algorithms.label_settings import RewardSettings
from algorithms.ratings import RaterIdentity
from algorithms.trajectories import Trajectory
from orchestrator.data.datasets import TrajectoryDataset
from orchestrator.data.schema import ActionSpace, DatasetInfo
from orchestrator.data.writer import DatasetWriter
from orchestrator.labelling.episodes import EpisodeLabelling, about_labels
from orchestrator.labelling.labeller_command import make_labeller
from orchestrator.labelling.settings import LabelSettings
from orchestrator.labelling.window_stream import window_rows
from orchestrator.labelling.windows import Labelling
from orchestrator.ratings.answer_counts import AnswerCounts
from orchestrator.ratings.score_service import ScoreService
from orchestrator.ratings.score_store import ScoreStore

INFO = DatasetInfo(
    name="toy", source="test", actions=ActionSpace(kind="discrete", names=("left", "right", "forward")), frame_px=(8, 8)
)
RATER = RaterSettings(max_in_flight=8, max_attempts=1)


def toy_episode(number: int, length: int) -> Trajectory:
    """Random frames and actions; the number decides all."""
    rng = np.random.default_rng(number)
    last = np.arange(length) == length - 1
    actions = rng.integers(3, size=length)
    return Trajectory(
        episode_id=f"e{number:03d}",
        instruction=f"reach place {number}",
        actions=actions,
        action_names=tuple(INFO.actions.names[action] for action in actions),
        sparse_rewards=last.astype(np.float32),
        terminated=last,
        truncated=np.zeros(length, dtype=bool),
        frames=tuple(encode_png(rng.integers(256, size=(8, 8, 3), dtype=np.uint8)) for _ in range(length + 1)),
    )


def toy_set(folder: Path, lengths: list[int], part_bytes: int = 3_000) -> TrajectoryDataset:
    """Episodes of these lengths."""
    with DatasetWriter(folder, INFO, part_bytes) as writer:
        for number, length in enumerate(lengths):
            writer.write(toy_episode(number, length))
    return TrajectoryDataset(folder)


def answer(prompt, images, choices) -> str:
    """An analysis, or scores that depend on the picture alone."""
    if not prompt.schema:
        return "The agent moves."
    number = prompt.schema.split('"minItems": ')[1].split(",")[0]
    digest = hashlib.sha256(images[0]).digest()
    return "[" + ",".join(str(digest[place] % 11) for place in range(int(number))) + "]"


def label(
    data: Path,
    store: Path,
    function: Callable = answer,
    tell: Callable = lambda _: None,
    rows_of: Callable | None = None,
    **settings,
) -> AnswerCounts:
    """Label a set, all parts that need it, and return what was done. `rows_of(part, window)` makes its windows."""
    columns = {"rg_vlm": RewardSettings(), "rg_vlm_sparse": RewardSettings(sparse="sum")}
    asked = LabelSettings(data=data, rater=RATER, ratings_folder=store, **{"rewards": columns, **settings})
    with served(store, function) as (service, identity):
        labelling = Labelling(asked, TrajectoryDataset(data), service, identity, tell)
        parts = labelling.parts_to_do()
        make = rows_of or (lambda part, window: window_rows(data, part, window))
        labelling.run(row for part in parts for row in make(part, asked.window))
        return labelling.counts


def label_trajectories(
    data: Path, store: Path, function: Callable, tell: Callable = lambda _: None, **settings
) -> AnswerCounts:
    """As `label`, by a labeller that asks about whole trajectories."""
    asked = LabelSettings(data=data, rater=RATER, ratings_folder=store, **settings)
    dataset = TrajectoryDataset(data)
    with served(store, function) as (service, identity):
        labeller, more = make_labeller(asked, dataset)
        about = about_labels(asked, identity, asks=True, **more)
        labelling = EpisodeLabelling(asked, dataset, labeller, about, service, tell)
        labelling.run(labelling.parts_to_do())
        return labelling.counts


@contextmanager
def served(store: Path, function: Callable) -> Iterator[tuple[ScoreService, RaterIdentity]]:
    """A service over a rater that is a function."""
    server = RatingServer(RATER, FunctionBackend(function), first_pause_s=0.001)
    service = ScoreService(ScoreStore(store), RatingFront(RATER, [server]), RATER, "label")
    try:
        yield service, service.finish_start()
    finally:
        service.close()


def label_trajectories_slowly(data: Path, store: Path, calls: Path, pause_s: float) -> None:
    """Label a set by GVL, `pause_s` for each question, and note its first picture in the file `calls`."""

    async def slowly(prompt, images, choices):
        await asyncio.sleep(pause_s)
        with calls.open("a") as file:
            file.write(hashlib.sha256(images[0]).hexdigest() + "\n")
        return percentages(prompt, images, choices)

    label_trajectories(data, store, slowly, labeller=GvlLabeller())


def percentages(prompt, images, choices) -> str:
    """GVL's answer, which depends on the pictures alone."""
    return json.dumps([sum(png) % 101 for png in images[1:]])


def label_slowly(data: Path, store: Path, calls: Path, pause_s: float) -> None:
    """Label a set, `pause_s` for each turn, and note the picture of each question for scores in the file `calls`."""

    async def slowly(prompt, images, choices):
        await asyncio.sleep(pause_s)
        if prompt.schema:
            with calls.open("a") as file:
                file.write(hashlib.sha256(images[0]).hexdigest() + "\n")
        return answer(prompt, images, choices)

    label(data, store, slowly)
