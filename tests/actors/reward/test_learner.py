"""The reward learner: ratings in, versions and rewards out, frames kept as memory allows."""

import numpy as np
import pytest
import torch

from actors.reward.frame_cache import FrameCache
from actors.reward.learner import RewardLearner
from algorithms.ratings import RatingFailure
from algorithms.settings import RewardModelSettings

PX = 32
FRAME_BYTES = PX * PX * 3


def state_learner(seed=0, **changes):
    settings = {"input": "state", "hidden": (16,), "batch_size": 32, "max_epochs": 3, "num_members": 2}
    return RewardLearner(RewardModelSettings(**(settings | changes)), num_ratings=3, observation_size=2, seed=seed)


def frame_learner(**changes):
    settings = {"network": "small", "image_px": PX, "batch_size": 32, "max_epochs": 2, "num_members": 2}
    return RewardLearner(RewardModelSettings(**(settings | changes)), num_ratings=3, observation_size=None, seed=0)


def rated(num_states=60, seed=0):
    rng = np.random.default_rng(seed)
    states = rng.random((num_states, 2)).astype(np.float32)
    return states, (3 * states[:, 0]).astype(np.int64)


def frames_of(num_frames, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (num_frames, PX, PX, 3), dtype=np.uint8)


# -------------------------------------------------------------------------------------------------- ratings


@pytest.mark.parametrize(
    "ratings",
    [
        np.array([0.0, 2.0]),
        np.array([True, False]),
        [1, RatingFailure("key", "timeout", "no answer in 120 s", 3)],
        [1, None],
        ["1", "2"],
    ],
)
def test_only_integers_are_ratings(ratings):
    learner = state_learner()
    with pytest.raises(TypeError, match="ratings must be integers"):
        learner.add_ratings(rated(2)[0], ratings)
    with pytest.raises(ValueError, match="no ratings have been added"):
        learner.train()


@pytest.mark.parametrize("ratings", [[0, 3], [-1, 0], [[0, 1]]])
def test_ratings_off_the_scale_are_refused(ratings):
    with pytest.raises(ValueError, match="levels from 0 to 2"):
        state_learner().add_ratings(rated(2)[0], np.array(ratings))


def test_inputs_and_ratings_must_agree():
    learner = state_learner()
    states, ratings = rated(4)
    with pytest.raises(ValueError, match="4 rated segments, but 3 ratings"):
        learner.add_ratings(states, ratings[:3])
    learner.add_ratings(states, ratings)
    with pytest.raises(ValueError, match=r"rated segments of shape \(5, 2\) cannot join \(2,\)"):
        learner.add_ratings(np.zeros((1, 5, 2), dtype=np.float32), ratings[:1])


def test_each_training_is_a_version_on_all_ratings():
    learner = state_learner()
    states, ratings = rated()
    assert learner.score(states)[1] == 0
    learner.add_ratings(states[:40], ratings[:40])
    first = learner.train()
    learner.add_ratings(states[40:], ratings[40:])
    second = learner.train()
    assert (first.version, second.version) == (1, 2)
    assert {"epochs", "loss", "accuracy"} <= second.metrics.keys()
    rewards, version = learner.score(states)
    assert version == 2 and rewards.dtype == np.float32 and rewards.shape == (60,)


def test_ratings_kept_are_copies():
    learner, other = state_learner(), state_learner()
    states, ratings = rated()
    borrowed = states.copy()
    learner.add_ratings(borrowed, ratings)
    other.add_ratings(states, ratings)
    borrowed[:] = 0.0
    learner.train(), other.train()
    assert learner.score(states)[0].tolist() == other.score(states)[0].tolist()


def test_ratings_dealt_out_anew_stand_in_for_those_added():
    learner, other = state_learner(), state_learner()
    states, ratings = rated()
    learner.add_ratings(states, ratings)
    other.add_ratings(states, ratings[::-1])
    learner.train(ratings[::-1]), other.train()
    assert learner.score(states)[0].tolist() == other.score(states)[0].tolist()
    with pytest.raises(ValueError, match="59 ratings were given for 60 segments"):
        learner.train(ratings[1:])


# -------------------------------------------------------------------------------------------------- frames


def test_cached_frames_are_rescored_with_the_newest_version():
    learner = frame_learner()
    frames = frames_of(50)
    learner.cache_frames(100, frames[:30])
    learner.cache_frames(130, frames[30:])
    learner.add_ratings(frames[:20], np.arange(20) % 3)
    learner.train()
    relabelled = learner.relabel()
    assert relabelled.indices.tolist() == list(range(100, 150))
    assert relabelled.rewards.tobytes() == learner.score(frames)[0].tobytes()
    assert relabelled.rewards.any() and relabelled.version == 1
    assert learner.relabel(148).indices.tolist() == [148, 149]


def test_segments_of_frames_are_rated_and_single_frames_scored():
    learner = frame_learner()
    frames = frames_of(40)
    learner.add_ratings(frames.reshape(20, 2, PX, PX, 3), np.arange(20) % 3)
    learner.train()
    assert learner.score(frames)[0].shape == (40,)


def test_a_list_of_arrays_counts_as_one():
    learner = frame_learner()
    frames = frames_of(10)
    learner.cache_frames(5, [frames[:4], frames[4:]])
    learner.add_ratings(frames, np.arange(10) % 3)
    learner.train()
    assert learner.relabel().indices.tolist() == list(range(5, 15))
    assert learner.score([frames[:3], frames[3:]])[0].tolist() == learner.score(frames)[0].tolist()


def test_frames_beyond_the_memory_are_not_among_the_relabelled():
    learner = frame_learner(frame_cache_gb=8 * FRAME_BYTES / 1e9)
    for first_index in (0, 4, 8):
        learner.cache_frames(first_index, frames_of(4))
    assert learner.relabel().indices.tolist() == list(range(4, 12))


def test_no_memory_for_frames_means_none_cached():
    learner = frame_learner(frame_cache_gb=0.0)
    learner.cache_frames(0, frames_of(3))
    relabelled = learner.relabel()
    assert len(relabelled.indices) == len(relabelled.rewards) == 0


def test_steps_that_the_replay_forgot_are_forgotten_here():
    cache = FrameCache(100 * FRAME_BYTES)
    for first_index in (0, 4, 8):
        cache.add(first_index, frames_of(4))
    cache.drop_before(5)
    # The block of steps 4 to 7 ends at 7, so it is still needed.
    assert [indices.tolist() for indices, _, _ in cache.groups(100)] == [[4, 5, 6, 7, 8, 9, 10, 11]]
    assert cache.nbytes == 8 * FRAME_BYTES


def test_older_steps_never_push_out_newer_ones():
    cache = FrameCache(8 * FRAME_BYTES)
    for first_index in (8, 4, 0):
        cache.add(first_index, frames_of(4))
    assert np.concatenate([indices for indices, _, _ in cache.groups(1)]).tolist() == [4, 5, 6, 7, 8, 9, 10, 11]


def test_a_block_is_replaced_by_one_with_the_same_first_step():
    cache, frames = FrameCache(8 * FRAME_BYTES), frames_of(8)
    cache.add(0, frames[:4])
    cache.add(0, frames[4:])
    ((indices, held, _),) = cache.groups(100)
    assert indices.tolist() == [0, 1, 2, 3] and np.array_equal(held, frames[4:])
    assert cache.nbytes == 4 * FRAME_BYTES


def test_groups_hold_whole_blocks_in_order():
    cache, frames = FrameCache(100 * FRAME_BYTES), frames_of(10)
    for first_index in (6, 0, 3):
        cache.add(first_index, frames[first_index : first_index + 3])
    groups = list(cache.groups(4))
    assert [indices.tolist() for indices, _, _ in groups] == [[0, 1, 2, 3, 4, 5], [6, 7, 8]]
    assert np.array_equal(np.concatenate([held for _, held, _ in groups]), frames[:9])


# -------------------------------------------------------------------------------------------------- stop and resume


def test_a_resumed_learner_equals_one_that_went_on(tmp_path):
    states, ratings = rated()
    learner = state_learner()
    learner.add_ratings(states[:40], ratings[:40])
    learner.train()
    torch.save(learner.state(), tmp_path / "learner.pt")

    resumed = state_learner(seed=7)
    resumed.add_ratings(states[:40], ratings[:40])
    resumed.set_state(torch.load(tmp_path / "learner.pt", weights_only=True))
    for each in (learner, resumed):
        each.add_ratings(states[40:], ratings[40:])
        each.train()
    weights, version = learner.publish()
    resumed_weights, resumed_version = resumed.publish()
    assert version == resumed_version == 2
    assert weights.keys() == resumed_weights.keys()
    assert all(np.array_equal(weights[name], resumed_weights[name]) for name in weights)


def test_a_missing_gpu_is_named(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(RuntimeError, match="num_gpus 1: torch sees no GPU"):
        state_learner(num_gpus=1)
