"""From a labelled data set to what IQL learns from: transitions, and instructions as the policy reads them."""

import logging
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, replace

import numpy as np

from algorithms.action_scale import ActionScale
from algorithms.delay import delay_correlation, discounted_return
from algorithms.instructions import Vocabulary, split
from algorithms.language_networks import PolicyShape
from algorithms.reward_forms import formed
from algorithms.trajectories import Trajectory
from algorithms.transitions import Transitions
from algorithms.windows import join_sparse
from orchestrator.data.action_bounds import recorded_actions, scale_for
from orchestrator.data.datasets import TrajectoryDataset
from orchestrator.data.schema import SPARSE
from orchestrator.errors import SettingsError
from orchestrator.offline.held_out.episodes import HeldOutEpisodes
from orchestrator.offline.held_out.split import recording_of, succeeded
from orchestrator.offline.observation_cache import cached_observations, observation_shape
from orchestrator.offline.settings import OfflineDataSettings, OfflineRewardSettings

log = logging.getLogger(__name__)

CATEGORIES = 32
"""A grid's numbers are below this; MiniGrid's go to 10."""

Encode = Callable[[Sequence[str]], np.ndarray]
"""Instructions as a policy reads them, [N, ...]."""


@dataclass(frozen=True)
class OfflineData:
    """What a run learns from, and what its policy must fit."""

    transitions: Transitions
    sparse: np.ndarray
    """[N] float32: their sparse rewards, whatever is learned from."""
    shape: PolicyShape
    encode: Encode
    episode_ids: tuple[str, ...]
    """Episodes learned from."""
    held_out: HeldOutEpisodes | None = None
    """Episodes that judge; None where none are held out."""
    objects: tuple[str, ...] = ()
    """Classes of objects that actions are about, by number, the first of them none; empty where a set has no objects.
    Actions are then pairs (action, object class)."""
    words: tuple[str, ...] = ()
    """Those that the policy knows, in order; empty if a sentence model reads for it."""
    scale: ActionScale | None = None
    """Between the recording's units and the [-1, 1] that `transitions` and the policy have; None if actions are
    discrete."""
    delay: float | None = None
    """How an episode's return follows its length, of those that came to their end: `algorithms.delay`."""


def load_offline_data(
    dataset: TrajectoryDataset,
    settings: OfflineDataSettings,
    more_texts: Sequence[str],
    discount: float,
    held_out: Container[str] = (),
) -> OfflineData:
    """Read a data set; `more_texts` are instructions that evaluation will give, `discount` is the policy's, which some
    forms of reward depend on. Raises SettingsError.

    Of episodes whose names are in `held_out` nothing is learned, not even words. Observations stay on disk; the rest
    takes some 50 bytes for each action.
    """
    observations, first_rows = cached_observations(dataset, settings)
    columns: dict[str, list[np.ndarray]] = {name: [] for name in _COLUMNS}
    sparse: list[np.ndarray] = []
    texts: dict[str, int] = {}
    learned_texts: dict[str, None] = {}
    things: list[str] = []
    names: list[str] = []
    successes: list[bool] = []
    returns: list[tuple[float, int]] = []
    for trajectory in dataset.episodes(frames=False, symbolic=False):
        first = first_rows.get(trajectory.episode_id)
        if first is None:
            continue  # Its pictures could not be read; a warning has said so.
        names.append(trajectory.episode_id)
        successes.append(succeeded(trajectory))
        length = len(trajectory)
        columns["state"].append(first + np.arange(length))
        columns["first_state"].append(np.full(length, first))
        columns["actions"].append(trajectory.actions)
        things += trajectory.action_objects
        rewards = rewards_to_learn(trajectory, settings.reward, discount)
        columns["rewards"].append(rewards)
        if trajectory.terminated[-1] and trajectory.episode_id not in held_out:
            returns.append((discounted_return(rewards, discount), length))
        columns["terminated"].append(trajectory.terminated)
        columns["instruction"].append(np.full(length, texts.setdefault(trajectory.instruction, len(texts))))
        sparse.append(trajectory.sparse_rewards)
        if trajectory.episode_id not in held_out:
            learned_texts[trajectory.instruction] = None
    if not names:
        raise SettingsError(f"{dataset.folder} has no episode that can be read; `likert data check` says why")
    joined = {name: np.concatenate(parts) for name, parts in columns.items()}
    scale = action_scale(dataset)
    if scale is not None:
        _refuse_not_finite(dataset, joined["actions"])
        if not scale.size:
            raise SettingsError(f"data.path: {dataset.folder}: all actions are the same; there is nothing to learn")
        joined["actions"] = scale.scale(joined["actions"])
    encode, num_words = instruction_reader(list(learned_texts), [*more_texts, *texts], settings)
    words = Vocabulary.of(learned_texts).words if settings.sentence_model is None else ()
    encoded = encode(list(texts))
    shape, objects = policy_shape(dataset, settings, num_words, encoded.shape[1], set(things))
    if scale is not None:
        shape = replace(shape, action_size=scale.size)
    if objects:
        numbers = {name: number for number, name in enumerate(objects)}
        joined["actions"] = np.stack([joined["actions"], [numbers[name] for name in things]], axis=1)
    lengths = np.array([len(part) for part in sparse], dtype=np.int64)
    out = np.array([name in held_out for name in names])
    rows_out, all_sparse = np.repeat(out, lengths), np.concatenate(sparse)

    def transitions(rows: np.ndarray) -> Transitions:
        return Transitions(observations, instructions=encoded, **{n: column[rows] for n, column in joined.items()})

    if np.isnan(joined["rewards"][~rows_out]).all():
        raise SettingsError(
            f"{dataset.folder}: not one action has a reward of {settings.reward.labeller!r}; "
            "run `likert label` to its end"
        )
    judging = None
    if out.any():
        recordings = [recording_of(dataset.info.source, name) for name in names]
        judging = HeldOutEpisodes(
            transitions(rows_out),
            sparse=all_sparse[rows_out],
            lengths=lengths[out],
            succeeded=np.array(successes)[out],
            recording=np.unique(recordings, return_inverse=True)[1][out],
        )
    learned_names = tuple(name for name in names if name not in held_out)
    delay = delay_correlation([one for one, _ in returns], [length for _, length in returns])
    return OfflineData(
        transitions(~rows_out),
        all_sparse[~rows_out],
        shape,
        encode,
        learned_names,
        judging,
        objects,
        words,
        scale,
        delay,
    )


def policy_shape(
    dataset: TrajectoryDataset, settings: OfflineDataSettings, num_words: int, instruction_length: int, things: set[str]
) -> tuple[PolicyShape, tuple[str, ...]]:
    """What a policy must fit, and the classes of objects that its actions are about, the first of them none; `things`
    are those that occur. Raises SettingsError if the set has no such observations."""
    discrete = dataset.info.actions.kind == "discrete"
    num_actions = len(dataset.info.actions.names)
    objects: tuple[str, ...] = ()
    if dataset.info.has_action_objects and discrete:
        objects = ("", *sorted(things - {""}))
    shape = PolicyShape(
        kind="image" if settings.observation == "frame" else "grid",
        observation_shape=observation_shape(dataset, settings),
        num_categories=0 if settings.observation == "frame" else CATEGORIES,
        num_words=num_words,
        instruction_length=instruction_length,
        num_actions=num_actions if discrete else 0,
        action_size=num_actions + len(objects),
        num_objects=len(objects),
    )
    return shape, objects


def rewards_to_learn(trajectory: Trajectory, settings: OfflineRewardSettings, discount: float) -> np.ndarray:
    """Rewards float32 [T]; NaN where the labeller gave none. Raises SettingsError if it labelled nothing in the set."""
    sparse = trajectory.sparse_rewards
    if settings.labeller == SPARSE:
        return settings.dense_weight * sparse + np.float32(settings.shift)
    if settings.labeller not in trajectory.rewards:
        raise SettingsError(_no_labeller(settings.labeller, list(trajectory.rewards)))
    dense = formed(
        trajectory.rewards[settings.labeller],
        sparse,
        settings.form,
        weight=settings.dense_weight,
        middle=settings.middle,
        discount=discount,
    )
    return join_sparse(dense + np.float32(settings.shift), sparse, settings.sparse)


def check_labeller(dataset: TrajectoryDataset, labeller: str) -> None:
    """Raise SettingsError unless the set has this labeller's rewards."""
    if labeller != SPARSE and labeller not in dataset.info.labels:
        raise SettingsError(_no_labeller(labeller, list(dataset.info.labels)))


def action_scale(dataset: TrajectoryDataset) -> ActionScale | None:
    """How a set's actions become a policy's; None if they are discrete. Says so if the set itself does not know."""
    actions = dataset.info.actions
    if actions.kind == "discrete":
        return None
    parts = () if actions.bounds is not None else dataset.parts
    recorded = recorded_actions((dataset.folder / part for part in parts), len(actions.names))
    scale, word = scale_for(actions, recorded)
    if word is not None:
        log.warning("%s: %s", dataset.folder, word)
    return scale


def check_actions(dataset: TrajectoryDataset) -> None:
    """Raise SettingsError if the set's actions are vectors of which some are no numbers. Reads them all."""
    if dataset.info.actions.kind == "continuous":
        for trajectory in dataset.episodes(frames=False, symbolic=False):
            _refuse_not_finite(dataset, trajectory.actions)


def instruction_reader(
    texts: Sequence[str], more_texts: Sequence[str], settings: OfflineDataSettings
) -> tuple[Encode, int]:
    """How instructions are read, and the number of word ids; 0 if they become sentence embeddings.

    Only words of `texts` are known; of `more_texts` only the length counts.
    """
    if settings.sentence_model is not None:
        from orchestrator.offline.sentences import SentenceEmbedder

        return SentenceEmbedder(settings.sentence_model, settings.sentence_model_revision).embed, 0
    vocabulary = Vocabulary.of(texts)
    length = max(len(split(text)) for text in (*texts, *more_texts))
    return lambda asked: vocabulary.encode(asked, length), vocabulary.num_ids


_COLUMNS = ("state", "first_state", "actions", "rewards", "terminated", "instruction")


def _refuse_not_finite(dataset: TrajectoryDataset, actions: np.ndarray) -> None:
    if not np.isfinite(actions).all():
        raise SettingsError(
            f"data.path: {dataset.folder}: {int((~np.isfinite(actions)).any(axis=1).sum()):,} actions are not finite; "
            "`likert data check` says which. Leave their episodes out, and make the set anew"
        )


def _no_labeller(labeller: str, found: Sequence[str]) -> str:
    return (
        f"data.reward.labeller = {labeller!r}: the data set has rewards of {', '.join([SPARSE, *sorted(found)])}; "
        "run `likert label` first, or name one of these"
    )
