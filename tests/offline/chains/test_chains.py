"""Judging a policy by chains: the right levels, the right words, the right count of what was completed."""

from functools import partial
from typing import ClassVar

import gymnasium
import numpy as np
import pytest
import torch

from actors.babyai import expert
from actors.babyai.environment import ChainEnvironment, ChainTask
from actors.babyai.expert import Demonstration, demonstrate
from actors.babyai.settings import NOTHING, BabyAISettings
from actors.chain_evaluation import ChainEvaluator, PolicyFace, Trial, TrialResult, as_policy_sees
from algorithms.action_scale import ActionScale
from algorithms.language_networks import PolicyShape
from algorithms.offline_settings import PolicyNetworkSettings
from orchestrator.data.babyai import BabyAIDataSettings, make_episode, trajectories_of
from orchestrator.errors import SettingsError
from orchestrator.offline.chains.chain_tasks import plan_tasks
from orchestrator.offline.chains.judges import chain_metrics
from orchestrator.offline.evaluation_settings import ChainEvaluationSettings

ROOM = BabyAISettings(room_size=7, num_rows=1, num_cols=1, num_objects=5, subtasks=("goto", "pickup"))
NETWORK = PolicyNetworkSettings(channels=4, hidden=(8,), instruction_size=8, history=2)
SHAPE = PolicyShape("grid", (7, 7, 3), 32, 9, 4, 7, 7)
MADE = BabyAIDataSettings(num_episodes=8, chain_lengths=(1, 2), unit="subtask", babyai=ROOM)


class Replay:
    """Acts as told, whatever it sees, or does nothing; and remembers what it saw and read."""

    def __init__(self, actions=None):
        self._actions = actions and [list(one) for one in actions]
        self.seen, self.read = [], []

    def load_numpy(self, weights):
        pass

    def act(self, observation, instruction, generator=None):
        self.seen.append(observation.numpy().copy())
        self.read.append(instruction[:, 0].tolist())
        if self._actions is None:
            return torch.full((len(observation),), NOTHING)
        # Those that are done are no longer asked.
        going = [one for one in self._actions if one]
        return torch.tensor([one.pop(0) for one in going])


class Queue(Replay):
    """As told for each trial, when an environment is free the next trial's."""

    def __init__(self, actions, at_once):
        super().__init__(actions)
        self._waiting = self._actions[at_once:]
        self._going = self._actions[:at_once]

    def act(self, observation, instruction, generator=None):
        # What is done makes room, in its place, for what waits.
        for place, one in enumerate(self._going):
            if not one and self._waiting:
                self._going[place] = self._waiting.pop(0)
        self._going = [one for one in self._going if one]
        return torch.tensor([one.pop(0) for one in self._going])


def evaluator(actor, whole=False, at_once=None):
    make = partial(ChainEnvironment, ROOM, 0, with_frames=False, measures=False)
    judge = ChainEvaluator(make, PolicyFace(SHAPE, NETWORK, "symbolic", whole), at_once)
    judge._actor = actor
    return judge


class Encoded(dict):
    """Each text as its number."""

    def __missing__(self, text):
        self[text] = np.array([len(self)])
        return self[text]


def solution(task):
    """The bot's actions, and each sub-task's words."""
    shown = demonstrate(ChainEnvironment(ROOM, 0, with_frames=False), 0, Demonstration(task, 0.0))
    return shown.actions.tolist(), shown.instruction


def solvable(length, number):
    tasks = [ChainTask("train", index, length) for index in range(20)]
    env = ChainEnvironment(ROOM, 0, with_frames=False)
    return [task for task in tasks if demonstrate(env, 0, Demonstration(task, 0.0)) is not None][:number]


def test_what_the_bot_does_completes_every_chain_and_doing_nothing_completes_none():
    tasks = solvable(1, 1) + solvable(3, 1)
    actions = [solution(task)[0] for task in tasks]
    trials = [Trial(task, None, len(one) + 5) for task, one in zip(tasks, actions, strict=True)]
    results = evaluator(Replay(actions)).run({}, trials, Encoded())
    assert results == [TrialResult(1, 1, len(actions[0])), TrialResult(3, 3, len(actions[1]))]
    idle = evaluator(Replay()).run({}, trials, Encoded())
    assert idle == [TrialResult(1, 0, len(actions[0]) + 5), TrialResult(3, 0, len(actions[1]) + 5)]
    assert [one.proportion for one in (*results, *idle)] == [1.0, 1.0, 0.0, 0.0]


def test_results_are_the_same_with_fewer_environments_than_trials():
    tasks = solvable(1, 2) + solvable(2, 1)
    actions = [solution(task)[0] for task in tasks]
    trials = [Trial(task, None, 99) for task in tasks]
    for at_once in (1, 2):
        judge = evaluator(Queue(actions, at_once), at_once=at_once)
        results = judge.run({}, trials, Encoded())
        lengths = [task.chain_length for task in tasks]
        assert results == [TrialResult(n, n, len(one)) for n, one in zip(lengths, actions, strict=True)]
        # They are kept for the next call.
        kept = list(judge._environments)
        judge._actor = Queue(actions, at_once)
        assert judge.run({}, trials, Encoded()) == results and judge._environments == kept and len(kept) == at_once


def test_time_ends_a_chain_with_what_is_done_by_then():
    (task,) = solvable(2, 1)
    actions, _ = solution(task)
    (result,) = evaluator(Replay([actions])).run({}, [Trial(task, None, len(actions) - 1)], Encoded())
    assert (result.num_completed, result.proportion) == (1, 0.5)


def test_the_policy_reads_the_subtask_of_the_moment_or_the_whole_chain():
    (task,) = solvable(2, 1)
    actions, instruction = solution(task)
    for whole in (False, True):
        actor, encoded = Replay([actions]), Encoded()
        evaluator(actor, whole).run({}, [Trial(task, None, 99)], encoded)
        assert list(encoded) == ([instruction] if whole else instruction.split(", then "))
        read = [row[0] for row in actor.read]
        assert read == sorted(read) and set(read) == ({0} if whole else {0, 1})


def test_history_begins_anew_with_each_subtask_that_the_policy_is_told_of():
    (task,) = solvable(2, 1)
    actions, _ = solution(task)
    for whole in (False, True):
        actor = Replay([actions])
        evaluator(actor, whole).run({}, [Trial(task, None, 99)], Encoded())
        read = [row[0] for row in actor.read]
        second = read.index(1) if not whole else None
        for step, seen in enumerate(actor.seen[1:], start=1):
            old, before = seen[0, 0], actor.seen[step - 1][0, 1]
            if step == second:
                assert np.array_equal(seen[0, 0], seen[0, 1])
            else:
                assert np.array_equal(old, before)


def test_a_randomised_start_moves_the_agent_and_nothing_else():
    (task,) = solvable(1, 1)
    actors = [Replay() for _ in range(3)]
    for actor, start in zip(actors, (None, 1, 2), strict=True):
        evaluator(actor).run({}, [Trial(task, start, 1)], Encoded())
    fixed, one, other = (actor.seen[0][0, -1] for actor in actors)
    agents = [
        np.argwhere(grid[..., 0] == 10).tolist() + grid[grid[..., 0] == 10].tolist() for grid in (fixed, one, other)
    ]
    assert agents[0] != agents[1] and agents[1] != agents[2]
    for grid in (one, other):
        differ = (grid != fixed).any(axis=-1)
        assert differ.sum() <= 2 and np.isin(grid[differ][:, 0], (1, 10)).all()


def test_a_frame_is_made_as_small_as_the_policy_wants_it():
    shape = PolicyShape("image", (4, 4, 3), 0, 9, 4, 7, 7)
    assert as_policy_sees(np.full((8, 8, 3), 7, np.uint8), shape).shape == (4, 4, 3)
    whole = np.zeros((4, 4, 3), np.uint8)
    assert as_policy_sees(whole, shape) is whole


@pytest.fixture(scope="module")
def episode_ids():
    return tuple(one.episode_id for number in range(8) for one in trajectories_of(MADE, number))


def test_tasks_are_those_of_the_data_the_same_for_all(episode_ids):
    settings = ChainEvaluationSettings(num_tasks=5, chain_lengths=(1, 2), step_budget=2.0)
    tasks = plan_tasks(MADE, episode_ids, settings)
    assert tasks == plan_tasks(MADE, episode_ids, settings)
    assert [trial.task.chain_length for trial in tasks.trials] == [1, 1, 1, 2, 2]
    recorded = {make_episode(MADE, number).episode_id for number in range(8)}
    assert {trial.task.name for trial in tasks.trials} <= recorded and len({t.task for t in tasks.trials}) == 5
    for trial in tasks.trials:
        assert trial.max_steps == 2 * len(solution(trial.task)[0])
    moved = tasks.trials_from("randomised")
    assert [trial.task for trial in moved] == [trial.task for trial in tasks.trials]
    assert [trial.start_seed for trial in moved] == [0, 1, 2, 3, 4] and tasks.trials[0].start_seed is None
    assert tasks.trials_from("fixed") == list(tasks.trials)
    # From another place the expert needs another number of steps, and the budget is a multiple of these.
    for trial in moved:
        there = demonstrate(
            ChainEnvironment(ROOM, 0, with_frames=False), 0, Demonstration(trial.task, 0.0, trial.start_seed)
        )
        assert trial.max_steps == 2 * len(there)
    assert [trial.max_steps for trial in moved] != [trial.max_steps for trial in tasks.trials]
    assert plan_tasks(MADE, episode_ids, settings.model_copy(update={"starts": ("fixed",)})).trials == tasks.trials
    # All words that will be read: those of sub-tasks, none of them a whole chain.
    assert not any(", then " in text for text in tasks.texts) and 5 <= len(tasks.texts) <= 7
    other = plan_tasks(MADE, episode_ids, settings.model_copy(update={"seed": 1, "instruction": "whole"}))
    assert other.trials != tasks.trials and any(", then " in text for text in other.texts)


def test_held_out_tasks_are_none_of_the_data(episode_ids):
    settings = ChainEvaluationSettings(num_tasks=4, chain_lengths=(1, 2), split="held_out")
    assert {trial.task.split for trial in plan_tasks(MADE, episode_ids, settings).trials} == {"held_out"}


def test_a_start_from_which_the_expert_does_not_get_there_is_drawn_again(monkeypatch):
    shown = expert.demonstrate
    monkeypatch.setattr(
        expert, "demonstrate", lambda env, seed, one: None if one.start_seed == 1 else shown(env, seed, one)
    )
    tasks = solvable(1, 3)
    assert [start for start, _ in expert.solvable_starts(ROOM, 0, tasks)] == [0, 4, 2]
    monkeypatch.setattr(expert, "demonstrate", lambda *_: None)
    with pytest.raises(ValueError, match="from none of 20 starts"):
        expert.solvable_starts(ROOM, 0, tasks)


def test_no_task_is_done_before_it_begins():
    environment = ChainEnvironment(BabyAISettings(), 0, with_frames=False)
    for index in range(30):
        for start_seed in (None, 0, 1):
            task = ChainTask("held_out", index, 1 + index % 6)
            _, info = environment.reset(options={"task": task, "start_seed": start_seed})
            assert info["num_completed"] == 0 and not environment.step(NOTHING)[4]["subtask_completed"]


def test_too_few_chains_are_named(episode_ids):
    settings = ChainEvaluationSettings(num_tasks=30, chain_lengths=(1, 2))
    with pytest.raises(SettingsError, match="fewer than 15 chains of 1 sub-tasks"):
        plan_tasks(MADE, episode_ids, settings)


def test_metrics_are_means_over_tasks_and_by_length():
    results = [TrialResult(1, 1, 4), TrialResult(2, 1, 9), TrialResult(2, 2, 7), TrialResult(4, 1, 9)]
    assert chain_metrics(results, "fixed") == {
        "eval/fixed_proportion": (1 + 0.5 + 1 + 0.25) / 4,
        "eval/fixed_success": 0.5,
        "eval/fixed_proportion_of_1": 1.0,
        "eval/fixed_proportion_of_2": 0.75,
        "eval/fixed_proportion_of_4": 0.25,
    }
    assert "eval/untrained_randomised_success" in chain_metrics(results, "randomised", "untrained")


class Arm(gymnasium.Env):
    """One sub-task; remembers the actions that it got."""

    observation_space = gymnasium.spaces.Dict(symbolic=gymnasium.spaces.Box(0, 9, (7, 7, 3), np.uint8))
    action_space = gymnasium.spaces.Box(-180.0, 180.0, (2,), np.float32)
    got: ClassVar[list] = []

    def reset(self, seed=None, options=None):
        return {"symbolic": np.zeros((7, 7, 3), np.uint8)}, self._info(False)

    def step(self, action):
        self.got.append(action)
        return {"symbolic": np.zeros((7, 7, 3), np.uint8)}, 0.0, True, False, self._info(True)

    def _info(self, done):
        return {"instruction": "go", "subtask_instruction": "go", "num_subtasks": 1, "num_completed": int(done),
                "subtask_completed": done}  # fmt: skip


def test_continuous_actions_reach_the_world_in_its_own_units():
    shape = PolicyShape("grid", (7, 7, 3), 32, 9, 4, 0, 1)
    face = PolicyFace(shape, NETWORK, "symbolic", False, ActionScale((-90.0, 5.0), (90.0, 5.0)))
    judge = ChainEvaluator(Arm, face)
    judge._actor.act = lambda *_: torch.tensor([[0.45]])
    weights = judge._actor.numpy_weights()
    (result,) = judge.run(weights, [Trial(None, None, 3)], {"go": np.array([2, 0, 0, 0])})
    assert result.num_completed == 1 and [one.tolist() for one in Arm.got] == [[45.0, 5.0]]
