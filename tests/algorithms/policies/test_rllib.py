"""RatedSAC as any RLlib algorithm: with an environment by name, and with its learner in an actor of its own."""

import gymnasium
import numpy as np
import pytest
import ray
import torch
from ray import tune
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.env.single_agent_episode import SingleAgentEpisode

from algorithms.episodes import EpisodeChunk, Scene
from algorithms.policies import RatedSAC, RatedSACConfig
from algorithms.policies.rated_sac import chunk_of

torch.set_num_threads(1)


class Reach(gymnasium.Env):
    """Move a dot along a line to a goal within ten steps; actions are twice as wide as the policy's."""

    observation_space = gymnasium.spaces.Box(-1.0, 1.0, (2,), np.float32)
    action_space = gymnasium.spaces.Box(-2.0, 2.0, (1,), np.float32)

    def __init__(self, config=None):
        self.largest_action = 0.0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.state = self.np_random.uniform(-1.0, 1.0, size=2).astype(np.float32)
        self.steps = 0
        return self.state.copy(), {}

    def step(self, action):
        self.state[0] = np.clip(self.state[0] + 0.15 * action[0], -1.0, 1.0)
        self.steps += 1
        reward = -abs(float(self.state[0] - self.state[1]))
        return self.state.copy(), reward, False, self.steps == 10, {}


@pytest.fixture(scope="module", autouse=True)
def local_ray():
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


def small_config():
    return RatedSACConfig().training(
        hidden=(32, 32),
        actor_lr=3e-3,
        critic_lr=3e-3,
        alpha_lr=3e-3,
        initial_alpha=0.1,
        gamma=0.9,
        tau=0.02,
        train_batch_size_per_learner=64,
        replay_capacity=3000,
        num_steps_sampled_before_learning_starts=100,
    )


def test_a_named_environment_is_learned_and_its_checkpoint_goes_on(tmp_path):
    config = small_config().environment(Reach).env_runners(rollout_fragment_length=10).debugging(seed=0)
    config.reporting(min_sample_timesteps_per_iteration=500)
    algo = config.build_algo()
    first = algo.train()["env_runners"]["episode_return_mean"]
    for _ in range(2):
        result = algo.train()
    assert result["env_runners"]["episode_return_mean"] > 0.5 * first > result["env_runners"]["episode_return_min"]
    assert result["env_runners"]["num_env_steps_sampled_lifetime"] == 1500 == algo.replay.next_index
    # One update a step after the first 100, in batches of 64.
    assert result["learners"]["__all_modules__"]["num_env_steps_trained_lifetime"] == 1410 * 64
    assert np.isfinite(result["learners"][DEFAULT_MODULE_ID]["critic_loss"])
    np.testing.assert_array_equal(
        algo.replay.learned_rewards(algo.replay.indices), algo.replay.env_rewards(algo.replay.indices)
    )
    assert np.abs(algo.replay.sample(500, np.random.default_rng(0))["action"]).max() <= 1.0

    algo.save_to_path(tmp_path / "checkpoint")
    again = RatedSAC.from_checkpoint(tmp_path / "checkpoint")
    for name, array in algo.actor_weights().items():
        np.testing.assert_array_equal(again.actor_weights()[name], array)
        runner = again.env_runner.module.actor.numpy_weights()
        np.testing.assert_array_equal(runner[name], array)
    assert len(again.replay) == 1500
    assert again.train()["env_runners"]["num_env_steps_sampled_lifetime"] == 2000
    algo.stop()
    again.stop()


def test_a_remote_learner_learns_what_a_local_one_does(tmp_path):
    rng = np.random.default_rng(0)
    steps = 50
    chunk = EpisodeChunk(
        episode_id="a",
        first_step=0,
        observations=rng.normal(size=(steps + 1, 2)).astype(np.float32),
        actions=rng.uniform(-1, 1, size=(steps, 1)).astype(np.float32),
        env_rewards=np.zeros(steps, np.float32),
        successes=np.zeros(steps, bool),
        terminated=False,
        truncated=True,
        frame_states=np.zeros((steps + 1, 0), np.float32),
        scene=Scene({}),
    )
    rewards = rng.normal(size=steps)
    weights, metrics = [], []
    for num_learners in (0, 1):
        config = small_config().environment(observation_space=Reach.observation_space, action_space=Reach.action_space)
        algo = config.learners(num_learners=num_learners).training(learning_seed=3).build_algo()
        algo.set_observation_normalisation(np.array([0.1, 0.2], np.float32), np.array([1.0, 2.0], np.float32))
        algo.add_chunk(chunk, rewards, version=1)
        algo.update(70)
        algo.save_to_path(tmp_path / str(num_learners))
        algo.update(20)
        # What a local learner wrote is for a remote one too.
        algo.restore_from_path(tmp_path / "0")
        algo.reset_critic()
        metrics.append(algo.update(3))
        weights.append(algo.actor_weights())
        algo.stop()
    assert metrics[1] == pytest.approx(metrics[0], rel=1e-4, abs=1e-5)
    for name, array in weights[0].items():
        np.testing.assert_allclose(weights[1][name], array, rtol=1e-4, atol=1e-5, err_msg=name)


@pytest.mark.slow
def test_tune_runs_it_with_an_env_runner_in_an_actor(tmp_path):
    config = small_config().environment(Reach).env_runners(num_env_runners=1, rollout_fragment_length=50)
    config.reporting(min_sample_timesteps_per_iteration=200).training(critic_lr=tune.choice([1e-3]))
    tuner = tune.Tuner(
        RatedSAC,
        param_space=config,
        run_config=tune.RunConfig(
            stop={"training_iteration": 2},
            storage_path=str(tmp_path),
            verbose=0,
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=True),
        ),
    )
    (result,) = tuner.fit()
    assert result.error is None and result.metrics["env_runners"]["num_env_steps_sampled_lifetime"] == 400
    algo = RatedSAC.from_checkpoint(result.checkpoint.path)
    assert algo.config.critic_lr == 1e-3 and len(algo.replay) == 400
    algo.train()
    (acting,) = algo.env_runner_group.foreach_env_runner(
        lambda runner: runner.module.actor.numpy_weights(), local_env_runner=False
    )
    for name, array in algo.actor_weights().items():
        np.testing.assert_array_equal(acting[name], array)
    algo.stop()


def test_two_learners_are_refused():
    with pytest.raises(ValueError, match="num_learners 2: RatedSAC learns in one process"):
        small_config().environment(Reach).learners(num_learners=2).build_algo()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"critic_loss": "mae"}, "critic_loss 'mae': use 'mse' or 'huber'"),
        ({"target_update_interval": 0}, "target_update_interval 0"),
    ],
)
def test_a_wrong_setting_is_named(change, message):
    with pytest.raises(ValueError, match=message):
        small_config().environment(Reach).training(**change).build_algo()


def test_spaces_other_than_flat_boxes_are_refused():
    image = gymnasium.spaces.Box(0.0, 1.0, (8, 8, 3), np.float32)
    with pytest.raises(ValueError, match=r"observation_space .* needs a gymnasium.spaces.Box of one dimension"):
        small_config().environment(observation_space=image, action_space=Reach.action_space).build_algo()
    with pytest.raises(ValueError, match=r"action_space .* needs a gymnasium.spaces.Box of one dimension"):
        small_config().environment("CartPole-v1").build_algo()


def test_parts_of_an_rllib_episode_join_without_gap():
    episode = SingleAgentEpisode(observation_space=Reach.observation_space, action_space=Reach.action_space)
    episode.add_env_reset(np.array([0.0, 0.5], np.float32))
    for step in range(1, 4):
        episode.add_env_step(np.array([step, 0.5], np.float32), np.array([step / 10], np.float32), -float(step))
    rest = episode.cut(len_lookback_buffer=1)
    rest.add_env_step(np.array([4, 0.5], np.float32), np.array([0.4], np.float32), -4.0, terminated=True)
    first, second = chunk_of(episode.to_numpy()), chunk_of(rest.to_numpy())
    assert (first.episode_id, first.first_step, second.first_step) == (second.episode_id, 0, 3)
    np.testing.assert_array_equal(first.observations[:, 0], [0, 1, 2, 3])
    np.testing.assert_array_equal(second.observations[:, 0], [3, 4])
    np.testing.assert_allclose(first.actions[:, 0], [0.1, 0.2, 0.3])
    np.testing.assert_array_equal(second.env_rewards, [-4])
    assert not first.terminated and second.terminated and not second.truncated
