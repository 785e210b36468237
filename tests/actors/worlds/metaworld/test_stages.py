"""True stages of packaged tasks, from observations worked out by hand."""

import itertools

import numpy as np
import pytest

from actors.pocket.frames.words import WORDS
from actors.worlds.metaworld import stages
from actors.worlds.metaworld.environment import TaskEnvironment, scripted_policy
from orchestrator.pocket.frames import packaged_task
from orchestrator.settings.loading import packaged_tasks


def observation(hand, thing, goal) -> np.ndarray:
    row = np.zeros(39)
    row[0:3], row[4:7], row[36:39] = hand, thing, goal
    return row


def drawer(travel: float, hand_distance: float) -> np.ndarray:
    """A drawer whose goal is the origin: it starts 16 cm before it, and its own point lies 5 cm above it."""
    handle = np.array([0.0, -0.16 * (1.0 - travel), 0.05])
    return observation(handle + np.array([0.0, 0.0, hand_distance]), handle, [0.0, 0.0, 0.0])


def test_a_drawer_passes_through_all_five_stages():
    rows = [drawer(0.0, 0.3), drawer(0.0, 0.1), drawer(0.2, 0.3), drawer(0.5, 0.3), drawer(0.75, 0.3)]
    assert stages.stage_of("drawer_close", np.array(rows)).tolist() == [0, 1, 2, 3, 4]
    assert stages.travel_of("drawer_close", np.array(rows)) == pytest.approx([0.0, 0.0, 0.2, 0.5, 0.75])


def test_the_last_stage_begins_where_the_simulators_success_does():
    # Success is 6.5 cm from the goal; 5 of them are height: sqrt(6.5^2 - 5^2) = 4.153 cm along the rail.
    rows = [observation([0, 0, 1], [0, -y, 0.05], [0, 0, 0]) for y in (0.0425, 0.0410)]
    assert stages.stage_of("drawer_close", np.array(rows)).tolist() == [3, 4]


def test_a_button_needs_the_hand_near_before_it_moves():
    thing, goal = np.array([0.0, -0.093, 0.0]), np.zeros(3)
    rows = [observation(thing - [0, distance, 0], thing, goal) for distance in (0.3, 0.2, 0.1)]
    rows += [observation([0, -1, 0], [0, -0.093 * (1 - travel), 0], goal) for travel in (0.5, 0.8)]
    assert stages.stage_of("button_press", np.array(rows)).tolist() == [0, 1, 2, 3, 4]


def test_a_cube_is_done_above_the_hole_and_down_in_it():
    # (x, y, height above the goal): 19, 14, 10, 6 and 4 cm away; then in the hole, 8 cm aside; then as low, outside.
    places = [(0, -0.19, 0.05), (0, -0.14, 0.05), (0, -0.10, 0.05), (0.06, 0, 0.05), (0.04, 0, 0.05)]
    places += [(0, 0.08, 0.0), (0, 0.13, 0.0)]
    rows = np.array([observation([0, 0, 1], place, [0, 0, 0]) for place in places])
    assert stages.stage_of("sweep_into", rows).tolist() == [0, 1, 2, 3, 4, 4, 1]


def test_progress_counts_travel_in_full_and_reach_for_a_part():
    # At the start the hand's way into reach (15 cm) is worth 0.4: 40 cm too far are 1 - 0.4 / 0.5 = 0.2 of it.
    rows = np.array([drawer(0.0, 0.55), drawer(0.0, 0.1), drawer(0.37, 2.0), drawer(0.74, 2.0), drawer(1.0, 2.0)])
    assert stages.progress_of("drawer_close", rows) == pytest.approx([0.08, 0.4, 0.5, 1.0, 1.0], abs=1e-6)


def test_progress_without_a_robot_is_travel_alone():
    rows = np.array([observation([5, 5, 5], [0, 0.19 * (1 - travel), 0], [0, 0, 0]) for travel in (0.0, 0.421, 0.9)])
    assert stages.progress_of("drawer_open", rows) == pytest.approx([0.0, 0.5, 1.0], abs=1e-6)


def test_levels_rise_with_stages_and_use_the_whole_scale():
    for num_ratings, levels in stages.LEVELS.items():
        assert list(levels) == sorted(levels)
        assert set(levels) == set(range(num_ratings))
    assert stages.level_of(np.array([0, 2, 4]), 3).tolist() == [0, 1, 2]


def test_unknown_tasks_and_scales_are_named():
    with pytest.raises(ValueError, match="stages of task 'juggle' are unknown; known are button_press"):
        stages.stage_of("juggle", np.zeros((1, 39)))
    with pytest.raises(ValueError, match="num_ratings 6"):
        stages.level_of(np.array([0]), 6)
    assert not stages.has_stages("juggle", "soccer-v3")
    assert stages.has_stages("soccer", "soccer-v3") and not stages.has_stages("soccer", "push-v3")
    assert stages.can_tell_done("soccer-v3") and not stages.can_tell_done("push-v3")
    with pytest.raises(ValueError, match="when 'push-v3' is done is unknown"):
        stages.is_done("push-v3", np.zeros((1, 39)))


@pytest.mark.parametrize("name", packaged_tasks())
def test_every_packaged_task_has_stages_rubrics_and_words(name):
    task, rule, words = packaged_task(name), stages.RULES[name], WORDS[name]
    assert task.name == name and task.env_id == rule.env_id
    assert set(task.rubrics) == {2, 3, 4, 5}
    assert bool(rule.reach_m) == task.robot_visible
    assert len(words.hand) == (len(rule.reach_m) + 1 if rule.reach_m else 0)
    assert len(words.object) == len(rule.travel) + 1
    assert list(rule.reach_m) == sorted(rule.reach_m, reverse=True)
    assert list(rule.travel) == sorted(rule.travel)


@pytest.mark.parametrize("name", packaged_tasks())
def test_a_description_means_the_stage_it_was_made_from(name):
    from orchestrator.pocket.frames import pocket_task

    task, rule = pocket_task(packaged_task(name)), stages.RULES[name]
    for hand, thing in itertools.product(range(len(rule.reach_m) + 1), range(len(rule.travel) + 1)):
        assert task.stage(hand, thing) == (len(rule.reach_m) + thing if thing else hand)


def expert_episode(name):
    """Success flags and observations of the scripted expert at every environment step."""
    task = packaged_task(name).model_copy(update={"action_repeat": 1, "episode_env_steps": 200})
    environment, expert = TaskEnvironment(task), scripted_policy(task.env_id)
    observation, successes, seen = environment.reset(3), [], []
    for _ in range(task.episode_env_steps):
        step = environment.step(expert.get_action(observation))
        observation = step.observation
        successes.append(step.success)
        seen.append(environment.repeated_observations[-1])
    environment.close()
    return np.array(successes), stages.is_done(task.env_id, np.stack(seen))


@pytest.mark.parametrize("name", ["handle_press", "sweep_into"])
def test_success_is_taken_back_while_the_thing_is_done(name):
    successes, done = expert_episode(name)
    assert successes.any() and not successes[-1]
    assert done[np.argmax(successes) :].all() and not done[: np.argmax(successes)].any()


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(packaged_tasks()) - {"handle_press", "sweep_into"}))
def test_elsewhere_done_is_the_simulators_success_at_every_step(name):
    successes, done = expert_episode(name)
    assert successes.any() and np.array_equal(successes, done)
