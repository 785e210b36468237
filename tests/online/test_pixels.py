"""A run whose policy sees pictures: what its settings must be, what it explores by, and what is not exported."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from algorithms.episodes import EpisodeChunk, Scene
from algorithms.pixel_networks import PictureFeatures
from algorithms.policies import build_rated_sac
from algorithms.state_entropy import StateEntropy
from orchestrator.errors import SettingsError
from orchestrator.online.loop import OnlineLoop
from orchestrator.online.preflight import checkpoint_bytes
from orchestrator.online.rewards.rated import RatedReward
from orchestrator.online.rollouts import Collected
from orchestrator.online.settings import OnlineExperiment
from orchestrator.runs.layout import BEST_POLICY_FILE
from orchestrator.runs.policies.simulated import best_weights
from tests.fakes.toy_reach import SPEC
from tests.fakes.toy_run import toy_experiment

PX = 14
SEES = {"observation": "pixels", "image_px": PX, "frame_stack": 2, "convolutions": [[4, 3, 2]], "random_shift_px": 1}

ALONE = "the task's observations are pictures alone: set it to"


def experiment_of(tmp_path, **policy):
    given = toy_experiment(tmp_path).model_dump()
    return OnlineExperiment.model_validate(given | {"policy": given["policy"] | SEES | policy})


def test_the_policy_sees_no_more_than_there_is(tmp_path):
    assert experiment_of(tmp_path, image_px=28).policy.pixel_shape.px == 28
    with pytest.raises(ValueError, match=r"policy.image_px 29 is above task.image_px 28"):
        experiment_of(tmp_path, image_px=29)


@pytest.mark.parametrize(
    ("observation", "reads", "problem"),
    [
        ("pixels", "frame", None),
        ("pixels", "state", f"reward_model.input is state, and {ALONE} frame"),
        ("pixels_and_state", "frame", f"policy.observation is pixels_and_state, and {ALONE} pixels"),
    ],
)
def test_a_world_of_pictures_alone_is_seen_by_pictures_alone(tmp_path, observation, reads, problem):
    experiment = experiment_of(tmp_path, observation=observation)
    model = experiment.reward_model.model_copy(update={"input": reads})
    found = experiment.model_copy(update={"reward_model": model}).misfit(replace(SPEC, observation_size=0))
    assert found == problem


def test_checkpoints_are_reckoned_with_their_pictures(tmp_path):
    plain, seeing = toy_experiment(tmp_path), experiment_of(tmp_path)
    more = checkpoint_bytes(seeing) - checkpoint_bytes(plain)
    assert more == 1_200 * PX * PX * 3 * (seeing.checkpoint.keep + 1)


def chunk_of(number, rng):
    steps = 5
    return EpisodeChunk(
        episode_id=f"episode{number}",
        first_step=0,
        # Would be nan if exploration went by what the policy does not see.
        observations=np.full((steps + 1, 1), np.nan, np.float32),
        actions=np.zeros((steps, 1), np.float32),
        env_rewards=np.zeros(steps, np.float32),
        successes=np.zeros(steps, bool),
        terminated=False,
        truncated=True,
        frame_states=np.zeros((steps + 1, 0), np.float32),
        scene=Scene({}),
        pixels=rng.integers(0, 256, (steps + 1, PX, PX, 3), dtype=np.uint8),
    )


def test_exploration_goes_by_pictures_where_the_policy_sees_nothing_else(tmp_path):
    experiment = experiment_of(tmp_path, unsupervised_env_steps=400, entropy_neighbours=2)
    policy = build_rated_sac(experiment.policy, 1, 1, experiment.seed)
    nothing = SimpleNamespace(keep=lambda *_: None, log=lambda *_: None)
    reward = RatedReward(experiment, SPEC, nothing, None, None)
    loop = OnlineLoop(experiment, SPEC, None, policy, reward)
    loop.folder = nothing
    chunks = [chunk_of(number, np.random.default_rng(number)) for number in range(3)]
    features = [PictureFeatures(PX, experiment.seed).of(chunk.pixels[1:]) for chunk in chunks]
    bonus = StateEntropy(2)
    expected = [np.zeros(5), bonus.reward(features[1], features[0])]
    expected.append(bonus.reward(features[2], np.concatenate(features[:2])))
    for chunk in chunks:
        loop._remember([Collected([chunk], None)])
    found = policy.replay.learned_rewards(policy.replay.indices)
    np.testing.assert_allclose(found, np.concatenate(expected), rtol=1e-6)
    assert found[5:].min() > 0.0


def test_a_policy_of_pictures_is_not_exported_as_one_of_numbers(tmp_path):
    policy = build_rated_sac(experiment_of(tmp_path).policy, 1, 1, 0)
    np.savez(tmp_path / BEST_POLICY_FILE, **policy.actor_weights())
    with pytest.raises(SettingsError, match=r"its policy sees pictures \(policy.observation\)"):
        best_weights(tmp_path)
