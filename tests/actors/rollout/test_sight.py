"""Workers whose policies see pictures: what is kept of them, and that actions follow from what was seen."""

import numpy as np
import pytest
import torch

from actors.rollout.settings import RolloutSettings
from actors.rollout.worker import RolloutWorker
from actors.worlds.metaworld.settings import MetaWorldTask
from algorithms.frame_codec import decode
from algorithms.images import reduce_image
from algorithms.pixel_frames import FrameStack, PixelShape
from algorithms.pixel_networks import PixelActor
from tests.actors.rollout.test_periods import TASK, collect_period, contents, episodes_in

SHAPE = PixelShape(20, 2, ((4, 3, 2), (4, 3, 2)), 8, random_shift_px=0, sees_state=False)
ROLLOUT = RolloutSettings(envs_per_worker=2, chunk_agent_steps=10, period_agent_steps=25)


def make_worker(pixels=SHAPE, task=TASK):
    return RolloutWorker(task, ROLLOUT, seed=0, pixels=pixels)


def decided(state_size=0, action_size=1):
    """Weights of an actor that hardly draws, and whose action is far from the same for every picture."""
    torch.manual_seed(3)
    actor = PixelActor(SHAPE, state_size, action_size, hidden=(16,))
    seen = np.concatenate([chunk.pixels for chunk in make_worker().collect(None)[0].chunks])
    stacks = torch.from_numpy(np.concatenate([seen, seen], axis=-1))
    with torch.no_grad():
        actor.gaussian.head.weight[action_size:] = 0.0
        actor.gaussian.head.bias[action_size:] = -1e3
        features = actor.features(actor.encoder(stacks), torch.zeros(len(stacks), state_size))
        mean, _ = actor.gaussian.distribution_parameters(features)
        actor.gaussian.head.weight[:action_size] /= mean.std(dim=0)[:, None]
        actor.gaussian.head.bias[:action_size] -= mean.mean(dim=0)
        actor.gaussian.head.bias[:action_size] /= mean.std(dim=0)
    return actor.numpy_weights()


@pytest.fixture(scope="module")
def shares():
    return collect_period(make_worker())


def test_what_is_seen_changes_nothing_else(shares):
    without = collect_period(make_worker(pixels=None))
    assert contents(shares) == contents(without)
    assert all(chunk.pixels is None for share in without for chunk in share.chunks)


def test_pixels_are_the_frames_made_small_one_for_each_observation(shares):
    for share in shares:
        for chunk in share.chunks:
            assert chunk.pixels.shape == (len(chunk) + 1, 20, 20, 3) and chunk.pixels.dtype == np.uint8
            np.testing.assert_array_equal(chunk.pixels, reduce_image(decode(chunk.frames), 20))


def test_frames_for_the_reward_model_are_as_without():
    (_, with_pixels), (_, without) = (make_worker(pixels).collect(None, render_px=10) for pixels in (SHAPE, None))
    for one, other in zip(with_pixels, without, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("state_size", [0, 1])
def test_actions_follow_from_the_latest_frames_of_the_episode(state_size):
    weights = decided(state_size)
    actor, actions = PixelActor.from_numpy(weights), []
    for episodes in episodes_in(collect_period(make_worker(), weights)).values():
        for chunks in episodes.values():
            stack = FrameStack(2)
            for chunk in chunks:
                for step, action in enumerate(chunk.actions):
                    if step or not chunk.first_step:
                        stack.push(chunk.pixels[step])
                    state = torch.from_numpy(chunk.observations[step : step + 1, :state_size])
                    likely = actor.act(torch.from_numpy(stack.stacked()[None]), state)
                    np.testing.assert_allclose(action, likely[0], atol=0.1)
                    actions.append(action)
                stack.push(chunk.pixels[-1])
    assert np.std(actions) > 0.2


def test_evaluation_sees_what_collecting_sees_and_is_repeatable():
    weights = decided()
    one, other = make_worker(), make_worker()
    other.collect(weights)
    together = one.evaluate(weights, num_episodes=6, seed=5)
    shared = [
        *other.evaluate(weights, num_episodes=3, seed=5),
        *one.evaluate(weights, num_episodes=3, seed=5, first_episode=3),
    ]
    assert together == shared
    assert len({result.env_return for result in together}) > 1
    assert one.evaluate(None, num_episodes=2, seed=5) == make_worker(None).evaluate(None, num_episodes=2, seed=5)


def test_a_worker_that_lost_its_period_collects_the_same_again():
    weights = decided()
    first, resumed = make_worker(), make_worker()
    collect_period(first, weights)
    resumed.set_state(first.state())
    one, other = collect_period(first, weights), collect_period(resumed, weights)
    assert contents(one) == contents(other)
    for mine, its in zip(one, other, strict=True):
        for chunk, same in zip(mine.chunks, its.chunks, strict=True):
            np.testing.assert_array_equal(chunk.pixels, same.pixels)


def test_pictures_of_metaworld_are_those_that_state_draws_again():
    task = MetaWorldTask(
        name="drawer_open",
        env_id="drawer-open-v3",
        instruction="open the drawer",
        focus="the drawer",
        image_px=40,
        episode_env_steps=8,
    )
    worker = RolloutWorker(task, RolloutSettings(envs_per_worker=2, chunk_agent_steps=4), seed=0, pixels=SHAPE)
    share, frames = worker.collect(decided(39, 4), render_px=10)
    for chunk, small in zip(share.chunks, frames, strict=True):
        np.testing.assert_array_equal(chunk.pixels, worker.render_reduced(chunk.scene, chunk.frame_states, 20))
        np.testing.assert_array_equal(small, worker.render_reduced(chunk.scene, chunk.frame_states[1:], 10))
        assert chunk.frames is None
        assert len({frame.tobytes() for frame in chunk.pixels}) > 1
    assert len(worker.evaluate(decided(39, 4), num_episodes=1, seed=0)) == 1
    worker.close()
