"""Frames that a replay keeps once: every stack it gives is the one that was seen, as a slow replay remembers it."""

import io
import itertools

import numpy as np
import pytest

from algorithms.episodes import EpisodeChunk, Scene
from algorithms.pixel_frames import FrameStack, PixelShape
from algorithms.replay import ColumnarReplay

PX = 4


def shape(frame_stack=3, px=PX):
    return PixelShape(px, frame_stack, ((4, 3, 1),), 8, random_shift_px=0, sees_state=False)


def make_replay(capacity, frame_stack=3):
    return ColumnarReplay(capacity, observation_size=1, action_size=1, pixels=shape(frame_stack))


class Episode:
    """Frames that no other episode has, and every stack of them as an actor sees it."""

    def __init__(self, name, rng, frame_stack):
        self.name, self.step, self._rng = name, 0, rng
        self.stack = FrameStack(frame_stack)
        self.frame = self._draw()
        self.stack.push(self.frame)

    def _draw(self):
        return self._rng.integers(0, 256, (PX, PX, 3), dtype=np.uint8)

    def play(self, num_steps):
        """The next steps as a chunk, and before and after each action what was seen, stacked."""
        frames, seen = [self.frame], [self.stack.stacked()]
        for _ in range(num_steps):
            self.frame = self._draw()
            self.stack.push(self.frame)
            frames.append(self.frame)
            seen.append(self.stack.stacked())
        chunk = chunk_of(self.name, self.step, np.stack(frames))
        self.step += num_steps
        return chunk, list(itertools.pairwise(seen))


def chunk_of(name, first_step, pixels):
    num_steps = len(pixels) - 1
    return EpisodeChunk(
        episode_id=name,
        first_step=first_step,
        observations=np.zeros((num_steps + 1, 1), np.float32),
        actions=np.zeros((num_steps, 1), np.float32),
        env_rewards=np.zeros(num_steps, np.float32),
        successes=np.zeros(num_steps, bool),
        terminated=False,
        truncated=False,
        frame_states=np.zeros((num_steps + 1, 0), np.float32),
        scene=Scene({}),
        pixels=pixels,
    )


def add(replay, chunk):
    # The reward says which step a sampled row is of.
    return replay.add(chunk, replay.next_index + np.arange(len(chunk)), version=1)


def stored_and_loaded(replay):
    file = io.BytesIO()
    np.savez(file, **replay.state())
    file.seek(0)
    with np.load(file, allow_pickle=False) as arrays:
        return dict(arrays)


def assert_sampled_as_seen(replay, seen, rng):
    rows = replay.sample(60, rng)
    windows = rows["pixels"]
    assert windows.dtype == np.uint8
    given = [np.concatenate(np.moveaxis(part, 1, 0), axis=-1) for part in (windows[:, :-1], windows[:, 1:])]
    expected = [
        np.stack(part) for part in zip(*(seen[index] for index in rows["learned_reward"].astype(int)), strict=True)
    ]
    np.testing.assert_array_equal(given, expected)


def test_a_stack_begins_with_copies_of_the_first_frame():
    stack, (first, second) = FrameStack(3), np.arange(2 * 12, dtype=np.uint8).reshape(2, 2, 2, 3)
    stack.push(first)
    np.testing.assert_array_equal(stack.stacked(), np.concatenate([first] * 3, axis=-1))
    stack.push(second)
    np.testing.assert_array_equal(stack.stacked(), np.concatenate([first, first, second], axis=-1))
    stack.push(second)
    stack.push(first)
    np.testing.assert_array_equal(stack.stacked(), np.concatenate([second, second, first], axis=-1))


@pytest.mark.parametrize("frame_stack", [1, 2, 3, 5])
@pytest.mark.parametrize("seed", range(4))
def test_stacks_are_those_that_were_seen_however_the_ring_turns(frame_stack, seed):
    """Three environments whose chunks alternate, episodes of any length, a ring that holds but some of them, and
    halfway through a checkpoint."""
    rng = np.random.default_rng(seed)
    replay, seen, num_episodes = make_replay(23, frame_stack), {}, 0
    playing = [None] * 3
    for turn in range(60):
        if turn == 30:
            state, replay = stored_and_loaded(replay), make_replay(23, frame_stack)
            replay.set_state(state)
        which = int(rng.integers(3))
        # An episode whose steps have all left is not gone on with: the replay does not know it any more.
        held = {episode.episode_id for episode in replay.recent_episodes(100)}
        if playing[which] is None or rng.random() < 0.3 or playing[which].name not in held:
            playing[which] = Episode(f"episode{num_episodes:03d}", rng, frame_stack)
            num_episodes += 1
        chunk, stacks = playing[which].play(int(rng.integers(1, 8)))
        seen |= dict(zip(add(replay, chunk), stacks, strict=True))
        assert_sampled_as_seen(replay, seen, rng)
    assert replay.next_index > 4 * replay.capacity and num_episodes > 10


def test_a_chunk_as_long_as_the_ring_replaces_everything():
    rng = np.random.default_rng(0)
    replay, seen = make_replay(6), {}
    for name in "ab":
        chunk, stacks = Episode(name, rng, 3).play(6)
        seen |= dict(zip(add(replay, chunk), stacks, strict=True))
    assert_sampled_as_seen(replay, seen, rng)


def test_after_a_lost_chunk_no_frame_of_before_is_seen():
    replay = make_replay(20)
    frames = np.arange(10, dtype=np.uint8)[:, None, None, None] * np.ones((PX, PX, 3), np.uint8)
    add(replay, chunk_of("a", 0, frames[:4]))
    add(replay, chunk_of("a", 6, frames[6:9]))
    rows = replay.sample(100, np.random.default_rng(0))
    windows = dict(zip(rows["learned_reward"].astype(int), rows["pixels"][..., 0, 0, 0].tolist(), strict=True))
    assert windows == {0: [0, 0, 0, 1], 1: [0, 0, 1, 2], 2: [0, 1, 2, 3], 3: [6, 6, 6, 7], 4: [6, 6, 7, 8]}


def test_each_frame_is_kept_once():
    replay, plain = make_replay(1000), ColumnarReplay(1000, 1, 1)
    chunk, _ = Episode("a", np.random.default_rng(0), 3).play(500)
    add(replay, chunk)
    add(plain, chunk)
    frame = PX * PX * 3
    # 500 frames after an action, the first one, and a number a step that says which step was before it.
    assert replay.nbytes - plain.nbytes == 501 * frame + 500 * 8
    state = replay.state()
    assert state["pixels.frame"].nbytes + state["pixels.lead"].nbytes == 501 * frame


def test_what_does_not_fit_is_refused_whole():
    replay, chunk = make_replay(20), Episode("a", np.random.default_rng(0), 3).play(4)[0]
    wrong = {"shape": chunk.pixels[:, :3], "number": chunk.pixels[:-1], "none": None}
    for pixels in wrong.values():
        with pytest.raises(ValueError, match=r"pixels have shape .*, the replay needs \(5, 4, 4, 3\)"):
            add(replay, EpisodeChunk(**vars(chunk) | {"pixels": pixels}))
    assert len(replay) == 0
    add(replay, chunk)
    state = replay.state()
    with pytest.raises(ValueError, match="differ in whether they keep pictures"):
        ColumnarReplay(20, 1, 1).set_state(state)
    with pytest.raises(ValueError, match=r"the stored frames are \(4, 4, 3\), this replay's \(6, 6, 3\)"):
        ColumnarReplay(20, 1, 1, pixels=shape(px=6)).set_state(state)


def test_features_are_kept_beside_the_steps():
    replay = make_replay(5)
    for name in "ab":
        chunk = Episode(name, np.random.default_rng(0), 3).play(3)[0]
        features = replay.next_index + np.arange(3)[:, None] * np.ones(2)
        replay.add(chunk, np.zeros(3), version=1, picture_features=features)
    np.testing.assert_array_equal(replay.stored_picture_features()[:, 0], [1, 2, 3, 4, 5])


@pytest.mark.parametrize(
    ("px", "convolutions", "left"),
    [
        (84, ((32, 8, 4), (64, 4, 2), (64, 3, 1)), 7),
        (84, ((32, 3, 2),), 41),
        (6, ((1, 3, 1), (1, 4, 1)), 1),
        (6, ((1, 3, 1), (1, 5, 1)), 0),
    ],
)
def test_what_convolutions_leave_of_a_picture(px, convolutions, left):
    assert PixelShape(px, 3, convolutions, 50, 0, False).convolved_px == left
