"""RatedSAC from pictures: what moves what, that checkpoints go on bit for bit, and that it learns."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from algorithms.episodes import EpisodeChunk, Scene
from algorithms.pixel_frames import FrameStack
from algorithms.pixel_networks import PixelActor, shifted_stacks
from algorithms.policies import RatedSAC, RatedSACConfig, build_rated_sac
from algorithms.policies.sac_losses import actor_loss, critic_loss, soft_target
from algorithms.policy_settings import SACSettings
from tests.algorithms.policies.test_rated_sac import everything

EPISODE_STEPS = 10
PX = 12
SMALL = ((8, 3, 2), (8, 3, 1))

torch.set_num_threads(1)


def settings(**overrides):
    small = {
        "observation": "pixels",
        "image_px": PX,
        "frame_stack": 2,
        "convolutions": SMALL,
        "num_features": 16,
        "random_shift_px": 1,
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


def build(seed=0, state_size=2, **overrides):
    return build_rated_sac(settings(**overrides), observation_size=state_size, action_size=1, seed=seed)


def draw(dot, goal):
    """A green column where the goal is, and a red dot on it or beside it."""
    frame = np.zeros((PX, PX, 3), np.uint8)
    place = [round((x + 1.0) / 2.0 * (PX - 3)) for x in (dot, goal)]
    frame[:, place[1] : place[1] + 2, 1] = 255
    frame[PX // 2 - 1 : PX // 2 + 1, place[0] : place[0] + 2, 0] = 255
    return frame


def reach_episode(number, actor, rng, noise=None):
    """Move a dot along a line to a goal, and see it. Random actions without an actor."""
    dot, goal = rng.uniform(-1.0, 1.0, size=2)
    observations, actions, frames = [(dot, goal)], [], [draw(dot, goal)]
    stack = FrameStack(2)
    stack.push(frames[0])
    for _ in range(EPISODE_STEPS):
        if actor is None:
            action = rng.uniform(-1.0, 1.0)
        else:
            state = torch.tensor([observations[-1]], dtype=torch.float32)[:, : actor.state_size]
            action = actor.act(torch.from_numpy(stack.stacked()[None]), state, noise).item()
        dot = float(np.clip(dot + 0.3 * action, -1.0, 1.0))
        observations.append((dot, goal))
        actions.append([action])
        frames.append(draw(dot, goal))
        stack.push(frames[-1])
    observations = np.array(observations, dtype=np.float32)
    return EpisodeChunk(
        episode_id=f"episode{number:05d}",
        first_step=0,
        observations=observations,
        actions=np.array(actions, dtype=np.float32),
        env_rewards=np.full(EPISODE_STEPS, np.nan, dtype=np.float32),
        successes=np.zeros(EPISODE_STEPS, dtype=bool),
        terminated=False,
        truncated=True,
        frame_states=observations[:, :1],
        scene=Scene({}),
        pixels=np.stack(frames),
    )


def distance(chunk):
    return np.abs(chunk.observations[1:, 0] - chunk.observations[1:, 1])


def run(algo, episodes, acts=False, num_updates=EPISODE_STEPS):
    noise = torch.Generator().manual_seed(0)
    for number in episodes:
        actor = PixelActor.from_numpy(algo.actor_weights()) if acts else None
        chunk = reach_episode(number, actor, np.random.default_rng(number), noise)
        algo.add_chunk(chunk, -distance(chunk), version=1)
        metrics = algo.update(num_updates)
    return metrics


def gradients(algo, windows, state=None):
    """Each loss's gradient of every parameter, by one backward pass for each loss alone."""
    module = algo._on_learner(lambda learner: learner.module["default_policy"].unwrapped())
    config, found = algo.config, {}
    for name in ("critic", "actor", "alpha"):
        algo._on_learner(lambda learner: learner.noise_generator.manual_seed(7))
        batch = {"obs": windows, "actions": torch.full((len(windows), 1), 0.3)}
        if state is not None:
            batch |= {"state": state, "next_state": state}
        out = module.forward_train(batch)
        rewards = torch.linspace(-1.0, 1.0, len(windows))
        alpha = module.log_alpha.detach().exp()
        target = soft_target(
            rewards, torch.zeros(len(windows)), out["q_next"], out["log_prob_next"], alpha, config.gamma
        )
        losses = {
            "critic": critic_loss(out["q_predicted"], target, "mse"),
            "actor": actor_loss(out["q_fresh"], out["log_prob_fresh"], alpha),
            "alpha": module.log_alpha * 1.0,
        }
        module.zero_grad()
        losses[name].backward()
        found[name] = {
            weight: parameter.grad.clone()
            for weight, parameter in module.named_parameters()
            if parameter.grad is not None and parameter.grad.abs().sum() > 0
        }
    return found, module


def windows_of(count=6, frames=3, seed=3):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, frames, PX, PX, 3), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize("observation", ["pixels", "pixels_and_state"])
def test_the_encoder_moves_by_the_critics_loss_alone(observation):
    algo = build(observation=observation)
    state = torch.randn(6, 2, generator=torch.Generator().manual_seed(0)) if observation != "pixels" else None
    found, module = gradients(algo, windows_of(), state)
    reached = {loss: {".".join(name.split(".")[:2]) for name in names} for loss, names in found.items()}
    assert reached == {
        "critic": {"actor.encoder", "critic.features", "critic.values"},
        "actor": {"actor.features", "actor.gaussian"},
        "alpha": {"log_alpha"},
    }
    # Every weight is moved by one optimiser, and no target by any.
    by_optimiser = [id(parameter) for group in module.parameters_of().values() for parameter in group]
    learned = [id(one) for name, one in module.named_parameters() if not name.startswith("target_critic")]
    assert sorted(by_optimiser) == sorted(learned)
    encoder = {id(one) for one in module.parameters_of()["encoder"]}
    assert encoder == {id(one) for one in module.actor.encoder.parameters()}


def test_one_pass_gives_the_gradients_of_an_update_written_out():
    """The critics' loss as the paper has it, with an encoder of its own for every look."""
    algo = build(random_shift_px=0)
    windows = windows_of()
    found, module = gradients(algo, windows)
    noise = torch.Generator().manual_seed(7)
    for _ in range(2):  # What the shifts draw, though they are zero.
        torch.randint(0, 1, (6, 2), generator=noise)
    seen, following = (torch.cat(list(windows[:, first : first + 2].unbind(1)), dim=-1) for first in (0, 1))
    actions, nothing = torch.full((6, 1), 0.3), torch.zeros(6, 0)
    with torch.no_grad():
        next_actions, next_log_prob = module.actor.sample(module.actor.encoder(following), nothing, noise)
        features = module.target_critic.features(module.actor.encoder(following), nothing)
        alpha = module.log_alpha.exp()
        next_q = module.target_critic.values(features, next_actions).amin(dim=0)
        target = torch.linspace(-1.0, 1.0, 6) + 0.9 * (next_q - alpha * next_log_prob)
    module.zero_grad()
    q = module.critic.values(module.critic.features(module.actor.encoder(seen), nothing), actions)
    (q - target).square().mean(dim=1).sum().backward()
    for name, parameter in module.named_parameters():
        if name in found["critic"]:
            torch.testing.assert_close(parameter.grad, found["critic"][name], rtol=1e-4, atol=1e-6)
    module.zero_grad()
    # A fresh pass for the actor: the gradient reaches it through the action alone.
    with torch.no_grad():
        encoded = module.actor.encoder(seen)
        features = module.critic.features(encoded, nothing)
    fresh, log_prob = module.actor.sample(encoded, nothing, noise)
    (alpha * log_prob - module.critic.values(features, fresh).amin(dim=0)).mean().backward()
    for name in found["actor"]:
        torch.testing.assert_close(
            dict(module.named_parameters())[name].grad, found["actor"][name], rtol=1e-4, atol=1e-6
        )


def test_before_and_after_are_shifted_each_by_themselves(monkeypatch):
    algo = build()
    seen = []
    module = algo._on_learner(lambda learner: learner.module["default_policy"].unwrapped())
    monkeypatch.setattr(
        "algorithms.policies.sac_pixels.shifted_stacks",
        lambda windows, first, frame_stack, shifts: (
            seen.append((first, shifts)) or shifted_stacks(windows, first, 2, shifts)
        ),
    )
    module.forward_train({"obs": windows_of(50), "actions": torch.zeros(50, 1)})
    (first, before), (second, after) = seen
    assert (first, second) == (0, 1) and not torch.equal(before, after)
    for shifts in (before, after):
        assert set(shifts.flatten().tolist()) == {-1, 0, 1}


def test_an_update_moves_encoder_actor_critic_and_temperature():
    algo = build()
    before = everything(algo)
    run(algo, range(7), num_updates=1)
    after = everything(algo)
    standing = {name for name in before if not name.startswith("replay") and after[name] == before[name]}
    # What says how large it all is; and observations of pictures are not normalised.
    assert standing == {
        "actor.encoder.strides", "actor.encoder.sizes", "actor.gaussian.obs_shift", "actor.gaussian.obs_scale",
    }  # fmt: skip


def test_a_restored_checkpoint_goes_on_bit_for_bit(tmp_path):
    # 14 episodes of 10 steps go through a ring of 75.
    options = {"observation": "pixels_and_state", "replay_capacity": 75, "batch_size": 16}
    never_stopped, stopped = build(seed=5, **options), build(seed=5, **options)
    for algo in (never_stopped, stopped):
        run(algo, range(9), num_updates=2)
    stopped.save_to_path(tmp_path / "checkpoint")
    rebuilt = build(seed=77, **options)
    run(rebuilt, range(20, 29), num_updates=1)
    rebuilt.restore_from_path(tmp_path / "checkpoint")
    loaded = RatedSAC.from_checkpoint(tmp_path / "checkpoint")
    for algo in (never_stopped, rebuilt, loaded):
        run(algo, range(9, 14), acts=True, num_updates=2)
        algo.reset_critic()
        algo.update(3)
    assert everything(rebuilt) == everything(never_stopped)
    assert everything(loaded) == everything(never_stopped)


def test_calls_are_cut_where_pictures_would_fill_the_memory(monkeypatch):
    whole, cut = build(seed=3), build(seed=3)
    assert whole.updates_per_call == 64
    for algo in (whole, cut):
        run(algo, range(3), num_updates=1)
    # Three batches of 64 windows of three frames.
    monkeypatch.setattr("algorithms.policies.rated_algorithm.LARGEST_CALL", 3 * 64 * 3 * PX * PX * 3)
    assert cut.updates_per_call == 3
    monkeypatch.undo()
    whole.update(8)
    monkeypatch.setattr("algorithms.policies.rated_algorithm.LARGEST_CALL", 3 * 64 * 3 * PX * PX * 3)
    cut.update(8)
    assert everything(whole) == everything(cut)
    monkeypatch.setattr("algorithms.policies.rated_algorithm.LARGEST_CALL", 1)
    assert cut.updates_per_call == 1


def test_a_reset_critic_starts_anew_and_encoder_and_actor_stay():
    algo = build()
    run(algo, range(5), num_updates=2)
    before = everything(algo)
    algo.reset_critic()
    after = everything(algo)
    changed = {name.split(".")[0] for name in before if name in after and after[name] != before[name]}
    assert changed == {"critic", "target_critic"}
    # The critics' moments go, the encoder's stay.
    gone = {name.split("/")[0] for name in before if name not in after}
    assert gone == {"default_policy_critic"}
    for name in after:
        if name.startswith("critic."):
            assert after[name] == after[f"target_{name}"]
    assert np.isfinite(algo.update(5)["critic_loss"])


def test_state_beside_pictures_is_normalised_in_actor_and_critics_alike():
    plain, scaled = (build(seed=2, observation="pixels_and_state", random_shift_px=0) for _ in range(2))
    shift, scale = np.array([3.0, -1.0], np.float32), np.array([0.5, 2.0], np.float32)
    scaled.set_observation_normalisation(shift, scale)
    chunk = reach_episode(0, None, np.random.default_rng(0))
    moved = EpisodeChunk(**vars(chunk) | {"observations": chunk.observations / scale + shift})
    plain.add_chunk(chunk, -distance(chunk), version=1)
    scaled.add_chunk(moved, -distance(chunk), version=1)
    expected, metrics = plain.update(5), scaled.update(5)
    assert metrics == pytest.approx(expected, abs=1e-3)


def test_pictures_alone_need_no_numbers_and_do_not_see_them():
    none, some = build(seed=4, state_size=0), build(seed=4, state_size=2)
    for algo, size in ((none, 0), (some, 2)):
        chunk = reach_episode(0, None, np.random.default_rng(0))
        chunk = EpisodeChunk(**vars(chunk) | {"observations": chunk.observations[:, :size]})
        algo.add_chunk(chunk, np.ones(EPISODE_STEPS), version=1)
        algo.update(3)
    first, second = none.actor_weights(), some.actor_weights()
    assert all(first[name].tobytes() == second[name].tobytes() for name in first)


def test_env_runners_are_refused():
    pixels = {"px": 12, "frame_stack": 1, "convolutions": SMALL, "num_features": 4, "random_shift_px": 0}
    config = RatedSACConfig().environment("Pendulum-v1").training(pixels=pixels | {"sees_state": False})
    with pytest.raises(ValueError, match=r"env runners stack no frames; feed it by add_chunk"):
        config.validate()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"observation": "state"}, "image_px is for policies that see pictures, and observation is 'state'"),
        ({"image_px": 4}, "image_px 4: nothing is left of so small a picture after convolutions"),
        ({"convolutions": ()}, "convolutions is empty"),
        ({"random_shift_px": 12}, "random_shift_px 12 is not below image_px 12"),
        ({"normalise_observations": True}, "normalise_observations scales numbers"),
        ({"entropy_dimensions": (0,)}, "entropy_dimensions names numbers"),
        ({"observation": "picture"}, "'state', 'pixels' or 'pixels_and_state'"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(given, message):
    with pytest.raises(ValidationError, match=message):
        settings(**given)


@pytest.mark.slow
def test_a_toy_task_is_solved_from_pictures_and_not_from_those_of_other_episodes():
    def final_distance(algo):
        actor = PixelActor.from_numpy(algo.actor_weights())
        return np.mean([distance(reach_episode(0, actor, np.random.default_rng([7, k])))[-1] for k in range(50)])

    learned, control = build(), build()
    assert final_distance(learned) > 0.3
    run(learned, range(150), acts=True)
    noise = torch.Generator().manual_seed(0)
    for number in range(150):
        chunk = reach_episode(
            number, PixelActor.from_numpy(control.actor_weights()), np.random.default_rng(number), noise
        )
        other = reach_episode(number, None, np.random.default_rng(number + 1000))
        shown = EpisodeChunk(**vars(chunk) | {"pixels": other.pixels})
        control.add_chunk(shown, -distance(chunk), version=1)
        control.update(EPISODE_STEPS)
    assert final_distance(learned) < 0.12
    assert final_distance(control) > 0.3
