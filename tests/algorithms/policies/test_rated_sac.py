"""RatedSAC fed from outside, as the online loop feeds it. No Ray runs here."""

import logging

import numpy as np
import pytest
import ray
import torch

from algorithms.actor_network import SquashedGaussianActor
from algorithms.episodes import EpisodeChunk, Scene
from algorithms.policies import RatedSAC, build_rated_sac
from algorithms.policies.rated_sac import rated_sac_config
from algorithms.policies.sac_learner import METRICS
from algorithms.policy_settings import SACSettings

EPISODE_STEPS = 10

# Networks this small are slower on several threads, and much slower where cores are shared.
torch.set_num_threads(1)


def settings(**overrides):
    small = {
        "hidden": (32, 32),
        "batch_size": 64,
        "replay_capacity": 2000,
        "actor_learning_rate": 3e-3,
        "critic_learning_rate": 3e-3,
        "temperature_learning_rate": 3e-3,
        "discount": 0.9,
        "tau": 0.02,
        "target_update_interval": 1,
    }
    return SACSettings(**small | overrides)


def build(seed=0, **overrides):
    return build_rated_sac(settings(**overrides), observation_size=2, action_size=1, seed=seed)


def reach_episode(number, actor, rng, noise=None, terminated=False):
    """Move a dot along a line to a goal; the observation is (dot, goal). Random actions without an actor."""
    dot, goal = rng.uniform(-1.0, 1.0, size=2)
    observations, actions = [(dot, goal)], []
    for _ in range(EPISODE_STEPS):
        if actor is None:
            action = rng.uniform(-1.0, 1.0)
        else:
            action = actor.act(torch.tensor([[dot, goal]], dtype=torch.float32), noise).item()
        dot = float(np.clip(dot + 0.3 * action, -1.0, 1.0))
        observations.append((dot, goal))
        actions.append([action])
    observations = np.array(observations, dtype=np.float32)
    return EpisodeChunk(
        episode_id=f"episode{number:05d}",
        first_step=0,
        observations=observations,
        actions=np.array(actions, dtype=np.float32),
        env_rewards=np.full(EPISODE_STEPS, np.nan, dtype=np.float32),
        successes=np.zeros(EPISODE_STEPS, dtype=bool),
        terminated=terminated,
        truncated=not terminated,
        frame_states=observations[:, :1],
        scene=Scene({}),
    )


def distance(chunk):
    return np.abs(chunk.observations[1:, 0] - chunk.observations[1:, 1])


def acting(algo):
    weights = algo.actor_weights()
    return SquashedGaussianActor.from_numpy(weights)


def run(algo, episodes, acts=True):
    """Collect and learn, an update a step. The simulator's reward is not a number: learning from it would show."""
    noise = torch.Generator().manual_seed(0)
    for number in episodes:
        actor = acting(algo) if acts else None
        chunk = reach_episode(number, actor, np.random.default_rng(number), noise)
        algo.add_chunk(chunk, -distance(chunk), version=1)
        metrics = algo.update(EPISODE_STEPS)
    return metrics


def final_distance(algo):
    actor = acting(algo)
    chunks = [reach_episode(0, actor, np.random.default_rng([7, start])) for start in range(50)]
    return np.mean([distance(chunk)[-1] for chunk in chunks])


def everything(algo):
    """All that learning depends on, as name to bytes."""
    learner = algo.learner_group.get_state()["learner"]
    flat = {}
    for name, array in learner["rl_module"]["default_policy"].items():
        flat[name] = np.asarray(array).tobytes()
    for name, optimizer in learner["optimizer"].items():
        for index, moments in optimizer["state"]["state"].items():
            flat |= {f"{name}/{index}/{key}": np.asarray(value).tobytes() for key, value in moments.items()}
    flat |= {f"replay/{name}": array.tobytes() for name, array in algo.replay.state().items()}
    return flat


@pytest.fixture(scope="module")
def trained():
    algo = build()
    metrics = run(algo, range(150))
    return algo, metrics


def test_a_toy_task_is_solved(trained):
    algo, _ = trained
    assert final_distance(build()) > 0.3
    assert final_distance(algo) < 0.1


def test_no_ray_is_started_for_it(trained):
    assert not ray.is_initialized()


def test_with_a_gpu_the_learner_is_an_actor_that_ray_places():
    with_gpu, without = (rated_sac_config(settings(num_gpus=gpus), 2, 1, seed=0) for gpus in (0.5, 0.0))
    assert (with_gpu.num_learners, with_gpu.num_gpus_per_learner) == (1, 0.5)
    assert (without.num_learners, without.num_gpus_per_learner) == (0, 0.0)
    placed = rated_sac_config(settings(num_gpus=1.0, accelerator_type="L4", resources={"fast": 1.0}), 2, 1, seed=0)
    assert placed.custom_resources_per_learner == {"fast": 1.0, "accelerator_type:L4": 0.001}


def test_metrics_are_named_and_finite(trained):
    _, metrics = trained
    assert set(metrics) == set(METRICS)
    assert all(np.isfinite(value) for value in metrics.values())


def test_building_says_nothing(caplog, capfd):
    with caplog.at_level(logging.INFO):
        build()
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert capfd.readouterr() == ("", "")


def test_the_seed_decides_everything():
    first, again, other = build(seed=3), build(seed=3), build(seed=4)
    torch.manual_seed(123)  # What others do to torch's global generator has no part in it.
    for algo in (first, again, other):
        run(algo, range(8), acts=False)
    assert everything(first) == everything(again)
    assert first.actor_weights()["head.weight"].tobytes() != other.actor_weights()["head.weight"].tobytes()


def test_building_leaves_global_generators_alone():
    # Another test of this process may have let RLlib change it.
    torch.use_deterministic_algorithms(False)
    torch.manual_seed(5)
    np.random.seed(5)
    before = torch.random.get_rng_state(), np.random.get_state()[1]
    build(seed=1)
    assert torch.equal(torch.random.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])
    assert not torch.are_deterministic_algorithms_enabled()


def test_updates_may_be_asked_in_one_call_or_in_many():
    one, many = build(seed=3), build(seed=3)
    for algo in (one, many):
        chunk = reach_episode(0, None, np.random.default_rng(0))
        algo.add_chunk(chunk, -distance(chunk), version=1)
    means = one.update(70)
    parts = [many.update(count) for count in (1, 5, 64)]
    assert everything(one) == everything(many)
    expected = (parts[0]["q_mean"] + 5 * parts[1]["q_mean"] + 64 * parts[2]["q_mean"]) / 70
    assert means["q_mean"] == pytest.approx(expected, abs=1e-5)


def test_a_restored_checkpoint_goes_on_bit_for_bit(tmp_path):
    never_stopped, stopped = build(seed=5, target_update_interval=3), build(seed=5, target_update_interval=3)
    for algo in (never_stopped, stopped):
        run(algo, range(8))
    stopped.save_to_path(tmp_path / "checkpoint")
    rebuilt = build(seed=77, target_update_interval=3)
    run(rebuilt, range(20, 29))
    rebuilt.restore_from_path(tmp_path / "checkpoint")
    loaded = RatedSAC.from_checkpoint(tmp_path / "checkpoint")
    handed_over = build(seed=78, target_update_interval=3)
    run(handed_over, range(20, 29))
    handed_over.set_state(loaded.get_state())
    for algo in (never_stopped, rebuilt, loaded, handed_over):
        algo.relabel(algo.replay.indices, np.linspace(-1.0, 0.0, len(algo.replay)), version=2)
        run(algo, range(8, 16))
        algo.reset_critic()
        algo.update(7)
    assert everything(rebuilt) == everything(never_stopped)
    assert everything(loaded) == everything(never_stopped)
    assert everything(handed_over) == everything(never_stopped)
    assert loaded.config.hidden == (32, 32)


def test_a_policy_that_takes_over_a_checkpoint_keeps_its_own_step_sizes(tmp_path):
    algo = build(seed=5)
    run(algo, range(8))
    algo.save_to_path(tmp_path / "checkpoint")
    standing = build(seed=5, actor_learning_rate=1e-12)
    standing.restore_from_path(tmp_path / "checkpoint")
    before = standing.actor_weights()
    for one in (algo, standing):
        one.update(20)
    moved = [np.abs(one.actor_weights()[name] - before[name]).max() for one in (algo, standing) for name in before]
    assert max(moved[: len(before)]) > 1e-3 and max(moved[len(before) :]) < 1e-6


def test_a_state_from_another_kind_of_device_goes_on_with_new_noise():
    algo = build(seed=5)
    run(algo, range(3))
    state = algo.get_state()
    state["learner_group"]["learner"]["progress_of_learning"]["noise"] = np.zeros(16, np.uint8)  # As long as a GPU's.
    moved, again = build(seed=5), build(seed=5)
    for other in (moved, again):
        other.set_state(state)
        assert everything(other) == everything(algo)
        other.update(3)
    assert everything(moved) == everything(again)
    algo.update(3)
    assert everything(moved) != everything(algo)


@pytest.mark.parametrize(("target_entropy", "rises"), [(2.0, True), (-6.0, False)])
def test_the_temperature_moves_the_entropy_towards_its_target(target_entropy, rises):
    # One squashed dimension has an entropy of log 2 = 0.69 at most: one target is out of reach, the other long met.
    algo = build(target_entropy=target_entropy, initial_temperature=0.5)
    metrics = run(algo, range(20), acts=False)
    assert (metrics["alpha"] > 0.5) == rises


def test_automatic_target_entropy_is_minus_the_action_dimensions():
    algo = build()
    assert algo.config.target_entropy_of(algo.config.action_space) == -1.0


def test_a_reset_critic_starts_anew_and_the_actor_stays():
    algo = build()
    run(algo, range(5), acts=False)
    before = everything(algo)
    algo.reset_critic()
    after = everything(algo)
    changed = {name for name in before if after.get(name) != before[name]}
    weights = {f"{kind}.{layer}" for kind in ("weights", "biases") for layer in "012"}
    assert {name for name in changed if not name.startswith("default_policy_critic")} == {
        f"{net}.{name}" for net in ("critic", "target_critic") for name in weights
    }
    assert not any(name.startswith("default_policy_critic") for name in after)
    for layer in "012":
        assert after[f"critic.weights.{layer}"] == after[f"target_critic.weights.{layer}"]
    assert np.isfinite(algo.update(5)["critic_loss"])


@pytest.mark.parametrize(
    ("terminated", "termination", "expected"), [(True, "ends", 1.0), (False, "ends", 2.0), (True, "stays", 2.0)]
)
def test_values_stop_at_a_termination_but_not_at_a_time_limit(terminated, termination, expected):
    # The one step there is has reward 1 and leads to where it started: it is worth 1 if that terminates, and
    # 1 + 0.5 + 0.25 + ... = 2 if only the time was up, or if one that is there stays.
    algo = build(
        termination=termination, discount=0.5, tau=0.2, initial_temperature=1e-6, temperature_learning_rate=1e-9
    )
    here = np.zeros((2, 2), np.float32)
    step = EpisodeChunk(
        episode_id="one step",
        first_step=0,
        observations=here,
        actions=np.zeros((1, 1), np.float32),
        env_rewards=np.zeros(1, np.float32),
        successes=np.zeros(1, bool),
        terminated=terminated,
        truncated=not terminated,
        frame_states=here[:, :1],
        scene=Scene({}),
    )
    algo.add_chunk(step, np.ones(1), version=1)
    algo.update(250)
    assert algo.update(20)["q_mean"] == pytest.approx(expected, abs=0.1)


def test_observations_are_normalised_in_actor_and_critics_alike():
    plain, scaled = build(seed=2), build(seed=2)
    shift, scale = np.array([3.0, -1.0], np.float32), np.array([0.5, 2.0], np.float32)
    scaled.set_observation_normalisation(shift, scale)
    chunk = reach_episode(0, None, np.random.default_rng(0))
    plain.add_chunk(chunk, -distance(chunk), version=1)
    moved = EpisodeChunk(**vars(chunk) | {"observations": chunk.observations / scale + shift})
    scaled.add_chunk(moved, -distance(chunk), version=1)
    expected, metrics = plain.update(20), scaled.update(20)
    assert metrics == pytest.approx(expected, abs=1e-4)
    np.testing.assert_array_equal(scaled.actor_weights()["obs_shift"], shift)
    np.testing.assert_array_equal(scaled.actor_weights()["obs_scale"], scale)


def test_the_target_interval_counts_updates_across_calls():
    algo = build(tau=1.0, target_update_interval=4)
    chunk = reach_episode(0, None, np.random.default_rng(0))
    algo.add_chunk(chunk, -distance(chunk), version=1)

    def targets_are_level():
        state = algo.learner_group.get_state()["learner"]["rl_module"]["default_policy"]
        return np.array_equal(state["critic.weights.0"], state["target_critic.weights.0"])

    levels = []
    for _ in range(8):
        algo.update(1)
        levels.append(targets_are_level())
    assert levels == [False, False, False, True] * 2


def test_updating_an_empty_replay_is_refused():
    with pytest.raises(ValueError, match="the replay is empty"):
        build().update(1)


def test_rewards_that_are_no_numbers_are_reported():
    algo = build()
    chunk = reach_episode(0, None, np.random.default_rng(0))
    algo.add_chunk(chunk, np.full(EPISODE_STEPS, np.nan), version=1)
    with pytest.raises(FloatingPointError, match="losses are no longer finite"):
        algo.update(3)


def test_train_without_an_environment_says_what_to_do():
    with pytest.raises(ValueError, match="feed it by add_chunk"):
        build().train()
