"""What an offline run would do and about how long that would take: it learns, and is judged, for a moment."""

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice

import numpy as np

from actors.chain_evaluation import ChainEvaluator, PolicyFace
from algorithms.language_networks import PolicyShape
from algorithms.policies import LanguageIQL, build_language_iql
from algorithms.trajectories import Trajectory
from algorithms.transitions import Transitions
from orchestrator.cluster.placement import fits_now
from orchestrator.data.datasets import TrajectoryDataset
from orchestrator.errors import SettingsError
from orchestrator.offline.chains.chain_worlds import world_of
from orchestrator.offline.data import Encode, check_labeller, instruction_reader, policy_shape
from orchestrator.offline.demands import EVALUATOR, offline_demands, placed
from orchestrator.offline.evaluation_settings import ChainEvaluationSettings
from orchestrator.offline.held_out.plan import held_out_parts
from orchestrator.offline.held_out.split import draw_held_out, read_successes
from orchestrator.offline.observation_cache import observation_shape
from orchestrator.offline.settings import OfflineExperiment
from orchestrator.runs.plan import Part, Plan, each, seconds_of, size

EPISODES = 1_000
"""Of the data set, looked at for words and tasks."""
STATES = 1_000
"""Made up, to learn from."""
UPDATES = 16


def plan_offline(experiment: OfflineExperiment) -> Plan:
    """The plan of a run; Ray is connected and nothing is written. Raises SettingsError if the data does not fit."""
    here = placed(experiment)
    dataset = TrajectoryDataset(here.data.path)
    check_labeller(dataset, here.data.reward.labeller)
    world = world_of(here, dataset) if here.chains is not None else None
    observation_shape(dataset, here.data)
    if world is not None:
        world.check()
    held_out: frozenset[str] = frozenset()
    if here.held_out is not None:
        held_out = draw_held_out(dataset.folder, dataset.info.source, read_successes(dataset), here.held_out)
    episodes = list(islice(dataset.episodes(frames=False, symbolic=False), EPISODES))
    if not episodes:
        raise SettingsError(f"{dataset.folder} has no episode that can be read; `likert data check` says why")
    texts = list(dict.fromkeys(episode.instruction for episode in episodes))
    encode, num_words = instruction_reader(texts, texts, here.data)
    encoded = encode(texts)
    things = {name for episode in episodes for name in episode.action_objects}
    shape, _ = policy_shape(dataset, here.data, num_words, encoded.shape[1], things)
    # What an autoscaler would have to add for it is not waited for.
    there = not here.policy.num_gpus or fits_now(offline_demands(here))
    measured = here.policy if there else here.policy.model_copy(update={"num_gpus": 0.0})
    policy = build_language_iql(measured, shape, here.seed)
    try:
        made_up = _made_up(shape, encoded)
        policy.set_transitions(made_up)
        update_s = seconds_of(lambda: policy.update(UPDATES)) / UPDATES
        if here.held_out is not None:
            lengths = {episode.episode_id: len(episode) for episode in episodes}
            judging = held_out_parts(here, policy, made_up, held_out, lengths)
        else:
            judging = _chains_parts(here, dataset, episodes, policy, shape, encode)
    finally:
        policy.stop()
    plan = plan_of(here, dataset, update_s, *judging)
    return (
        plan if there else replace(plan, notes=[*plan.notes, "the policy's GPU is to be added: it was timed without"])
    )


def plan_of(
    experiment: OfflineExperiment,
    dataset: TrajectoryDataset,
    update_s: float,
    judging: Sequence[Part],
    notes: Sequence[str],
) -> Plan:
    """The plan, given the seconds of a gradient step, what judging takes, and what is to be said of that."""
    info = dataset.info
    learning = Part(
        "policy learning", experiment.total_updates * update_s, each(experiment.total_updates, "update", update_s)
    )
    parts = [learning, *judging]
    states = info.num_transitions + info.num_episodes
    observations = states * math.prod(observation_shape(dataset, experiment.data))
    return Plan(
        parts=parts,
        wall_s=sum(part.seconds for part in parts),
        facts={
            "data": f"{info.num_transitions:,} actions of {info.num_episodes:,} episodes, "
            f"{experiment.total_updates * experiment.policy.batch_size / max(1, info.num_transitions):,.1f} times over",
            "disk": f"{size(observations)} for observations as the policy sees them, once for each data set",
        },
        memory={} if experiment.chains is None else {EVALUATOR: "500 MB"},
        notes=[
            "measured for a moment on this machine; reading the data, checkpoints and tracking are not counted",
            *notes,
        ],
    )


def _chains_parts(
    experiment: OfflineExperiment,
    dataset: TrajectoryDataset,
    episodes: Sequence[Trajectory],
    policy: LanguageIQL,
    shape: PolicyShape,
    encode: Encode,
) -> tuple[list[Part], list[str]]:
    judged = experiment.chains
    assert judged is not None
    evaluations = 1 + math.ceil(experiment.total_updates / judged.interval_updates)
    trials = evaluations * judged.num_tasks * len(judged.starts)
    thor = judged.environment == "thor"
    trial_s = None if thor else _trial_s(experiment, judged, dataset, episodes, policy, shape, encode)
    if trial_s is None:
        return [], [f"{trials:,} tasks of {evaluations} evaluations are not counted: no scene was started for this"]
    shared = f" in {judged.num_workers} workers" if judged.num_workers > 1 else ""
    part = Part("evaluation", trials * trial_s / judged.num_workers, each(trials, "task", trial_s) + shared)
    return [part], ["tasks are counted as a policy does them that has learned nothing: to the end of its steps"]


def _made_up(shape: PolicyShape, instructions: np.ndarray) -> Transitions:
    """Transitions as those of the data set, of nothing in particular."""
    rng = np.random.default_rng(0)
    most = shape.num_categories or 256
    rows = STATES - 1
    if shape.num_objects:
        actions = np.stack([rng.integers(shape.num_actions, size=rows), rng.integers(shape.num_objects, size=rows)], 1)
    elif shape.num_actions:
        actions = rng.integers(shape.num_actions, size=rows)
    else:
        actions = rng.uniform(-0.9, 0.9, (rows, shape.action_size)).astype(np.float32)
    return Transitions(
        observations=rng.integers(most, size=(STATES, *shape.observation_shape), dtype=np.uint8),
        state=np.arange(rows),
        first_state=np.zeros(rows, dtype=np.int64),
        actions=actions,
        rewards=np.zeros(rows, dtype=np.float32),
        terminated=np.zeros(rows, dtype=bool),
        instruction=rng.integers(len(instructions), size=rows),
        instructions=instructions,
    )


def _trial_s(
    experiment: OfflineExperiment,
    settings: ChainEvaluationSettings,
    dataset: TrajectoryDataset,
    episodes: Sequence[Trajectory],
    policy: LanguageIQL,
    shape: PolicyShape,
    encode: Encode,
) -> float | None:
    """Seconds that a task of the evaluation takes, by a few of them; None where the episodes looked at have too few."""
    lengths = settings.chain_lengths
    few = settings.model_copy(update={"num_tasks": len(lengths), "starts": ("fixed",)})
    world = world_of(experiment.model_copy(update={"evaluation": few}), dataset)
    try:
        tasks = world.plan(tuple(episode.episode_id for episode in episodes))
    except SettingsError:
        return None
    face = PolicyFace(shape, experiment.policy.network, experiment.data.observation, few.instruction == "whole")
    evaluator = ChainEvaluator(world.maker(()), face, world.at_once)
    encoded = dict(zip(tasks.texts, encode(tasks.texts), strict=True))
    weights = policy.actor_weights()
    return seconds_of(lambda: evaluator.run(weights, tasks.trials, encoded), times=1) / len(tasks.trials)
