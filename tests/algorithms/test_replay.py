"""The replay: what it keeps, what it forgets, what it gives back."""

import io
from dataclasses import replace

import numpy as np
import pytest

from algorithms.episodes import EpisodeChunk, Scene
from algorithms.replay import ColumnarReplay


def make_chunk(episode_id="a", first_step=0, num_steps=3, offset=0.0, terminated=False, truncated=False, scene=0.0):
    """Observation t is [10 + t, -(10 + t)] plus `offset`, action t is [t / 10], frame state t is [100 + t]."""
    steps = first_step + np.arange(num_steps + 1, dtype=np.float32)
    return EpisodeChunk(
        episode_id=episode_id,
        first_step=first_step,
        observations=np.stack([10 + steps, -10 - steps], axis=1) + np.float32(offset),
        actions=steps[:-1, None] / 10,
        env_rewards=1000 + steps[:-1],
        successes=steps[:-1] == first_step + num_steps - 1,
        terminated=terminated,
        truncated=truncated,
        frame_states=100 + steps[:, None],
        scene=Scene({"body_pos": np.full((2, 3), scene, dtype=np.float32)}),
    )


def filled(capacity=8, **kwargs):
    replay = ColumnarReplay(capacity, observation_size=2, action_size=1)
    replay.add(make_chunk(**kwargs), np.array([0.1, 0.2, 0.3]), version=1)
    return replay


def test_a_chunk_is_kept_row_by_row():
    replay = filled(truncated=True)
    assert len(replay) == 3 and replay.next_index == 3
    np.testing.assert_array_equal(replay.indices, [0, 1, 2])
    np.testing.assert_array_equal(replay.next_observations(np.array([0, 2])), [[11, -11], [13, -13]])
    np.testing.assert_allclose(replay.learned_rewards(replay.indices), [0.1, 0.2, 0.3])
    np.testing.assert_array_equal(replay.env_rewards(replay.indices), [1000, 1001, 1002])
    np.testing.assert_array_equal(replay.successes(replay.indices), [False, False, True])
    np.testing.assert_array_equal(replay.reward_versions(replay.indices), [1, 1, 1])


def test_frames_are_those_after_the_action():
    scene, frame_states = filled(scene=7.0).frames_of(np.array([2, 0]))
    np.testing.assert_array_equal(frame_states, [[103], [101]])
    np.testing.assert_array_equal(scene.arrays["body_pos"], np.full((2, 3), 7.0))


def test_a_sample_holds_whole_steps_and_no_env_reward():
    replay = filled(terminated=True)
    rows = replay.sample(200, np.random.default_rng(0))
    assert set(rows) == {"index", "observation", "action", "learned_reward", "next_observation", "terminated"}
    index = rows.pop("index")
    assert all(column.dtype == np.float32 for column in rows.values())
    step = rows["observation"][:, 0] - 10
    assert index.dtype == np.int64
    np.testing.assert_array_equal(index, step)
    assert set(step) == {0, 1, 2}
    np.testing.assert_allclose(rows["action"][:, 0], step / 10)
    np.testing.assert_array_equal(rows["next_observation"][:, 0], 11 + step)
    np.testing.assert_allclose(rows["learned_reward"], 0.1 * (step + 1), rtol=1e-6)
    np.testing.assert_array_equal(rows["terminated"], step == 2)


def test_a_time_limit_is_not_a_termination():
    rows = filled(truncated=True).sample(200, np.random.default_rng(0))
    assert not rows["terminated"].any()


def test_sampling_is_uniform_and_seeded():
    replay = filled()
    first = replay.sample(3000, np.random.default_rng(1))
    again = replay.sample(3000, np.random.default_rng(1))
    other = replay.sample(3000, np.random.default_rng(2))
    np.testing.assert_array_equal(first["action"], again["action"])
    assert not np.array_equal(first["action"], other["action"])
    # Binomial(3000, 1/3) has a standard deviation of 26: five of them never fail in practice.
    assert np.abs(np.bincount((first["action"][:, 0] * 10).round().astype(int)) - 1000).max() < 130


def test_the_oldest_steps_make_room():
    replay = filled(capacity=5)
    indices = replay.add(make_chunk(first_step=3), np.array([0.4, 0.5, 0.6]), version=2)
    np.testing.assert_array_equal(indices, [3, 4, 5])
    np.testing.assert_array_equal(replay.indices, [1, 2, 3, 4, 5])
    np.testing.assert_allclose(replay.learned_rewards(replay.indices), [0.2, 0.3, 0.4, 0.5, 0.6])
    np.testing.assert_array_equal(replay.stored_next_observations()[:, 0], [12, 13, 14, 15, 16])
    assert set(replay.sample(200, np.random.default_rng(0))["action"][:, 0] * 10) == {1, 2, 3, 4, 5}
    with pytest.raises(ValueError, match="steps 0 to 2 were asked for; the replay holds 1 to 5"):
        replay.next_observations(np.array([0, 2]))


def test_the_whole_replay_is_relabelled_in_parts_after_it_wrapped():
    replay = filled(capacity=5)
    replay.add(make_chunk(first_step=3), np.zeros(3), version=1)
    for part in np.array_split(replay.indices, 2):
        replay.relabel(part, part * 10.0, version=9)
    np.testing.assert_allclose(replay.learned_rewards(np.arange(1, 6)), [10, 20, 30, 40, 50])
    np.testing.assert_array_equal(replay.reward_versions(replay.indices), 9)
    np.testing.assert_array_equal(replay.env_rewards(replay.indices), [1001, 1002, 1003, 1004, 1005])


def test_relabelling_what_is_gone_or_with_too_few_rewards_is_refused():
    replay = filled(capacity=3)
    replay.add(make_chunk(first_step=3), np.zeros(3), version=1)
    with pytest.raises(ValueError, match="the replay holds 3 to 5"):
        replay.relabel(np.array([2, 3]), np.zeros(2), version=2)
    with pytest.raises(ValueError, match="2 steps, but 1 rewards"):
        replay.relabel(np.array([3, 4]), np.zeros(1), version=2)


def test_interleaved_episodes_are_told_apart():
    replay = ColumnarReplay(100, 2, 1)
    for first_step in (0, 3):
        for name, scene in (("a", 1.0), ("b", 2.0)):
            replay.add(make_chunk(name, first_step, scene=scene), np.zeros(3), version=1)
    first, second = replay.recent_episodes(10)
    assert (first.episode_id, second.episode_id, len(first)) == ("a", "b", 6)
    np.testing.assert_array_equal(first.indices, [0, 1, 2, 6, 7, 8])
    np.testing.assert_array_equal(second.indices, [3, 4, 5, 9, 10, 11])
    scene, frame_states = replay.frames_of(second.indices)
    assert scene.arrays["body_pos"][0, 0] == 2.0
    np.testing.assert_array_equal(frame_states[:, 0], [101, 102, 103, 104, 105, 106])
    assert [episode.episode_id for episode in replay.recent_episodes(1)] == ["b"]
    with pytest.raises(ValueError, match="belong to 2 episodes"):
        replay.frames_of(np.array([2, 3]))


def test_a_scene_leaves_with_its_last_step():
    replay = ColumnarReplay(5, 2, 1)
    replay.add(make_chunk("a"), np.zeros(3), version=1)
    replay.add(make_chunk("b"), np.zeros(3), version=1)
    oldest = replay.recent_episodes(10)[0]
    assert oldest.episode_id == "a"
    np.testing.assert_array_equal(oldest.indices, [1, 2])
    bytes_with_two_scenes = replay.nbytes
    replay.add(make_chunk("c"), np.zeros(3), version=1)
    assert [episode.episode_id for episode in replay.recent_episodes(10)] == ["b", "c"]
    assert replay.nbytes == bytes_with_two_scenes
    replay.add(make_chunk("d"), np.zeros(3), version=1)
    replay.add(make_chunk("d", first_step=3), np.zeros(3), version=1)
    assert [episode.episode_id for episode in replay.recent_episodes(10)] == ["d"]
    assert replay.nbytes < bytes_with_two_scenes


def test_after_a_lost_chunk_the_rest_is_an_episode_of_its_own():
    replay = ColumnarReplay(12, 2, 1)
    replay.add(make_chunk("a"), np.zeros(3), version=1)
    replay.add(make_chunk("a", first_step=6), np.zeros(3), version=1)
    before, after = replay.recent_episodes(10)
    assert (before.episode_id, after.episode_id) == ("a", "a")
    np.testing.assert_array_equal(after.indices, [3, 4, 5])
    np.testing.assert_array_equal(replay.frames_of(after.indices)[1][:, 0], [107, 108, 109])
    # The first part leaves, and the second still goes on.
    replay.add(make_chunk("b"), np.zeros(3), version=1)
    replay.add(make_chunk("c"), np.zeros(3), version=1)
    replay.add(make_chunk("a", first_step=9), np.zeros(3), version=1)
    first, *others = replay.recent_episodes(10)
    np.testing.assert_array_equal(first.indices, [3, 4, 5, 12, 13, 14])
    assert [episode.episode_id for episode in others] == ["b", "c"]


def test_one_chunk_may_fill_the_replay():
    replay = filled(capacity=3)
    replay.add(make_chunk("b", offset=5.0), np.zeros(3), version=2)
    np.testing.assert_array_equal(replay.stored_next_observations()[:, 0], [16, 17, 18])
    assert [episode.episode_id for episode in replay.recent_episodes(10)] == ["b"]


@pytest.mark.parametrize(
    ("chunk", "rewards", "message"),
    [
        (make_chunk(first_step=2), np.zeros(3), "a chunk starts at step 2, but the next step to come is 3"),
        (make_chunk("b"), np.zeros(2), "3 steps, but 2 rewards"),
        (make_chunk("b", num_steps=9), np.zeros(9), "replay_capacity 8 is below one chunk of 9 steps"),
        (make_chunk("b", num_steps=0), np.zeros(0), "a chunk without steps"),
    ],
)
def test_a_chunk_that_does_not_fit_is_refused_whole(chunk, rewards, message):
    replay = filled()
    with pytest.raises(ValueError, match=message):
        replay.add(chunk, rewards, version=1)
    assert len(replay) == 3 and [episode.episode_id for episode in replay.recent_episodes(9)] == ["a"]


def test_a_chunk_of_another_task_is_refused():
    chunk = make_chunk("b")
    wide = EpisodeChunk(**{**vars(chunk), "observations": np.zeros((4, 3), np.float32)})
    with pytest.raises(ValueError, match="observation has size 3, the replay holds size 2"):
        filled().add(wide, np.zeros(3), version=1)
    elsewhere = EpisodeChunk(**{**vars(chunk), "scene": Scene({"site_pos": np.zeros(3, np.float32)})})
    with pytest.raises(ValueError, match="a replay holds episodes of one task"):
        filled().add(elsewhere, np.zeros(3), version=1)


def test_an_empty_replay_cannot_be_sampled():
    replay = ColumnarReplay(5, 2, 1)
    assert len(replay) == 0 and replay.recent_episodes(3) == []
    with pytest.raises(ValueError, match="the replay is empty"):
        replay.sample(1, np.random.default_rng(0))
    with pytest.raises(ValueError, match="capacity 0"):
        ColumnarReplay(0, 2, 1)


def stored_and_loaded(replay):
    """The state after a way through a file without pickles."""
    file = io.BytesIO()
    np.savez(file, **replay.state())
    file.seek(0)
    with np.load(file, allow_pickle=False) as arrays:
        return dict(arrays)


def test_a_stored_replay_goes_on_as_if_never_stopped():
    replay = ColumnarReplay(7, 2, 1)
    replay.add(make_chunk("a", scene=1.0), np.array([1, 2, 3]), version=1)
    replay.add(make_chunk("b", scene=2.0), np.array([4, 5, 6]), version=1)
    replay.add(make_chunk("a", first_step=3, scene=1.0), np.array([7, 8, 9]), version=2)
    restored = ColumnarReplay(7, 2, 1)
    restored.set_state(stored_and_loaded(replay))
    for either in (replay, restored):
        either.add(make_chunk("b", first_step=3, scene=2.0), np.array([10, 11, 12]), version=2)
    for name, array in replay.state().items():
        np.testing.assert_array_equal(restored.state()[name], array, err_msg=name)
    np.testing.assert_array_equal(restored.learned_rewards(restored.indices), [6, 7, 8, 9, 10, 11, 12])
    scene, frame_states = restored.frames_of(restored.recent_episodes(2)[1].indices)
    assert scene.arrays["body_pos"][0, 0] == 2.0
    np.testing.assert_array_equal(frame_states[:, 0], [103, 104, 105, 106])
    with pytest.raises(ValueError, match="next step to come is 6"):
        restored.add(make_chunk("b", first_step=3, scene=2.0), np.zeros(3), version=2)


def test_instructions_are_kept_by_episode_and_stored():
    replay = ColumnarReplay(7, 2, 1)
    for name, first_step, said in (("a", 0, "go to the ball"), ("b", 0, ""), ("a", 3, "go to the ball")):
        chunk = replace(make_chunk(name, first_step=first_step), instruction=said)
        replay.add(chunk, np.zeros(3), version=1)
    restored, older = ColumnarReplay(7, 2, 1), ColumnarReplay(7, 2, 1)
    restored.set_state(stored_and_loaded(replay))
    for either in (replay, restored):
        assert either.instructions(np.array([8, 3, 2])) == ["go to the ball", "", "go to the ball"]
        assert either.instructions(np.arange(0)) == []
    assert replay.nbytes - filled().nbytes >= len("go to the ball")
    with pytest.raises(ValueError, match="the replay holds 2 to 8"):
        replay.instructions(np.array([1]))
    # As written before there were any.
    state = stored_and_loaded(replay)
    del state["episode.instruction"]
    older.set_state(state)
    assert older.instructions(older.indices) == [""] * 7


def test_returns_add_up_an_episodes_rewards_and_are_unknown_without_its_beginning():
    replay = ColumnarReplay(7, 2, 1)
    replay.add(make_chunk("a"), np.zeros(3), version=1)
    replay.add(make_chunk("b"), np.zeros(3), version=1)
    np.testing.assert_array_equal(replay.returns(np.array([4, 0, 2])), [2001, 1000, 3003])
    replay.add(make_chunk("a", first_step=3), np.zeros(3), version=1)
    np.testing.assert_array_equal(replay.returns(np.array([8, 5])), [np.nan, 3003])


def test_an_episode_is_whole_until_its_beginning_leaves_and_ends_with_its_last_step():
    replay = ColumnarReplay(7, 2, 1)
    replay.add(make_chunk("a"), np.zeros(3), version=1)
    replay.add(make_chunk("b", terminated=True), np.zeros(3), version=1)
    assert [(one.whole, one.ended) for one in replay.recent_episodes(2)] == [(True, False), (True, True)]
    replay.add(make_chunk("a", first_step=3, truncated=True), np.zeros(3), version=1)
    assert [(one.whole, one.ended) for one in replay.recent_episodes(2)] == [(False, True), (True, True)]


def test_an_empty_replay_can_be_stored():
    restored = ColumnarReplay(7, 2, 1)
    restored.set_state(stored_and_loaded(ColumnarReplay(7, 2, 1)))
    assert len(restored) == 0


def test_a_state_may_move_to_a_larger_replay_but_not_to_one_that_is_too_small():
    state = stored_and_loaded(filled(capacity=3))
    larger = ColumnarReplay(10, 2, 1)
    larger.set_state(state)
    larger.add(make_chunk(first_step=3), np.zeros(3), version=1)
    assert len(larger) == 6
    with pytest.raises(ValueError, match="replay_capacity 2 is below the 3 steps to be restored"):
        ColumnarReplay(2, 2, 1).set_state(state)
    with pytest.raises(ValueError, match="the stored observation has shape"):
        ColumnarReplay(10, 3, 1).set_state(state)
