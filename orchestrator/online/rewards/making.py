"""Making a run's source of rewards: the only place that knows all of them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from actors.rating.settings import RaterSettings
from actors.worlds.world import WorldSpec
from orchestrator.online.frames.step_frames import StepFrames
from orchestrator.online.questions import QuestionMaker
from orchestrator.online.reward_training import RewardTraining
from orchestrator.online.rewards.comparing import Comparing
from orchestrator.online.rewards.functions import reward_function
from orchestrator.online.rewards.given import GivenReward
from orchestrator.online.rewards.rated import RatedReward
from orchestrator.online.rewards.scored import ScoredReward
from orchestrator.online.rewards.similar import similarity_reward
from orchestrator.online.rewards.source import RewardSource
from orchestrator.online.rollouts import Rollouts
from orchestrator.online.sessions import FeedbackSessions
from orchestrator.online.settings import OnlineExperiment
from orchestrator.ratings.asking import rating_servers
from orchestrator.ratings.service import RatingService
from orchestrator.ratings.store import RatingStore
from orchestrator.runs.frame_archive import FrameArchive
from orchestrator.runs.layout import CHECKPOINTS_FOLDER, STEP_FRAMES_FOLDER

_SEGMENTS = 7
"""Sets the random stream that selects segments apart from those of the other parts."""


@dataclass(frozen=True)
class Ratings:
    """The rating server of a run, and the store before it."""

    store: RatingStore
    service: RatingService
    loads_when_asked: bool = False
    """A model of the run's own waits for the first question that the store does not answer."""


@contextmanager
def ratings_of(here: OnlineExperiment) -> Iterator[Ratings | None]:
    """Who rates for a run, from the moment that it begins to load; None if nobody is asked.

    `here` is the experiment as placed.
    """
    if not here.asks_rater:
        yield None
        return
    store = RatingStore(here.ratings_folder)
    rater = settled_start(here, store)
    servers = rating_servers(rater)
    needs = QuestionMaker(here).needs
    service = RatingService(store, servers, rater, here.run_folder.name, needs)
    try:
        service.begin_start()
        yield Ratings(store, service, rater.start == "when_asked")
    finally:
        service.close()


def settled_start(here: OnlineExperiment, store: RatingStore) -> RaterSettings:
    """Its block `rater` with `start` decided."""
    rater = here.rater
    if rater.start != "auto":
        return rater
    own = rater.endpoint is None and rater.server is None
    anew = not (here.run_folder / CHECKPOINTS_FOLDER).exists()
    known = own and anew and any(row["run"] == here.run_folder.name for row in store.rows(["run"]))
    return rater.model_copy(update={"start": "when_asked" if known else "at_once"})


def make_reward(
    experiment: OnlineExperiment,
    start_learner: Callable[[], Any],
    world: WorldSpec,
    rollouts: Rollouts,
    ratings: Ratings | None,
    learner_needs: str = "a processor",
    start_model: Callable[[], Any] | None = None,
) -> RewardSource:
    """The source that `experiment.reward` names. `start_learner()` makes a new actor if a reward model learns, and
    `start_model()` if a model compares; `learner_needs` says in words what either needs of a node.

    Raises SettingsError if a model that compares cannot be loaded.
    """
    if experiment.is_privileged:
        return GivenReward(reward_function(experiment.reward.source))
    frames = StepFrames(world, rollouts, experiment.reward_px, step_archive(experiment))
    if experiment.by_similarity:
        assert start_model is not None, "whoever compares says how its model is started"
        return similarity_reward(
            experiment, frames, Comparing(start_model, learner_needs, experiment.rollout.lost_timeout_s)
        )
    assert ratings is not None, "whoever asks a rater has one"
    if experiment.reward.source == "scores":
        return ScoredReward(experiment, frames, ratings.service)
    rng = np.random.default_rng(np.random.SeedSequence(experiment.seed, spawn_key=(_SEGMENTS,)))
    sessions = FeedbackSessions(experiment, frames, ratings.service, ratings.store, rng)
    learner = RewardTraining(start_learner, sessions.first_inputs, learner_needs, experiment.rollout.lost_timeout_s)
    return RatedReward(experiment, world, frames, learner, sessions)


def step_archive(experiment: OnlineExperiment) -> FrameArchive:
    """Where the run keeps frames that its world cannot draw again. Nothing is written before there are some."""
    settings = experiment.rollout
    return FrameArchive(
        experiment.working_folder / STEP_FRAMES_FOLDER,
        memory_bytes=int(settings.frames_memory_gb * 1e9),
        disk_bytes=int(settings.frames_disk_gb * 1e9),
        checkpoints_kept=experiment.checkpoint.keep,
    )
