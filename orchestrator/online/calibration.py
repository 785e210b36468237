"""How fast the parts of an online run are: each does a little of its real work in its real place, for a moment."""

import statistics
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch

from actors.rating.models import rater_identity
from actors.rating.settings import POCKET_PIXELS, RaterSettings
from actors.worlds.world import WorldSpec
from algorithms.episodes import EpisodeChunk, Scene
from algorithms.frame_codec import decode
from algorithms.images import encode_png, reduce_image
from algorithms.policies import RatedAlgorithm, build_policy
from algorithms.ratings import Rating
from orchestrator.errors import SettingsError
from orchestrator.online.actors import start_reward_learner, start_rollout_worker, start_similarity_model
from orchestrator.online.questions import QuestionMaker
from orchestrator.online.rewards.comparing import Comparing
from orchestrator.online.rollouts import Rollouts, world_spec
from orchestrator.online.settings import OnlineExperiment
from orchestrator.ratings.replicas import start_rating_servers
from orchestrator.ratings.store import RatingStore
from orchestrator.runs.plan import ENGINE_START_S, POCKET_RATINGS_PER_S, RATINGS_PER_S, Assumed, seconds_of

STEPS = 25
"""Agent steps of an environment that are measured together, at most."""
RATED = 64
"""Rated segments that the reward model trains on, at most."""
SCORED = 256
"""States or frames that it scores, at most; of large frames fewer."""
PICTURES = 8
UPDATES = 32
PIXEL_UPDATES = 2
ASKED = 32
"""Questions that a rater is measured by, if it is loaded for that."""
ENOUGH_ANSWERS = 20
"""Stored answers before they say how fast a rater is."""


@dataclass(frozen=True)
class Calibration:
    """Seconds that one of each takes."""

    world: WorldSpec
    """The task's."""
    start_s: float
    """From the command to the loop: imports, Ray, and the actors and the policy or the rater, whichever take longer."""
    step_s: float
    """An agent step of one environment, acting included."""
    frame_s: float
    """A frame as the reward model sees it; 0 if it sees states."""
    picture_s: float
    """A picture to be rated."""
    score_s: float
    """A step's learned reward."""
    fit_s: float
    """A rated segment in an epoch, of all members."""
    update_s: float
    """A gradient step of the policy."""
    rating_s: float
    """A rating, as all engines together give them."""
    rated_by: str
    """Where that is from."""
    compare_s: float = 0.0
    """A picture that is compared with a sentence."""


def calibrate(experiment: OnlineExperiment, assumed: Assumed) -> Calibration:
    """Measure the parts of `experiment`, whose GPUs are numbers. Ray is connected; nothing is written."""
    if not experiment.policy.num_gpus:
        torch.set_num_threads(1)  # As the run does.
    # Until here all has been as it is in a run.
    started = time.monotonic()
    before_s = started - assumed.began
    small = _a_little_of(experiment)
    worker = start_rollout_worker(small, 0)
    actors = [worker]
    try:
        world = world_spec(small, Rollouts(lambda index: worker, 1, None))
        if experiment.learns_reward:
            actors.append(start_reward_learner(small, world))
        policy = build_policy(experiment.policy, world, experiment.task.instruction, experiment.seed)
        ray.get([actor.state.remote() for actor in actors])
        start_s = time.monotonic() - started
        update_s = _updates(policy, world)
        step_s, frame_s, picture_s, pngs = _rollouts(small, worker, policy.actor_weights(), world.draws_again)
        compare_s = _comparing(small, actors, pngs) if experiment.by_similarity else 0.0
        score_s, fit_s = _reward_model(small, actors[1], world) if experiment.learns_reward else (0.0, 0.0)
    finally:
        for actor in actors:
            ray.kill(actor)
    policy.stop()
    load_s, rating_s, rated_by = _ratings(experiment, assumed, pngs)
    start_s = before_s + max(start_s, load_s)
    return Calibration(
        world, start_s, step_s, frame_s, picture_s, score_s, fit_s, update_s, rating_s, rated_by, compare_s
    )


def _a_little_of(experiment: OnlineExperiment) -> OnlineExperiment:
    """The experiment with short rounds and two epochs: what one step takes is the same."""
    chunk = experiment.rollout.chunk_agent_steps
    steps = max(number for number in range(1, min(chunk, STEPS) + 1) if chunk % number == 0)
    return experiment.model_copy(
        update={
            "rollout": experiment.rollout.model_copy(update={"chunk_agent_steps": steps}),
            "reward_model": experiment.reward_model.model_copy(update={"min_epochs": 1, "max_epochs": 2}),
        }
    )


def _rollouts(
    experiment: OnlineExperiment, worker: Any, weights: Mapping[str, np.ndarray], draws_again: bool
) -> tuple[float, float, float, list[bytes]]:
    """Seconds of an agent step, of a reduced frame and of a picture, and pictures of different states."""
    rollout, reward_px = experiment.rollout, experiment.reward_px
    per_call = rollout.chunk_agent_steps * rollout.envs_per_worker
    collect = worker.collect.options(num_returns=2)

    def act() -> list[EpisodeChunk]:
        return ray.get(collect.remote(weights, None)[0]).chunks

    step_s = seconds_of(act) / per_call
    chunks = act()
    if not draws_again:
        return step_s, *_kept(chunks, reward_px)
    pngs = [
        png
        for chunk in chunks
        for png in ray.get(worker.render.remote(chunk.scene, chunk.frame_states[1 : PICTURES + 1]))
    ]
    (chunk, *_) = chunks
    states = chunk.frame_states[1 : PICTURES + 1]
    picture_s = seconds_of(lambda: ray.get(worker.render.remote(chunk.scene, states))) / len(states)
    if reward_px is None:
        return step_s, 0.0, picture_s, pngs
    reduced = seconds_of(lambda: ray.get(worker.render_reduced.remote(chunk.scene, states, reward_px)))
    return step_s, reduced / len(states), picture_s, pngs


def _kept(chunks: Sequence[EpisodeChunk], reduced_px: int | None) -> tuple[float, float, list[bytes]]:
    """The last three of `_rollouts`, of chunks that hold their frames: taking those is part of a step."""
    longest = max(chunks, key=len)

    def shown() -> list[bytes]:
        return [encode_png(frame) for frame in decode(longest.frames)[1 : PICTURES + 1]]

    pngs = shown()
    picture_s = seconds_of(shown) / len(pngs)
    if reduced_px is None:
        return 0.0, picture_s, pngs
    frame_s = seconds_of(lambda: reduce_image(decode(longest.frames)[1:], reduced_px)) / len(longest)
    return frame_s, picture_s, pngs


def _reward_model(experiment: OnlineExperiment, learner: Any, world: WorldSpec) -> tuple[float, float]:
    """Seconds of a score, and of a rated segment in an epoch."""
    settings, num_frames = experiment.reward_model, experiment.num_shown
    rng = np.random.default_rng(0)
    frame = (settings.image_px, settings.image_px, 3)
    seen = frame if settings.input == "frame" else (world.observation_size,)

    def inputs(*shape: int) -> np.ndarray:
        if settings.input == "frame":
            return rng.integers(256, size=(*shape, *frame), dtype=np.uint8)
        return _observations(world, rng, *shape)

    count = min(settings.batch_size, RATED)
    ratings = rng.integers(experiment.num_learned, size=count)
    asked = [experiment.task.instruction] if world.says_instruction else []
    ray.get(learner.add_ratings.remote(inputs(count, num_frames), ratings, count * asked))
    epochs: list[float] = []
    whole_s = seconds_of(lambda: epochs.append(ray.get(learner.train.remote()).metrics["epochs"]))
    to_score = ray.put(inputs(SCORED if int(np.prod(seen)) < 20_000 else SCORED // 4))
    number = len(ray.get(to_score))
    score_s = seconds_of(lambda: ray.get(learner.score.remote(to_score, number * asked))) / number
    # At its end a training scores what it was trained on.
    return score_s, max(0.0, whole_s / statistics.median(epochs) / count - num_frames * score_s / 2)


def _comparing(experiment: OnlineExperiment, actors: list[Any], pngs: list[bytes]) -> float:
    """Seconds of a picture, once the model is there; its actor joins `actors`. Raises SettingsError if it cannot be."""
    actors.append(start_similarity_model(experiment))
    model = Comparing(lambda: actors[-1])
    wanted, goal = model.load().num_frames, experiment.task.instruction
    if experiment.similarity.method == "vlm_rm":
        return seconds_of(lambda: model.of_frames(pngs, goal)) / len(pngs)
    shown = [pngs[place % len(pngs)] for place in range(wanted)]
    return seconds_of(lambda: model.of_episode(shown, goal)) / wanted


def _observations(world: WorldSpec, rng: np.random.Generator, *shape: int) -> np.ndarray:
    """float32 [*shape, observation], such as the world might give."""
    if world.grid_shape is not None:
        return rng.integers(world.num_categories, size=(*shape, world.observation_size)).astype(np.float32)
    return rng.normal(size=(*shape, world.observation_size)).astype(np.float32)


def _updates(policy: RatedAlgorithm, world: WorldSpec) -> float:
    """Seconds of a gradient step."""
    rng = np.random.default_rng(0)
    shape = policy.config.pixel_shape
    rows, number = 1_000, UPDATES if shape is None else PIXEL_UPDATES
    policy.add_chunk(
        EpisodeChunk(
            episode_id="calibration",
            first_step=0,
            observations=_observations(world, rng, rows + 1),
            actions=world.random_actions(rng, rows).astype(np.float32),
            env_rewards=np.zeros(rows, dtype=np.float32),
            successes=np.zeros(rows, dtype=bool),
            terminated=False,
            truncated=True,
            frame_states=np.zeros((rows + 1, 0), dtype=np.float32),
            scene=Scene({}),
            pixels=None if shape is None else rng.integers(256, size=(rows + 1, shape.px, shape.px, 3), dtype=np.uint8),
        ),
        np.zeros(rows, dtype=np.float32),
        1,
    )
    return seconds_of(lambda: policy.update(number)) / number


def _ratings(experiment: OnlineExperiment, assumed: Assumed, pngs: list[bytes]) -> tuple[float, float, str]:
    """Seconds until the rater answers, seconds of a rating, and how these are known."""
    if not experiment.asks_rater:
        return 0.0, 0.0, "nobody"
    rater = experiment.rater
    load_s = 0.0 if rater.endpoint else ENGINE_START_S
    if assumed.load_rater:
        load_s, rating_s = _loaded(experiment, pngs)
        if assumed.ratings_per_s is None:
            return load_s, rating_s, f"measured on {ASKED} questions"
    if assumed.ratings_per_s is not None:
        return load_s, 1.0 / assumed.ratings_per_s, "as you say"
    folder = experiment.ratings_folder
    if not isinstance(folder, Path) or folder.is_dir():
        columns = ["model", "revision", "mode", "max_pixels", "run", "env_step", "asked_at", "latency_s"]
        found = _of_this_rater(RatingStore(folder).rows(columns), rater)
        per_rating_s = seconds_stored(found)
        if per_rating_s is not None:
            return load_s, per_rating_s, f"measured on {len(found):,} of this rater's answers in {folder}"
    rate = POCKET_RATINGS_PER_S if rater.model in POCKET_PIXELS else RATINGS_PER_S
    told = f"assumed: {rate:g} a second of each engine; --load-rater measures it"
    return load_s, 1.0 / (rate * rater.num_replicas), told


def _of_this_rater(rows: Iterable[Mapping[str, Any]], rater: RaterSettings) -> list[Mapping[str, Any]]:
    wanted: dict[str, Any] = {"mode": rater.mode, "max_pixels": rater.max_pixels, "model": rater.model}
    if not rater.endpoint:
        identity = rater_identity(rater)
        wanted |= {"model": identity.model, "revision": identity.revision}
    return [row for row in rows if all(row[name] == value for name, value in wanted.items())]


def seconds_stored(rows: Iterable[Mapping[str, Any]]) -> float | None:
    """Seconds that a rating took while sessions were asked, by stored answers; None of too few.

    A session's answers share run and environment step. It began when the earliest of them was asked.
    """
    sessions: dict[tuple[str, int], list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        sessions[row["run"], row["env_step"]].append(row)
    number = sum(map(len, sessions.values()))
    if number < ENOUGH_ANSWERS:
        return None
    seconds = sum(
        (max(row["asked_at"] for row in session) - min(row["asked_at"] for row in session)).total_seconds()
        + min(session, key=lambda row: row["asked_at"])["latency_s"]
        for session in sessions.values()
    )
    return seconds / number


def _loaded(experiment: OnlineExperiment, pngs: list[bytes]) -> tuple[float, float]:
    """Seconds to load the engines, and of a rating. Raises SettingsError if they cannot be, or give none."""
    rater = experiment.rater
    if rater.endpoint or rater.server:
        other = "rater.endpoint" if rater.endpoint else "rater.server"
        raise SettingsError(f"--load-rater: {other} names a rater that others run; say --ratings-per-s instead")
    maker = QuestionMaker(experiment)
    requests = [maker.question([pngs[i % len(pngs)]] * experiment.num_shown, i, False).request for i in range(ASKED)]
    began = time.monotonic()
    servers = start_rating_servers(rater)
    try:
        ray.get([server.start.remote() for server in servers], timeout=rater.start_timeout_s)
        load_s = time.monotonic() - began
        shares = [requests[number :: len(servers)] for number in range(len(servers))]
        started = time.monotonic()
        outcomes = [
            one for part in ray.get([s.rate.remote(r) for s, r in zip(servers, shares, strict=True)]) for one in part
        ]
        seconds = time.monotonic() - started
    except (ray.exceptions.RayError, TimeoutError) as error:
        raise SettingsError(f"--load-rater: {rater.model} does not start: {str(error).splitlines()[-1]}") from None
    finally:
        for server in servers:
            ray.kill(server)
    failed = next((one for one in outcomes if not isinstance(one, Rating)), None)
    if failed is not None:
        raise SettingsError(f"--load-rater: {rater.model} gave no rating: {failed.cause}, {failed.detail}")
    return load_s, seconds / ASKED
