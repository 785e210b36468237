"""What an online run would do and about how long that would take: its loop, without doing anything."""

import math
import os
from dataclasses import dataclass, replace

from actors.rating.tokens import TokenCounter
from algorithms.feedback import FeedbackSchedule
from orchestrator.cluster.address import ray_address
from orchestrator.cluster.packing import as_text
from orchestrator.cluster.placement import RATING_REPLICA, fits_now, replica_demand
from orchestrator.online.calibration import Calibration, calibrate
from orchestrator.online.demands import LEARNER, WORKER, online_demands, placed
from orchestrator.online.preflight import a_question, check_raters, checkpoint_bytes, rating_bytes
from orchestrator.online.settings import OnlineExperiment
from orchestrator.ratings.shared_server import list_servers, with_place
from orchestrator.runs.plan import END_OF_START, ENGINE_START_S, Assumed, Part, Plan, duration, each, milliseconds, size

WORKER_BYTES = 500e6
"""Memory of a rollout worker, as measured on MetaWorld."""


@dataclass
class OnlineWork:
    """How much there is of each kind of work in a run, at most, but for epochs, whose number only shows."""

    rounds: int = 0
    steps: int = 0
    """Agent steps of all environments."""
    updates: int = 0
    sessions: int = 0
    questions: int = 0
    epoch_ratings: float = 0.0
    """Rated segments that epochs pass over, with a middling number of epochs."""
    compared: int = 0
    """Pictures that are compared with a sentence."""
    scored: int = 0
    """Steps scored as they come."""
    relabelled: int = 0
    """Steps scored anew after a session."""
    redrawn: int = 0
    """Of them, frames that the cache had no room for."""
    episodes_judged: int = 0
    overlapped_s: float = 0.0
    """Of rollouts and of what the driver does meanwhile, the time that passes twice."""


def plan_online(experiment: OnlineExperiment, assumed: Assumed) -> Plan:
    """The plan of a run, by a calibration; Ray is connected and nothing is written. Raises SettingsError if the rater
    cannot be had, or has no place."""
    check_raters([experiment])
    here = placed(experiment)
    served = _served(here)
    there = fits_now(online_demands(here))
    pace = calibrate(here if there else _on_any_processor(here), assumed)
    work = work_of(here, pace)
    parts = parts_of(here, work, pace)
    return Plan(
        parts=parts,
        wall_s=sum(part.seconds for part in parts) - work.overlapped_s,
        overlap=f"rollouts go on while the policy learns, which saves {duration(work.overlapped_s)}",
        facts=served | _facts(here, work),
        memory=_memory(here, pace.world.observation_size),
        notes=_notes(here, there, assumed),
    )


def _on_any_processor(experiment: OnlineExperiment) -> OnlineExperiment:
    """The experiment on the nodes that are there."""
    anywhere = {"num_gpus": 0.0, "accelerator_type": None, "resources": {}}
    names = ("rollout", "reward_model", "similarity", "policy")
    blocks = {name: getattr(experiment, name).model_copy(update=anywhere) for name in names}
    return experiment.model_copy(update=blocks)


def _served(experiment: OnlineExperiment) -> dict[str, str]:
    """Who serves ratings, where several runs share that. Raises SettingsError if a new server would have no place."""
    rater = experiment.rater
    if rater.server is None or not experiment.asks_rater:
        return {}
    if rater.server in list_servers():
        return {"rater": f"the rating server {rater.server!r}, which is there"}
    new = with_place(rater)
    takes = f"{new.num_replicas} x {as_text(replica_demand(new))}"
    return {"rater": f"the rating server {rater.server!r}, which the run would start: {takes}"}


def work_of(experiment: OnlineExperiment, pace: Calibration) -> OnlineWork:
    """Go through the loop, round by round."""
    task, rollout, policy = experiment.task, experiment.rollout, experiment.policy
    model, judged = experiment.reward_model, experiment.evaluation
    schedule = FeedbackSchedule(experiment.feedback, experiment.total_env_steps)
    round_steps = rollout.num_workers * rollout.envs_per_worker * rollout.chunk_agent_steps
    # Environments whose episodes differ in length go on for some rounds more; how many shows only then.
    rounds_per_period = math.ceil(rollout.period_of(pace.world) / rollout.chunk_agent_steps)
    epochs = (model.min_epochs + model.max_epochs) / 2
    cached = _cached_frames(experiment)
    round_s = rollout.envs_per_worker * rollout.chunk_agent_steps * (pace.step_s + pace.frame_s)
    judged_episodes = judged.num_episodes * (2 if judged.judges_anywhere_besides else 1)
    work = OnlineWork(episodes_judged=2 * judged_episodes)
    next_evaluation, evaluated, owed, judged_at = judged.interval_env_steps, 0, 0.0, -1
    while work.steps * task.action_repeat < experiment.total_env_steps:
        for number in range(rounds_per_period):
            before = work.updates, work.scored
            work.rounds += 1
            work.steps += round_steps
            env_steps = work.steps * task.action_repeat
            work.scored += round_steps if work.sessions else 0
            has_reward = work.sessions or policy.unsupervised_env_steps or not experiment.learns_reward
            if env_steps >= policy.seed_env_steps and has_reward and work.steps >= policy.batch_size:
                owed += policy.updates_per_agent_step * round_steps
                work.updates, owed = work.updates + int(owed), owed % 1.0
            if number < rounds_per_period - 1:
                driver_s = (work.updates - before[0]) * pace.update_s + (work.scored - before[1]) * pace.score_s
                work.overlapped_s += _overlap(experiment, round_s, driver_s)
        if experiment.learns_reward and schedule.due(env_steps):
            work.questions += schedule.begin(env_steps)
            first = not work.sessions
            work.sessions += 1
            work.epoch_ratings += epochs * work.questions
            held = min(work.steps, policy.replay_capacity)
            work.relabelled += held
            work.redrawn += max(0, held - cached) if model.input == "frame" else 0
            work.updates += policy.critic_reset_updates if first and policy.reset_critic else 0
        rewarded = work.sessions or not experiment.learns_reward
        if rewarded and env_steps >= next_evaluation:
            next_evaluation = (env_steps // judged.interval_env_steps + 1) * judged.interval_env_steps
            evaluated, judged_at = evaluated + 1, env_steps
    if rewarded and judged_at < env_steps:
        evaluated += 1
    work.questions += experiment.num_scored
    work.compared = _num_compared(experiment, work.steps, pace.world.longest_agent_steps)
    work.episodes_judged += evaluated * judged_episodes
    return work


def _num_compared(experiment: OnlineExperiment, num_steps: int, longest_agent_steps: int) -> int:
    """Pictures that the source `similarity` looks at in so many agent steps, about: episodes may be shorter."""
    if not experiment.by_similarity:
        return 0
    if experiment.similarity.method == "roboclip":
        return math.ceil(num_steps / longest_agent_steps) * experiment.similarity.num_frames
    return math.ceil(num_steps / experiment.reward.every_agent_steps)


def _overlap(experiment: OnlineExperiment, rollouts_s: float, driver_s: float) -> float:
    """Time of a round in which the workers and the driver both work, as far as there are processors for all."""
    busy = experiment.rollout.num_workers * rollouts_s + driver_s
    processors = math.inf if ray_address() else os.cpu_count() or 1
    return max(0.0, rollouts_s + driver_s - max(rollouts_s, driver_s, busy / processors))


def parts_of(experiment: OnlineExperiment, work: OnlineWork, pace: Calibration) -> list[Part]:
    """The run's work in seconds, each kind as if nothing else went on."""
    model, workers = experiment.reward_model, experiment.rollout.num_workers
    longest = pace.world.longest_agent_steps
    shared = f" in {workers} workers" if workers > 1 else ""
    shown = "pictures to compare" if experiment.by_similarity else "pictures to rate"
    pictures = work.compared or work.questions * experiment.num_drawn
    judged_steps = math.ceil(work.episodes_judged / workers) * longest
    epochs = f"{work.sessions:,} sessions of {model.min_epochs} to {model.max_epochs} epochs"
    again = f", {work.redrawn:,} frames drawn again" if work.redrawn else ""

    def alone(name: str, number: int, what: str, seconds: float, besides: str = "") -> Part:
        return Part(name, number * seconds, each(number, what, seconds) + besides)

    def in_workers(name: str, number: int, what: str, seconds: float) -> Part:
        return Part(name, number * seconds / workers, each(number, what, seconds) + shared)

    parts = [
        Part("starting", pace.start_s, "imports, Ray, and actors, policy and rater together"),
        in_workers("stepping", work.steps, "agent step", pace.step_s),
        in_workers("rendering", work.steps, "frame", pace.frame_s),
        in_workers(shown, pictures, "picture", pace.picture_s),
        alone("rating", work.questions, "rating", pace.rating_s, f", {pace.rated_by}"),
        alone("comparing", work.compared, "picture", pace.compare_s, f", by {experiment.similarity.model_name}"),
        Part(
            "reward training",
            work.epoch_ratings * pace.fit_s,
            f"{epochs}, {milliseconds(pace.fit_s)} a rating and epoch",
        ),
        alone("scoring new steps", work.scored, "step", pace.score_s),
        Part(
            "relabelling",
            work.relabelled * pace.score_s + work.redrawn * pace.frame_s / workers,
            each(work.relabelled, "step", pace.score_s) + again,
        ),
        alone("policy learning", work.updates, "update", pace.update_s),
        Part(
            "evaluation",
            judged_steps * pace.step_s,
            f"{work.episodes_judged:,} episodes of {longest} agent steps{shared}",
        ),
        Part("ending", END_OF_START * pace.start_s, "figures, and actors put away; reckoned from the start"),
    ]
    # A policy of pictures has frames drawn at every step, and the reward model sees the same.
    left_out = set() if experiment.reward_px and experiment.policy.pixel_shape is None else {"rendering"}
    if not experiment.learns_reward:
        left_out |= {"reward training", "scoring new steps", "relabelling"}
    if not experiment.asks_rater:
        left_out |= {"rating"}
    if not experiment.by_similarity:
        left_out |= {"comparing"}
    if experiment.is_privileged:
        left_out |= {shown}
    return [part for part in parts if part.name not in left_out]


def _facts(experiment: OnlineExperiment, work: OnlineWork) -> dict[str, str]:
    if not experiment.asks_rater:
        model = experiment.similarity.model_name
        compared = f"none: {work.compared:,} pictures are compared with a sentence, by {model}"
        return {
            "ratings": compared if experiment.by_similarity else "none: each step is paid as it comes",
            "disk": f"{size(checkpoint_bytes(experiment))} of checkpoints",
        }
    counter, question = TokenCounter(experiment.rater), a_question(experiment)
    # Where only doubt is analysed, a question may be asked in one turn and then in two.
    turns = ["two_turn", "answer_only"] if experiment.feedback.analyse_below is not None else [question.mode]
    needed = [counter.needed(replace(question, mode=mode)) for mode in turns]
    read, written = (sum(getattr(one, which) for one in needed) for which in ("read", "written"))
    paid = f", each paid for at {experiment.rater.endpoint}" if experiment.rater.endpoint else ""
    return {
        "ratings": f"{work.questions:,} questions at most{paid}; what the store answers is not asked",
        "tokens": f"{read:,} read and {written:,} written a question at most, "
        f"{work.questions * read / 1e6:,.1f} and {work.questions * written / 1e6:,.1f} million in all",
        "disk": f"{size(checkpoint_bytes(experiment))} of checkpoints and {size(rating_bytes(experiment))} of rated "
        "pictures, at most",
    }


def _memory(experiment: OnlineExperiment, observation_size: int) -> dict[str, str]:
    rater, model = experiment.rater, experiment.reward_model
    px = experiment.reward_px
    engine = f"weights and up to {rater.cpu_kv_cache_gb} GB"
    if rater.num_gpus:
        engine = f"{rater.engine_memory_fraction:.0%} of a GPU's memory"
    cache = min(1e9 * model.frame_cache_gb, 3 * px**2 * _most_held(experiment)) if px else 0.0
    shape = experiment.policy.pixel_shape
    per_step = 4 * (2 * observation_size + 8) + (0 if shape is None else shape.frame_bytes)
    driver = f"the run's own process holds the replay, {size(per_step * _most_held(experiment))}"
    driver += "" if experiment.policy.num_gpus else ", and the policy learns in it"
    return {
        **({RATING_REPLICA: engine} if experiment.asks_rater and not (rater.endpoint or rater.server) else {}),
        **({LEARNER: f"{size(cache)} of frames"} if cache else {}),
        WORKER: size(WORKER_BYTES),
        "driver": driver,
    }


def _notes(experiment: OnlineExperiment, there: bool, assumed: Assumed) -> list[str]:
    notes = ["measured for moments, each part in its own place; checkpoints and tracking are not counted"]
    if not there:
        notes.append(
            "the nodes that are to be added were not waited for: parts were measured on processors that are there, and "
            "will take less on a GPU"
        )
    if experiment.learns_reward and experiment.reward_model.min_epochs < experiment.reward_model.max_epochs:
        notes.append("reward training counts epochs half-way between the fewest and the most")
    if experiment.learns_reward and experiment.feedback.max_rating_lag:
        notes.append("with max_rating_lag above 0 ratings may be waited for less than counted here")
    if experiment.asks_rater and not experiment.rater.endpoint and not assumed.load_rater:
        notes.append(f"the rater is reckoned to load in {ENGINE_START_S:g} s; large weights take longer")
    return notes


def _cached_frames(experiment: OnlineExperiment) -> int:
    return int(experiment.reward_model.frame_cache_gb * 1e9 / (3 * experiment.reward_model.image_px**2))


def _most_held(experiment: OnlineExperiment) -> int:
    return min(experiment.policy.replay_capacity, experiment.total_env_steps // experiment.task.action_repeat)
