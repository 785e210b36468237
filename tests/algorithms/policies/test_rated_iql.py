"""RatedIQL fed from outside, as the online loop feeds it: choices and numbers, grids and pictures, in words."""

from dataclasses import dataclass

import numpy as np
import pytest
import ray
import torch

from algorithms.acting import ACTING, InstructedActor, actor_from_numpy, unstacked
from algorithms.episodes import EpisodeChunk, Scene
from algorithms.pixel_frames import FrameStack
from algorithms.policies import RatedIQL, build_policy, build_rated_iql
from algorithms.policies.iql_learner import METRICS
from algorithms.policy_settings import OnlineIQLSettings, SACSettings

CELLS, STEPS = 5, 6
LEFT, STAY, RIGHT = range(3)
INSTRUCTIONS = ("go to the left end", "go to the right end")

# Networks this small are slower on several threads, and much slower where cores are shared.
torch.set_num_threads(1)


@dataclass(frozen=True)
class Spaces:
    """A corridor whose cells are a grid; or the same as plain numbers; or seen in pictures alone."""

    observation_size: int = CELLS
    action_size: int = 1
    num_actions: int = 3
    grid_shape: tuple | None = (1, CELLS, 1)
    num_categories: int = 2


GRID, NUMBERS = Spaces(), Spaces(grid_shape=None, num_categories=0)
CONTINUOUS = Spaces(grid_shape=None, num_categories=0, num_actions=0)


def settings(**overrides):
    small = {
        "algorithm": "iql",
        "network": {"hidden": [32], "instruction_size": 16, "channels": 8},
        "num_words": 64,
        "instruction_length": 8,
        "batch_size": 64,
        "replay_capacity": 2000,
        "learning_rate": 3e-3,
        "weight_decay": 0.0,
        "discount": 0.5,
        "tau": 0.1,
        "beta": 10.0,
        "expectile": 0.8,
    }
    return OnlineIQLSettings.model_validate(small | overrides)


def build(spaces=GRID, seed=0, **overrides):
    return build_rated_iql(settings(**overrides), spaces, "stay where you are", seed)


def picture(place, px=16):
    frame = np.zeros((px, px, 3), np.uint8)
    frame[:, 3 * place : 3 * place + 3] = 255
    return frame


def corridor(number, asked, actor, rng, noise=None, frame_stack=0, instruction=None):
    """An episode in the corridor: from the middle to the end that is asked for. Random choices without an actor."""
    text = INSTRUCTIONS[asked] if instruction is None else instruction
    place, places, actions = CELLS // 2, [CELLS // 2], []
    stack = FrameStack(frame_stack or 1)
    stack.push(picture(place))
    for _ in range(STEPS):
        if actor is None:
            action = float(rng.integers(3))
        else:
            seen = torch.from_numpy(np.eye(CELLS, dtype=np.float32)[[place]])
            stacked = torch.from_numpy(stack.stacked()[None]) if frame_stack else None
            action = actor.act(seen, [text], noise, stacked).item()
        place = int(np.clip(place + action - 1, 0, CELLS - 1))
        stack.push(picture(place))
        places.append(place)
        actions.append([action])
    return EpisodeChunk(
        episode_id=f"episode{number:05d}",
        first_step=0,
        observations=np.eye(CELLS, dtype=np.float32)[places],
        actions=np.array(actions, np.float32),
        env_rewards=np.full(STEPS, np.nan, np.float32),
        successes=np.zeros(STEPS, bool),
        terminated=False,
        truncated=True,
        frame_states=np.zeros((STEPS + 1, 0), np.float32),
        scene=Scene({}),
        pixels=np.stack([picture(place) for place in places]) if frame_stack else None,
        instruction=text if instruction is None else "",
    )


def nearness(chunk, asked):
    """[T]: 1 at the end that is asked for, 0 at the other."""
    places = chunk.observations[1:].argmax(axis=1)
    return (places if asked else CELLS - 1 - places) / (CELLS - 1)


def run(algo, episodes, acts=True, frame_stack=0, updates=STEPS):
    noise = torch.Generator().manual_seed(0)
    for number in episodes:
        actor = actor_from_numpy(algo.actor_weights()) if acts else None
        asked = number % 2
        chunk = corridor(number, asked, actor, np.random.default_rng(number), noise, frame_stack)
        algo.add_chunk(chunk, nearness(chunk, asked), version=1)
        metrics = algo.update(updates)
    return metrics


def reached(algo, frame_stack=0):
    """How near the likeliest actions come at last, for each instruction."""
    actor = actor_from_numpy(algo.actor_weights())
    chunks = [corridor(0, asked, actor, None, None, frame_stack) for asked in (0, 1)]
    return [float(nearness(chunk, asked)[-1]) for asked, chunk in enumerate(chunks)]


def everything(algo):
    """All that learning depends on, as name to bytes."""
    learner = algo.learner_group.get_state()["learner"]
    flat = {name: np.asarray(array).tobytes() for name, array in learner["rl_module"]["default_policy"].items()}
    for name, optimizer in learner["optimizer"].items():
        for index, moments in optimizer["state"]["state"].items():
            flat |= {f"{name}/{index}/{key}": np.asarray(value).tobytes() for key, value in moments.items()}
    return flat | {f"replay/{name}": array.tobytes() for name, array in algo.replay.state().items()}


@pytest.mark.parametrize("spaces", [pytest.param(GRID, marks=pytest.mark.slow), NUMBERS], ids=["grid", "numbers"])
def test_both_instructions_are_followed_from_its_own_experience(spaces):
    algo = build(spaces)
    assert min(reached(algo)) < 1.0
    run(algo, range(20), acts=False, updates=1)
    metrics = run(algo, range(20, 40), updates=20 if spaces is GRID else 8)
    assert reached(algo) == [1.0, 1.0]
    assert set(metrics) == set(METRICS) and all(map(np.isfinite, metrics.values()))
    assert not ray.is_initialized()


@pytest.mark.slow
def test_both_instructions_are_followed_by_pictures():
    algo = build(observation="pixels", image_px=16, frame_stack=2)
    run(algo, range(40), acts=False, frame_stack=2, updates=10)
    assert reached(algo, frame_stack=2) == [1.0, 1.0]


def test_pictures_are_seen_in_stacks():
    algo = build(observation="pixels", image_px=16, frame_stack=2)
    run(algo, range(2), frame_stack=2, updates=1)
    actor = actor_from_numpy(algo.actor_weights())
    assert actor.frame_stack == 2
    older, newer = np.full((16, 16, 3), 3, np.uint8), np.full((16, 16, 3), 7, np.uint8)
    stack = FrameStack(2)
    stack.push(older)
    stack.push(newer)
    frames = unstacked(torch.from_numpy(stack.stacked()[None]), 2)
    assert frames.shape == (1, 2, 16, 16, 3) and (frames[0, 0] == 3).all() and (frames[0, 1] == 7).all()


@pytest.mark.slow
def test_actions_may_be_numbers():
    algo = build(CONTINUOUS)
    for number in range(40):
        asked = number % 2
        chunk = corridor(number, asked, None, np.random.default_rng(number))
        numbers = EpisodeChunk(**vars(chunk) | {"actions": (chunk.actions - 1.0) / 2.0})
        algo.add_chunk(numbers, nearness(chunk, asked), version=1)
    algo.update(500)
    actor = actor_from_numpy(algo.actor_weights())
    seen = torch.from_numpy(np.eye(CELLS, dtype=np.float32)[[2]])
    left, right = (actor.act(seen, [text]).item() for text in INSTRUCTIONS)
    assert left < -0.2 and right > 0.2
    noise = torch.Generator().manual_seed(0)
    sampled = actor.act(seen.expand(20, -1), [INSTRUCTIONS[0]] * 20, noise)
    assert sampled.shape == (20, 1) and sampled.dtype == torch.float32 and sampled.std() > 0.01


def test_episodes_that_say_nothing_have_the_tasks_instruction():
    algo, spoken = build(), build()
    chunks = [corridor(0, 0, None, np.random.default_rng(0), instruction="stay where you are") for _ in range(2)]
    chunks[1] = EpisodeChunk(**vars(chunks[1]) | {"instruction": "Stay where you are"})
    for one, chunk in zip((algo, spoken), chunks, strict=True):
        one.add_chunk(chunk, nearness(chunk, 0), version=1)
        one.update(3)
    learned = [{name: value for name, value in everything(one).items() if "/" not in name} for one in (algo, spoken)]
    assert learned[0] == learned[1]


def test_a_restored_checkpoint_goes_on_bit_for_bit(tmp_path):
    more = {"entropy_bonus": 0.05}
    never_stopped, stopped = build(seed=5, **more), build(seed=5, **more)
    for algo in (never_stopped, stopped):
        run(algo, range(4), updates=1)
        algo.reset_critic()
    stopped.save_to_path(tmp_path / "checkpoint")
    rebuilt = build(seed=77, **more)
    run(rebuilt, range(20, 23), updates=1)
    rebuilt.restore_from_path(tmp_path / "checkpoint")
    loaded = RatedIQL.from_checkpoint(tmp_path / "checkpoint")
    for algo in (never_stopped, rebuilt, loaded):
        algo.relabel(algo.replay.indices, np.linspace(-1.0, 0.0, len(algo.replay)), version=2)
        run(algo, range(4, 6), updates=2)
        algo.reset_critic()
        algo.update(3)
    assert everything(rebuilt) == everything(never_stopped)
    assert everything(loaded) == everything(never_stopped)
    assert {name: array.tobytes() for name, array in loaded.actor_weights().items()} == {
        name: array.tobytes() for name, array in never_stopped.actor_weights().items()
    }


def test_actions_that_are_numbers_go_on_bit_for_bit_with_an_entropy_bonus(tmp_path):
    never_stopped, stopped = (build(CONTINUOUS, seed=5, entropy_bonus=0.05) for _ in range(2))
    chunk = corridor(0, 0, None, np.random.default_rng(0))
    chunk = EpisodeChunk(**vars(chunk) | {"actions": (chunk.actions - 1.0) / 2.0})
    for algo in (never_stopped, stopped):
        algo.add_chunk(chunk, nearness(chunk, 0), version=1)
        algo.update(3)
    stopped.save_to_path(tmp_path / "checkpoint")
    rebuilt = build(CONTINUOUS, seed=6, entropy_bonus=0.05)
    rebuilt.restore_from_path(tmp_path / "checkpoint")
    for algo in (never_stopped, rebuilt):
        algo.update(5)
    assert everything(rebuilt) == everything(never_stopped)


def test_a_reset_critic_starts_anew_and_the_actor_and_the_scaling_stay():
    algo = build(NUMBERS)
    algo.set_observation_normalisation(np.full(CELLS, 0.5, np.float32), np.full(CELLS, 2.0, np.float32))
    run(algo, range(3), acts=False, updates=1)
    before = everything(algo)
    algo.reset_critic()
    after = everything(algo)
    changed = {name for name in before if after.get(name) != before[name]}
    assert not any(name.startswith(("actor", "replay")) for name in changed)
    assert any(name.startswith("critic") for name in changed)
    assert not any(name.endswith((".shift", ".scale")) for name in changed)
    for name in after:
        if name.startswith("critic."):
            assert after[f"target_{name}"] == after[name]
    gathered = {name.rsplit("/", 1)[0] for name in after if name.startswith("default_policy_all")}
    assert 0 < len(gathered) < len({name.rsplit("/", 1)[0] for name in before if name.startswith("default_policy_all")})
    assert np.isfinite(algo.update(3)["critic_loss"])


def test_observations_are_normalised_for_whoever_acts():
    algo = build(NUMBERS)
    shift, scale = np.full(CELLS, 0.5, np.float32), np.full(CELLS, 2.0, np.float32)
    algo.set_observation_normalisation(shift, scale)
    weights = algo.actor_weights()
    np.testing.assert_array_equal(weights["encoder.observation.shift"], shift)
    np.testing.assert_array_equal(weights["encoder.observation.scale"], scale)


def entropy_after(**overrides):
    algo = build(NUMBERS, **overrides)
    run(algo, range(40), acts=False, updates=1)
    algo.update(110)
    actor = actor_from_numpy(algo.actor_weights())
    seen = torch.from_numpy(np.eye(CELLS, dtype=np.float32)[[2]]).expand(400, -1)
    actions = actor.act(seen, [INSTRUCTIONS[0]] * 400, torch.Generator().manual_seed(0))
    shares = np.bincount(actions.int().flatten().numpy(), minlength=3) / 400
    return -float((shares * np.log(np.maximum(shares, 1e-9))).sum())


@pytest.mark.slow
def test_the_entropy_bonus_and_the_temperature_keep_actions_open():
    plain, hot = entropy_after(), entropy_after(exploration_temperature=5.0)
    assert plain < 0.3 and hot > plain + 0.3
    assert entropy_after(entropy_bonus=2.0) > plain + 0.3


def test_choices_are_drawn_at_the_temperature_and_the_likeliest_at_none():
    weights = build(exploration_temperature=3.0).actor_weights()
    weights["head.weight"] = np.zeros_like(weights["head.weight"])
    weights["head.bias"] = 3.0 * np.log(np.array([0.2, 0.1, 0.7], np.float32))
    actor = actor_from_numpy(weights)
    seen, texts = torch.zeros(4000, CELLS), [INSTRUCTIONS[0]] * 4000
    drawn = actor.act(seen, texts, torch.Generator().manual_seed(0)).int().flatten().numpy()
    np.testing.assert_allclose(np.bincount(drawn, minlength=3) / 4000, [0.2, 0.1, 0.7], atol=0.03)
    assert (actor.act(seen, texts) == 2.0).all()


@pytest.mark.parametrize("spaces", [GRID, CONTINUOUS])
def test_an_entropy_bonus_moves_the_actor_towards_what_is_open(spaces):
    def entropy(algo):
        actor = actor_from_numpy(algo.actor_weights())._actor
        generator = torch.Generator().manual_seed(0)
        return float(actor.entropy_of(torch.rand(500, 32, generator=generator), generator).detach().mean())

    chunk = corridor(0, 0, None, np.random.default_rng(0))
    if spaces is CONTINUOUS:
        chunk = EpisodeChunk(**vars(chunk) | {"actions": (chunk.actions - 1.0) / 2.0})
    algos = [build(spaces, entropy_bonus=bonus, learning_rate=1e-2) for bonus in (0.0, 100.0)]
    for algo in algos:
        algo.add_chunk(chunk, nearness(chunk, 0), version=1)
        algo.update(8)
    assert entropy(algos[1]) > entropy(algos[0]) + 0.01


def test_what_is_read_does_not_depend_on_what_else_is():
    actor = actor_from_numpy(build().actor_weights())
    seen = torch.from_numpy(np.eye(CELLS, dtype=np.float32)[[2, 2]])
    together = [actor._reading(text).detach().numpy().tobytes() for text in INSTRUCTIONS]
    other = actor_from_numpy(build().actor_weights())
    assert other._reading(INSTRUCTIONS[1]).detach().numpy().tobytes() == together[1]
    assert actor.act(seen, INSTRUCTIONS).shape == (2, 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("one two three four five six seven eight nine", "9 words.*raise policy.instruction_length"),
        ("...---", None),
        ("", "0 words"),
    ],
)
def test_instructions_that_cannot_be_read_are_refused_and_not_cut(text, message):
    actor = actor_from_numpy(build().actor_weights())
    seen = torch.zeros(1, CELLS)
    if message is None:
        assert actor.act(seen, [text]).shape == (1, 1)
    else:
        with pytest.raises(ValueError, match=message):
            actor.act(seen, [text])


def test_the_settings_pick_the_algorithm_and_the_weights_the_actor():
    iql = build_policy(settings(), GRID, "go", 0)
    sac = build_policy(SACSettings(hidden=(8,), batch_size=4), CONTINUOUS, "go", 0)
    assert isinstance(actor_from_numpy(iql.actor_weights()), InstructedActor)
    assert ACTING not in sac.actor_weights() and actor_from_numpy(sac.actor_weights()).act(
        torch.zeros(1, CELLS)
    ).shape == (1, 1)


def test_it_is_fed_from_outside_alone():
    with pytest.raises(ValueError, match="add_chunk"):
        build().train()
    with pytest.raises(ValueError, match="the replay is empty"):
        build().update(1)
