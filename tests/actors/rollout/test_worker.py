"""The rollout worker: what it hands over, and that an episode number is all it needs to go on."""

import numpy as np
import pytest
import torch

from actors.rollout.playing import EpisodeResult
from actors.rollout.settings import RolloutSettings
from actors.rollout.worker import RolloutWorker
from actors.worlds.metaworld.family import MetaWorldFamily
from actors.worlds.metaworld.settings import CameraSettings, MetaWorldTask, spec_of
from actors.worlds.world import WorldStep
from algorithms.actor_network import SquashedGaussianActor
from algorithms.images import decode_png, reduce_image

TASK = MetaWorldTask(
    name="drawer_open",
    env_id="drawer-open-v3",
    instruction="open the drawer",
    focus="the drawer",
    camera=CameraSettings(position=(0.65, 0.15, 0.7), look_at=(0.0, 0.78, 0.12)),
    image_px=56,
    action_repeat=2,
    episode_env_steps=16,
)
ROLLOUT = RolloutSettings(envs_per_worker=2, chunk_agent_steps=4)


@pytest.fixture(scope="module")
def actor_weights():
    torch.manual_seed(0)
    return SquashedGaussianActor(39, 4, (16,)).numpy_weights()


@pytest.fixture(scope="module")
def workers():
    """Two workers that tests may leave in any state; they set the episode themselves."""
    built = [RolloutWorker(TASK, ROLLOUT, seed=0) for _ in range(2)]
    yield built
    for worker in built:
        worker.close()


def collect_episode(worker, actor_weights=None):
    return [chunk for _ in range(2) for chunk in worker.collect(actor_weights)[0].chunks]


def assert_same_chunks(first, second):
    for one, other in zip(first, second, strict=True):
        assert (one.episode_id, one.first_step, one.truncated) == (other.episode_id, other.first_step, other.truncated)
        for name in ("observations", "actions", "env_rewards", "successes", "frame_states"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_chunks_have_the_promised_shapes(workers):
    workers[0].set_state({"episode": 0})
    share, frames = workers[0].collect(None)
    assert frames is None and not share.period_over
    chunks = share.chunks
    assert len(chunks) == 2
    for chunk in chunks:
        assert len(chunk) == 4
        shapes = {name: getattr(chunk, name).shape for name in ("observations", "actions", "env_rewards", "successes")}
        assert shapes == {"observations": (5, 39), "actions": (4, 4), "env_rewards": (4,), "successes": (4,)}
        assert chunk.frame_states.shape == (5, 20)
        for name in ("observations", "actions", "env_rewards", "frame_states"):
            assert getattr(chunk, name).dtype == np.float32
        assert chunk.successes.dtype == bool
        assert np.abs(chunk.actions).max() <= 1.0
    assert not np.array_equal(chunks[0].observations, chunks[1].observations)
    assert not np.array_equal(chunks[0].scene.arrays["body_pos"], chunks[1].scene.arrays["body_pos"])


def test_chunks_of_an_episode_follow_each_other(workers):
    workers[0].set_state({"episode": 3})
    chunks = [workers[0].collect(None)[0].chunks[1] for _ in range(3)]
    assert [chunk.first_step for chunk in chunks] == [0, 4, 0]
    assert [chunk.truncated for chunk in chunks] == [False, True, False]
    assert not any(chunk.terminated for chunk in chunks)
    assert chunks[0].episode_id == chunks[1].episode_id < chunks[2].episode_id
    np.testing.assert_array_equal(chunks[1].observations[0], chunks[0].observations[-1])
    np.testing.assert_array_equal(chunks[1].frame_states[0], chunks[0].frame_states[-1])
    assert not np.array_equal(chunks[2].observations[0], chunks[1].observations[-1])


def test_episode_ids_are_unique_and_sort_by_time(workers):
    workers[0].set_state({"episode": 9})
    ids = [chunk.episode_id for _ in range(2) for chunk in collect_episode(workers[0])[:2]]
    assert len(set(ids)) == 4
    assert ids == sorted(ids)


@pytest.mark.parametrize("with_policy", [False, True])
def test_equal_seeds_give_equal_bytes_and_others_do_not(workers, actor_weights, with_policy):
    weights = actor_weights if with_policy else None
    for worker in workers:
        worker.set_state({"episode": 0})
    expected = collect_episode(workers[0], weights)
    assert_same_chunks(expected, collect_episode(workers[1], weights))
    for seed, index in ((1, 0), (0, 1)):
        other = RolloutWorker(TASK, ROLLOUT, seed=seed, worker_index=index)
        chunk = other.collect(weights)[0].chunks[0]
        assert not np.array_equal(chunk.observations[0], expected[0].observations[0])
        assert not np.array_equal(chunk.actions[0], expected[0].actions[0])
        other.close()


def test_a_resumed_worker_goes_on_as_the_first_would(workers, actor_weights):
    first, resumed = workers
    first.set_state({"episode": 0})
    collect_episode(first, actor_weights)
    state = first.state()
    resumed.collect(None)
    resumed.set_state(state)
    assert_same_chunks(collect_episode(first, actor_weights), collect_episode(resumed, actor_weights))
    assert resumed.state() == first.state() == {"period": 2, "episodes": [2, 2]}


def test_state_within_an_episode_is_refused(workers):
    workers[0].set_state({"episode": 0})
    workers[0].collect(None)
    with pytest.raises(RuntimeError, match="at agent step 4 of a period"):
        workers[0].state()


def test_noise_is_new_in_each_step_environment_episode_and_worker(workers, actor_weights):
    other = RolloutWorker(TASK, ROLLOUT, seed=0, worker_index=1)
    workers[0].set_state({"episode": 0})
    chunks = [*collect_episode(workers[0], actor_weights), *collect_episode(workers[0], actor_weights)]
    chunks += other.collect(actor_weights)[0].chunks
    other.close()
    actor = SquashedGaussianActor.from_numpy(actor_weights)
    noise = []
    for chunk in chunks:
        mean, log_std = actor.distribution_parameters(torch.from_numpy(chunk.observations[:-1]))
        noise.append((np.arctanh(chunk.actions) - mean.detach().numpy()) / log_std.exp().detach().numpy())
    noise = np.concatenate(noise)
    # One draw in a few hundred may by chance look like another; repeated streams would halve the count.
    assert len(np.unique(noise.round(3))) > 0.8 * noise.size
    assert 0.8 < noise.std() < 1.2


def test_frames_show_what_each_action_led_to(workers):
    workers[0].set_state({"episode": 0})
    share, frames = workers[0].collect(None, render_px=28)
    chunks = share.chunks
    assert [frame.shape for frame in frames] == [(4, 28, 28, 3)] * 2
    for chunk, reduced in zip(chunks, frames, strict=True):
        full = np.stack([decode_png(png) for png in workers[0].render(chunk.scene, chunk.frame_states)])
        assert full.shape == (5, 56, 56, 3)
        np.testing.assert_array_equal(reduced, reduce_image(full[1:], 28))
        np.testing.assert_array_equal(reduced, workers[1].render_reduced(chunk.scene, chunk.frame_states[1:], 28))


def test_a_worker_that_draws_nothing_needs_no_opengl(monkeypatch):
    monkeypatch.setattr(MetaWorldFamily, "drawer", None)
    worker = RolloutWorker(TASK, ROLLOUT, seed=0)
    worker.collect(None)
    worker.evaluate(None, num_episodes=1, seed=0)
    worker.close()


def test_evaluation_is_repeatable_and_may_be_shared_out(workers, actor_weights):
    together = workers[0].evaluate(actor_weights, num_episodes=4, seed=5)
    shared = [
        *workers[1].evaluate(actor_weights, num_episodes=2, seed=5),
        *workers[0].evaluate(actor_weights, num_episodes=2, seed=5, first_episode=2),
    ]
    assert together == shared
    returns = [result.env_return for result in together]
    assert len(set(returns)) == 4, "starts are drawn anew for every episode"
    assert returns != [result.env_return for result in workers[0].evaluate(actor_weights, num_episodes=4, seed=6)]
    assert workers[0].evaluate(None, num_episodes=2, seed=5) == workers[1].evaluate(None, num_episodes=2, seed=5)


def test_evaluation_leaves_collection_alone(workers, actor_weights):
    for worker in workers:
        worker.set_state({"episode": 0})
        worker.collect(actor_weights)
    workers[0].evaluate(actor_weights, num_episodes=1, seed=0)
    assert_same_chunks(*(worker.collect(actor_weights)[0].chunks for worker in workers))


class ScriptedEnv:
    """Succeeds and is done at given steps, pays one a step, and remembers the actions."""

    def __init__(self, task, successes, done):
        self.task, self.successes, self.is_done, self.actions = task, successes, done, []
        self.spec = spec_of(task)

    def reset(self, seed):
        return np.zeros(39, dtype=np.float32)

    def step(self, action):
        self.actions.append(action)
        now = len(self.actions) - 1
        last = len(self.actions) == len(self.successes)
        return WorldStep(np.zeros(39, dtype=np.float32), 1.0, self.successes[now], False, last)

    def instruction(self):
        return self.task.instruction

    def solved_at_start(self):
        return False

    def done(self):
        # In each step the thing is done in the first of two repeated actions only, but for the last step.
        now, known = len(self.actions) - 1, self.is_done is not None
        return np.array([self.is_done[now], self.is_done[now] and now == len(self.is_done) - 1]) if known else None


@pytest.mark.parametrize(
    ("successes", "done", "result"),
    [
        ((False, True, False), (False, True, True), EpisodeResult(True, False, 3.0, True, True, False, 3)),
        ((False, False, True), (False, True, False), EpisodeResult(True, True, 3.0, True, False, False, 3)),
        ((False, False, False), (False, False, False), EpisodeResult(False, False, 3.0, False, False, False, 3)),
    ],
)
def test_success_and_done_at_any_step_and_at_the_last(workers, actor_weights, monkeypatch, successes, done, result):
    env = ScriptedEnv(TASK, successes, done)
    monkeypatch.setattr(workers[0], "_evaluations", {TASK.model_dump_json(): env})
    assert workers[0].evaluate(actor_weights, num_episodes=1, seed=0) == [result]
    # The most likely action, so the same for the same observation.
    np.testing.assert_array_equal(env.actions[0], env.actions[1])


def test_done_is_not_made_up_where_it_is_not_known(workers, actor_weights, monkeypatch):
    monkeypatch.setattr(workers[0], "_evaluations", {TASK.model_dump_json(): ScriptedEnv(TASK, (True,), None)})
    (result,) = workers[0].evaluate(actor_weights, num_episodes=1, seed=0)
    assert (result.success, result.done_any, result.done_last) == (True, None, None)


def test_an_evaluation_may_draw_starts_where_the_task_has_a_fixed_one():
    fixed = TASK.model_copy(update={"randomised_starts": False, "episode_env_steps": 4, "action_repeat": 2})
    worker = RolloutWorker(fixed, RolloutSettings(chunk_agent_steps=2), seed=0)

    def num_starts(*how):
        worker.evaluate(None, 1, 1, 0, *how)
        *_, world = worker._evaluations.values()
        return len(np.unique(np.stack([world.reset(seed) for seed in range(3)]), axis=0))

    assert (num_starts(False), num_starts(True), num_starts(False, 0.1)) == (1, 3, 3)
    worker.close()
