"""Which segments a feedback session rates."""

import numpy as np
import pytest

from algorithms.replay_contents import StoredEpisode
from algorithms.segments import SegmentDraw, frame_offsets
from algorithms.settings import FeedbackSettings, SegmentSettings

TRAJECTORY = SegmentSettings(kind="trajectory", num_frames=4, num_agent_steps=10)


def episodes_of(*lengths, first_index=0):
    starts = first_index + np.concatenate([[0], np.cumsum(lengths)[:-1]])
    return [
        StoredEpisode(f"episode{number}", np.arange(start, start + length))
        for number, (start, length) in enumerate(zip(starts, lengths, strict=True))
    ]


def select(episodes, num_segments, since_index=0, seed=0, **settings):
    draw = SegmentDraw(episodes, FeedbackSettings(**settings), since_index, np.random.default_rng(seed))
    return draw.draw(num_segments)


def test_what_was_drawn_is_not_drawn_later():
    draw = SegmentDraw(episodes_of(3, 4), FeedbackSettings(), 0, np.random.default_rng(0))
    drawn = [*draw.draw(4), *draw.draw(2), *draw.draw(5)]
    assert sorted(int(segment.indices[0]) for segment in drawn) == list(range(7))
    assert draw.draw(1) == []


def test_every_step_can_be_drawn_the_first_and_the_last_too():
    drawn = select(episodes_of(3, 4), 7)
    assert sorted(int(segment.indices[0]) for segment in drawn) == list(range(7))


def test_no_segment_is_drawn_twice_and_a_session_can_be_short():
    drawn = select(episodes_of(3, 4), 50)
    assert len(drawn) == 7
    assert len({int(segment.indices[0]) for segment in drawn}) == 7


def test_all_episodes_are_seen_before_any_is_seen_again():
    drawn = select(episodes_of(*[20] * 10), 25)
    seen = [segment.episode_id for segment in drawn]
    assert len(set(seen[:10])) == 10 and len(set(seen[10:20])) == 10
    assert max(seen.count(name) for name in seen) == 3


def test_times_are_uniform():
    counts = np.zeros(5)
    for seed in range(2000):
        counts[select(episodes_of(5), 1, seed=seed)[0].indices[0]] += 1
    # 400 expected for each, with a standard deviation of 18.
    assert counts.min() > 310 and counts.max() < 490


def test_only_the_latest_episodes_count():
    drawn = select(episodes_of(10, 10, 10), 20, recent_episodes=2)
    assert {segment.episode_id for segment in drawn} == {"episode1", "episode2"}


def test_newest_share_comes_from_episodes_since_the_last_session():
    episodes = episodes_of(*[50] * 20)
    drawn = select(episodes, 40, since_index=900, newest_share=0.75)
    newest = [segment for segment in drawn if segment.indices[0] >= 900]
    # 30 from the two newest episodes; the other 10 are shared among all 20.
    assert 30 <= len(newest) <= 32
    assert len({int(segment.indices[0]) for segment in drawn}) == 40


def test_newest_share_falls_back_on_all_episodes():
    assert len(select(episodes_of(50), 10, since_index=50, newest_share=1.0)) == 10


def test_frames_of_a_trajectory_reach_from_its_first_to_its_last_step():
    for length, number, expected in ((10, 4, [0, 3, 6, 9]), (3, 3, [0, 1, 2]), (1, 1, [0]), (5, 1, [4])):
        assert frame_offsets(length, number).tolist() == expected
    assert frame_offsets(2, 4).tolist() == [0, 0, 1, 1]


def test_trajectories_stay_in_their_episode_and_reach_its_end():
    drawn = select(episodes_of(9, 12, first_index=100), 10, segment=TRAJECTORY)
    # Only the second episode, steps 109 to 120, holds ten steps, at three places.
    assert {segment.episode_id for segment in drawn} == {"episode1"}
    assert sorted(segment.indices.tolist() for segment in drawn) == [
        [109, 112, 115, 118],
        [110, 113, 116, 119],
        [111, 114, 117, 120],
    ]


def test_indices_follow_an_episode_that_is_not_consecutive_in_the_replay():
    episode = StoredEpisode("interleaved", np.array([0, 1, 10, 11]))
    assert sorted(int(segment.indices[0]) for segment in select([episode], 4)) == [0, 1, 10, 11]


def test_too_short_episodes_are_an_error_that_says_so():
    with pytest.raises(ValueError, match="num_agent_steps 10: none of 2 episodes is that long"):
        select(episodes_of(9, 9), 5, segment=TRAJECTORY)


def test_same_seed_same_segments():
    first, again, other = (select(episodes_of(*[30] * 5), 8, seed=seed) for seed in (3, 3, 4))
    indices = [[int(segment.indices[0]) for segment in drawn] for drawn in (first, again, other)]
    assert indices[0] == indices[1] != indices[2]


# ------------------------------------------------------------------------------------------------ whole episodes


def test_a_whole_episode_is_one_segment_whatever_its_length():
    segment = SegmentSettings(kind="episode", num_frames=3)
    drawn = select(episodes_of(5, 2, 9), 8, segment=segment)
    assert {one.episode_id: one.indices.tolist() for one in drawn} == {
        "episode0": [0, 2, 4], "episode1": [5, 5, 6], "episode2": [7, 11, 15],
    }  # fmt: skip


def test_of_an_episodes_end_so_many_steps_count():
    segment = SegmentSettings(kind="episode", num_frames=2, last_agent_steps=3)
    drawn = select(episodes_of(5, 2), 8, segment=segment)
    assert {one.episode_id: one.indices.tolist() for one in drawn} == {"episode0": [2, 4], "episode1": [5, 6]}
    last = select(episodes_of(5), 8, segment=SegmentSettings(kind="episode"))
    assert [one.indices.tolist() for one in last] == [[4]]


def test_an_episode_that_goes_on_or_lost_its_beginning_is_not_rated_as_a_whole():
    indices = np.arange(6)
    going, cut = StoredEpisode("going", indices, ended=False), StoredEpisode("cut", indices, whole=False)
    whole, end = (SegmentSettings(kind="episode", num_frames=2, last_agent_steps=last) for last in (None, 6))
    with pytest.raises(ValueError, match="none of 2 episodes has ended and is still held whole"):
        select([going, cut], 2, segment=whole)
    assert [one.episode_id for one in select([going, cut], 2, segment=end)] == ["cut"]
    longer = SegmentSettings(kind="episode", num_frames=2, last_agent_steps=7)
    with pytest.raises(ValueError, match="none of 1 episodes"):
        select([cut], 1, segment=longer)


def test_the_newest_episodes_come_first_if_asked():
    drawn = select(episodes_of(*[5] * 20), 8, since_index=80, newest_share=0.5, segment=SegmentSettings(kind="episode"))
    assert len({one.episode_id for one in drawn}) == 8 and sum(one.indices[0] >= 80 for one in drawn) >= 4


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "episode", "num_agent_steps": 9}, "as long as its episode; leave it out, or say by last_agent_steps"),
        ({"kind": "frame", "last_agent_steps": 9}, "last_agent_steps is of segments of kind 'episode'"),
        ({"kind": "episode", "num_frames": 4, "last_agent_steps": 3}, "last_agent_steps 3 is below num_frames 4"),
    ],
)
def test_segments_that_cannot_be(settings, message):
    with pytest.raises(ValueError, match=message):
        SegmentSettings(**settings)


def test_a_session_of_episodes_needs_as_many():
    with pytest.raises(ValueError, match="recent_episodes 10 is below one session of 20"):
        FeedbackSettings(segment=SegmentSettings(kind="episode"), per_session=20, recent_episodes=10)
