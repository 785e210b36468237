"""Settings of a policy by its algorithm, and which worlds fit it."""

import pytest

from actors.worlds.world import WorldSpec
from algorithms.policy_settings import OnlineIQLSettings, SACSettings
from orchestrator.errors import SettingsError
from orchestrator.kinds import experiment_from
from orchestrator.online.settings import OnlineExperiment

TASK = {
    "world": "gymnasium", "name": "toy", "env_id": "Toy-v0", "instruction": "go to the left end", "focus": "it",
    "episode_env_steps": 10,
}  # fmt: skip
NUMBERS = WorldSpec(4, 2, 10, False, False, True)
CHOICES = WorldSpec(4, 1, 10, False, False, True, num_actions=3)
WORDS = WorldSpec(4, 2, 10, False, False, True, says_instruction=True)
GRID = WorldSpec(
    15, 1, 10, False, False, True, num_actions=3, grid_shape=(1, 5, 3), num_categories=3, says_instruction=True
)


def experiment(**blocks):
    return OnlineExperiment.model_validate({"name": "toy", "task": TASK, **blocks})


def test_a_file_that_names_no_algorithm_is_of_sac_as_before():
    assert experiment().policy == experiment(policy={"algorithm": "sac"}).policy == SACSettings()
    assert experiment(policy={"hidden": [8], "tau": 0.1}).policy == SACSettings(hidden=(8,), tau=0.1)
    iql = experiment(policy={"algorithm": "iql"}).policy
    assert isinstance(iql, OnlineIQLSettings) and (iql.discount, iql.termination) == (0.97, "stays")
    assert SACSettings().termination == "ends"


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (
            {"algorithm": "iql", "hidden": [8], "tau": 0.1, "target_entropy": 1.0},
            "hidden, target_entropy are settings of",
        ),
        ({"beta": 3.0}, "beta is a setting of algorithm 'iql', and this one is 'sac': leave it out, or set"),
        ({"algorithm": "dqn"}, "policy.algorithm = 'dqn': must be one of 'sac', 'iql'"),
        ({"algorithm": "iql", "betta": 3.0}, "policy.betta: there is no such setting; did you mean 'beta'"),
        ({"algorithm": "iql", "observation": "pixels_and_state"}, "see numbers or pictures, not both"),
        ({"algorithm": "iql", "observation": "pixels", "image_px": 8}, "image_px 8: at least 16"),
        ({"algorithm": "iql", "image_px": 50}, "set observation to 'pixels', or leave image_px out"),
        ({"algorithm": "iql", "network": {"history": 2}}, "network.history 2 is for learning from recordings"),
        ({"algorithm": "iql", "instruction_length": 0}, "policy.instruction_length = 0: must be above 0"),
    ],
)
def test_what_is_of_the_other_algorithm_or_of_none_is_refused_by_name(policy, message, tmp_path):
    tree = {"name": "toy", "task": TASK, "policy": policy}
    with pytest.raises(SettingsError) as told:
        experiment_from(tree, tmp_path, "Settings")
    assert message in str(told.value) and len(str(told.value).splitlines()) == 2


@pytest.mark.parametrize(
    ("blocks", "world", "message"),
    [
        ({}, CHOICES, "an action of this world is one of 3 choices: set policy.algorithm to 'iql'"),
        ({}, WORDS, "reads no instruction, and every episode of this world has one of its own: set policy.algorithm"),
        (
            {"policy": {"algorithm": "iql", "normalise_observations": True}},
            GRID,
            "observations are a grid of categories",
        ),
        (
            {"policy": {"algorithm": "iql", "instruction_length": 3}},
            CHOICES,
            "task.instruction 'go to the left end' has 5",
        ),
        (
            {"policy": {"algorithm": "iql"}, "reward_model": {"network": "small", "image_px": 56}},
            GRID,
            "reward_model.network 'small' is for tasks of one instruction",
        ),
    ],
)
def test_what_does_not_fit_a_world_is_told_in_one_line(blocks, world, message):
    problem = experiment(**blocks).misfit(world)
    assert message in problem and len(problem.splitlines()) == 1


@pytest.mark.parametrize("world", [NUMBERS, CHOICES, WORDS, GRID])
def test_iql_fits_numbers_and_choices_with_words_and_without(world):
    assert experiment(policy={"algorithm": "iql"}).misfit(world) is None
    assert (experiment().misfit(world) is None) == (world is NUMBERS)


def test_a_grid_of_more_categories_than_a_byte_can_tell_from_a_picture_is_refused():
    grid = WorldSpec(15, 1, 10, False, False, True, num_actions=3, grid_shape=(1, 5, 3), num_categories=256)
    assert "a grid of 256 categories, and policies see at most 255" in experiment(policy={"algorithm": "iql"}).misfit(
        grid
    )
