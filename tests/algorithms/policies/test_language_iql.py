"""LanguageIQL on small recorded data: it learns from rewards what cloning cannot. No Ray runs here, save at the end."""

import numpy as np
import pytest
import ray
import torch

from algorithms.language_actor import LanguageActor
from algorithms.language_networks import PolicyShape
from algorithms.offline_settings import IQLSettings, PolicyNetworkSettings
from algorithms.policies import LanguageIQL, LanguageIQLConfig, build_language_iql
from algorithms.policies.iql_learner import METRICS
from algorithms.policies.iql_module import shape_of, spaces_of
from algorithms.transitions import Transitions, join_episodes
from tests.fakes import corridors

# Networks this small are slower on several threads, and much slower where cores are shared.
torch.set_num_threads(1)

NETWORK = PolicyNetworkSettings(hidden=(64,), instruction_size=16)


def settings(**overrides):
    small = {
        "network": NETWORK,
        "learning_rate": 3e-3,
        "weight_decay": 0.0,
        "tau": 0.05,
        "discount": 0.9,
        "beta": 20.0,
        "expectile": 0.9,
        "batch_size": 128,
    }
    return IQLSettings(**small | overrides)


@pytest.fixture(scope="module")
def data():
    return corridors.mixed_data(num_episodes=1500)


def build(data: Transitions, shape=corridors.SHAPE, seed=0, **overrides):
    algo = build_language_iql(settings(**overrides), shape, seed)
    algo.set_transitions(data)
    return algo


def acting(algo, shape=corridors.SHAPE):
    actor = LanguageActor(shape, algo.config.network)
    actor.load_numpy(algo.actor_weights())
    return actor


def everything(algo):
    """All that learning depends on, as name to bytes."""
    state = algo.get_state()
    learner = state["learner_group"]["learner"]
    flat = {name: np.asarray(array).tobytes() for name, array in learner["rl_module"]["default_policy"].items()}
    for name, optimizer in learner["optimizer"].items():
        for index, moments in optimizer["state"]["state"].items():
            flat |= {f"{name}/{index}/{key}": np.asarray(value).tobytes() for key, value in moments.items()}
    return flat | {"position": str(state["language_iql_sampling"])}


def test_mixed_data_is_solved_by_rewards_and_not_by_cloning(data):
    learned = build(data)
    learned.update(700)
    assert corridors.success(acting(learned)) >= 0.95
    cloned = build(data, actor_loss="cloning")
    cloned.update(250)
    assert corridors.success(acting(cloned)) < 0.7


def test_rewards_that_say_nothing_teach_nothing(data):
    algo = build(data.with_rewards(np.zeros(len(data))))
    metrics = algo.update(200)
    assert corridors.success(acting(algo)) < 0.7
    assert set(metrics) == set(METRICS) and abs(metrics["value_mean"]) < 0.1


def continuous_data(good_reward):
    """One state, two instructions; four actions of ten are the good one, 0.5 or -0.5 as instructed."""
    rng, episodes = np.random.default_rng(0), []
    for number in range(400):
        asked, good = number % 2, rng.random() < 0.4
        action = (0.5 if asked else -0.5) * (1.0 if good else -1.0) + rng.normal(0.0, 0.05)
        episodes.append(
            {
                "observations": np.zeros((2, 1), np.float32),
                "actions": np.array([[action]], np.float32),
                "rewards": np.array([good_reward * good]),
                "terminated": True,
                "instruction": asked,
            }
        )
    return join_episodes(episodes, np.array([[1.0, 0.0], [0.0, 1.0]], np.float32))


def test_continuous_actions_and_sentence_embeddings_use_the_same_losses():
    shape = PolicyShape("vector", (1,), 0, 0, 2, 0, 1)
    algo = build(continuous_data(1.0), shape, beta=5.0)
    algo.update(200)
    seen, asked = torch.zeros(2, 1, 1), torch.eye(2)
    assert acting(algo, shape).act(seen, asked)[:, 0].tolist() == pytest.approx([-0.5, 0.5], abs=0.15)


@pytest.mark.parametrize(("terminated", "expected"), [(True, 1.0), (False, 2.0)])
def test_values_stop_at_a_termination_but_not_at_a_time_limit(terminated, expected):
    # The one step there is has reward 1 and leads to where it started: it is worth 1 if that terminates, and
    # 1 + 0.5 + 0.25 + ... = 2 if only the time was up.
    step = {
        "observations": np.zeros((2, 10), np.float32),
        "actions": np.array([0]),
        "rewards": np.array([1.0]),
        "terminated": terminated,
        "instruction": 0,
    }
    algo = build(join_episodes([step], corridors.ENCODED), discount=0.5, tau=0.2, batch_size=8, learning_rate=5e-3)
    algo.update(200)
    assert algo.update(20)["q_mean"] == pytest.approx(expected, abs=0.1)


def test_an_action_without_a_label_is_worth_what_the_others_say():
    # Three equal actions, rewards 1, 1 and unknown: worth 1, where a failure counted as 0 would give two thirds.
    step = {"observations": np.zeros((2, 10), np.float32), "actions": np.array([0]), "terminated": True}
    steps = [step | {"rewards": np.array([reward]), "instruction": 0} for reward in (1.0, 1.0, np.nan)]
    algo = build(join_episodes(steps, corridors.ENCODED), tau=0.2, batch_size=9, learning_rate=1e-2)
    algo.update(100)
    assert algo.update(20)["q_mean"] == pytest.approx(1.0, abs=0.05)


def test_the_seed_decides_everything(data):
    first, again, other = build(data, seed=3), build(data, seed=3), build(data, seed=4)
    torch.manual_seed(123)  # What others do to torch's global generator has no part in it.
    for algo in (first, again, other):
        algo.update(5)
    assert everything(first) == everything(again)
    assert first.actor_weights()["head.weight"].tobytes() != other.actor_weights()["head.weight"].tobytes()


def test_updates_may_be_asked_in_one_call_or_in_many(data):
    one, many = build(data, seed=3), build(data, seed=3)
    one.update(70)
    for count in (1, 5, 64):
        many.update(count)
    assert everything(one) == everything(many)


def test_a_restored_checkpoint_goes_on_bit_for_bit(data, tmp_path):
    never_stopped, stopped = build(data, seed=5), build(data, seed=5)
    for algo in (never_stopped, stopped):
        algo.update(20)
    stopped.save_to_path(tmp_path / "checkpoint")
    rebuilt = build(data, seed=77)
    rebuilt.update(3)
    rebuilt.restore_from_path(tmp_path / "checkpoint")
    loaded = LanguageIQL.from_checkpoint(tmp_path / "checkpoint")
    loaded.set_transitions(data)
    for algo in (never_stopped, rebuilt, loaded):
        algo.update(30)
    assert everything(rebuilt) == everything(never_stopped)
    assert everything(loaded) == everything(never_stopped)


def test_a_checkpoint_of_other_data_is_refused(data, tmp_path):
    algo = build(data)
    algo.update(1)
    algo.save_to_path(tmp_path / "checkpoint")
    with pytest.raises(ValueError, match="the data set has changed"):
        build(continuous_data(1.0)).restore_from_path(tmp_path / "checkpoint")


def test_flat_observations_are_normalised_by_the_data(data):
    shifted = Transitions(**vars(data) | {"observations": 100.0 * data.observations + 7.0})
    plain, other = build(data, seed=2), build(shifted, seed=2)
    assert other.update(20) == pytest.approx(plain.update(20), abs=1e-2)


def test_without_data_it_says_what_to_do():
    algo = build_language_iql(settings(), corridors.SHAPE, 0)
    with pytest.raises(ValueError, match="call set_transitions"):
        algo.update(1)
    with pytest.raises(ValueError, match="num_updates 0"):
        algo.update(0)


def test_labels_that_are_infinite_are_reported(data):
    algo = build(data.with_rewards(np.full(len(data), np.inf)))
    with pytest.raises(FloatingPointError, match="look at the labels"):
        algo.update(3)


def test_spaces_and_shapes_say_the_same():
    shapes = [
        PolicyShape("grid", (5, 4, 3), 11, 9, 6, 7, 7),
        PolicyShape("image", (20, 24, 3), 0, 9, 6, 7, 7),
        PolicyShape("vector", (5,), 0, 0, 12, 0, 2),
        PolicyShape("image", (20, 24, 3), 0, 9, 6, 12, 12 + 5, num_objects=5),
    ]
    for shape in shapes:
        assert shape_of(*spaces_of(shape, history=2), history=2) == shape
    observation_space, action_space = spaces_of(shapes[0], history=2)
    with pytest.raises(ValueError, match=r"first axis must be network.history, 3"):
        shape_of(observation_space, action_space, history=3)
    with pytest.raises(ValueError, match="a Dict of the Boxes 'observation' and 'instruction' is needed"):
        shape_of(action_space, action_space, history=1)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"expectile": 1.0}, "expectile"), ({"beta": 0.0}, "beta"), ({"tau": 2.0}, "tau"), ({"gamma": 1.0}, "discount")],
)
def test_a_wrong_setting_is_named(change, message):
    observation_space, action_space = spaces_of(corridors.SHAPE, 1)
    config = LanguageIQLConfig().environment(observation_space=observation_space, action_space=action_space)
    with pytest.raises(ValueError, match=message):
        config.training(**change).build_algo()


def test_no_ray_was_started_for_any_of_this():
    assert not ray.is_initialized()


@pytest.mark.slow
def test_as_any_rllib_algorithm_it_trains_and_is_judged_by_evaluation_workers(data, tmp_path):
    config = (
        LanguageIQLConfig()
        .environment(corridors.CornerEnv)
        .training(
            transitions=lambda: data, network=NETWORK, beta=20.0, expectile=0.9, lr=3e-3, gamma=0.9, tau=0.05,
            weight_decay=0.0, train_batch_size_per_learner=128, iteration_updates=400, learning_seed=0,
        )
        .evaluation(
            evaluation_num_env_runners=1, evaluation_interval=2, evaluation_duration=60,
            evaluation_duration_unit="episodes", evaluation_config={"explore": False},
        )
    )  # fmt: skip
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        algo = config.build_algo()
        algo.train()
        result = algo.train()
        assert result["evaluation"]["env_runners"]["episode_return_mean"] >= 0.9
        assert result["learners"]["__all_modules__"]["num_env_steps_trained_lifetime"] == 800 * 128
        algo.save_to_path(tmp_path / "checkpoint")
        again = LanguageIQL.from_checkpoint(tmp_path / "checkpoint")
        assert again.evaluate()["env_runners"]["episode_return_mean"] >= 0.9
        assert everything(again) == everything(algo)
        algo.stop()
        again.stop()
    finally:
        ray.shutdown()
