"""Episodes that end when they end: periods, chunks, streams of random numbers, and frames that are kept."""

import itertools

import numpy as np
import pytest
import torch

from actors.rollout.playing import count_success
from actors.rollout.settings import RolloutSettings
from actors.rollout.worker import RolloutWorker
from actors.worlds.gymnasium.settings import GymnasiumTask
from algorithms.actor_network import SquashedGaussianActor
from algorithms.frame_codec import decode
from algorithms.images import reduce_image

TASK = GymnasiumTask(
    world="gymnasium",
    name="line",
    factory="tests.fakes.toy_envs:Line",
    kwargs={"step": 0.9},
    instruction="go right",
    focus="the dot",
    image_px=40,
    episode_env_steps=12,
    success={"key": "is_success"},
)
ROLLOUT = RolloutSettings(envs_per_worker=3, chunk_agent_steps=10, period_agent_steps=25)


@pytest.fixture
def worker():
    return RolloutWorker(TASK, ROLLOUT, seed=0)


@pytest.fixture(scope="module")
def actor_weights():
    torch.manual_seed(1)
    return SquashedGaussianActor(1, 1, (8,)).numpy_weights()


def collect_period(worker, weights=None, **options):
    """Shares of a period's rounds."""
    shares = [worker.collect(weights, **options)[0]]
    while not shares[-1].period_over:
        shares.append(worker.collect(weights, **options)[0])
    return shares


def episodes_in(shares):
    """Chunks by environment and episode, in time order."""
    found = {}
    for share in shares:
        for chunk in share.chunks:
            environment = chunk.episode_id.rpartition("-")[2]
            found.setdefault(environment, {}).setdefault(chunk.episode_id, []).append(chunk)
    return found


def contents(shares):
    return [
        (chunk.episode_id, chunk.first_step, chunk.observations.tobytes(), chunk.actions.tobytes(), chunk.frames)
        for share in shares
        for chunk in share.chunks
    ]


@pytest.mark.parametrize("with_policy", [False, True])
def test_a_period_is_over_when_all_have_ended_an_episode_after_its_steps(worker, actor_weights, with_policy):
    shares = collect_period(worker, actor_weights if with_policy else None)
    for episodes in episodes_in(shares).values():
        lengths = [sum(map(len, chunks)) for chunks in episodes.values()]
        assert sum(lengths[:-1]) < 25 <= sum(lengths), "it stops at the first end at or after the period's steps"
        assert max(lengths) <= 12
        for chunks in episodes.values():
            assert [chunk.first_step for chunk in chunks] == np.cumsum([0, *map(len, chunks[:-1])]).tolist()
            ends = [chunk.terminated or chunk.truncated for chunk in chunks]
            assert ends == [False] * (len(chunks) - 1) + [True]
            for one, other in itertools.pairwise(chunks):
                np.testing.assert_array_equal(one.observations[-1], other.observations[0])
    in_rounds = [sum(map(len, share.chunks)) for share in shares]
    assert in_rounds[:2] == [30, 30] and in_rounds[-1] <= 30
    assert all(share.chunks for share in shares)


def test_lengths_differ_and_some_end_for_good(worker):
    episodes = episodes_in(collect_period(worker))
    chunks = [chunk for of_one in episodes.values() for parts in of_one.values() for chunk in parts]
    assert {chunk.terminated for chunk in chunks} == {True, False}
    assert len({sum(map(len, parts)) for of_one in episodes.values() for parts in of_one.values()}) > 2


def test_between_periods_numbers_are_all_that_is_needed(actor_weights):
    first, resumed = (RolloutWorker(TASK, ROLLOUT, seed=4) for _ in range(2))
    collect_period(first, actor_weights)
    state = first.state()
    assert state["period"] == 1 and len(set(state["episodes"])) > 1, "environments have played unequal numbers"
    resumed.collect(None)
    with pytest.raises(RuntimeError, match="at agent step 10 of a period"):
        resumed.state()
    resumed.set_state(state)
    assert contents(collect_period(resumed, actor_weights)) == contents(collect_period(first, actor_weights))
    assert first.state() == resumed.state()


def test_noise_of_one_environment_does_not_depend_on_what_others_do(actor_weights):
    """With the first start of another period's numbers, the second environment draws what it drew before."""
    one, other = (RolloutWorker(TASK, ROLLOUT, seed=0) for _ in range(2))
    other.set_state({"period": 0, "episodes": [7, 0, 0]})
    pair = [episodes_in(collect_period(worker, actor_weights)) for worker in (one, other)]
    chunks = [[chunk for parts in found["env001"].values() for chunk in parts] for found in pair]
    for mine, others in zip(*chunks, strict=True):
        np.testing.assert_array_equal(mine.actions, others.actions)
    assert list(pair[0]["env000"]) != list(pair[1]["env000"])


def test_state_of_older_checkpoints_is_read(worker):
    worker.set_state({"episode": 3})
    assert worker.state() == {"period": 3, "episodes": [3, 3, 3]}


def test_frames_are_kept_losslessly_and_reduced_for_the_reward_model(worker):
    share, reduced = worker.collect(None, render_px=28)
    assert len(share.chunks) == len(reduced)
    for chunk, seen in zip(share.chunks, reduced, strict=True):
        kept = decode(chunk.frames)
        assert kept.shape == (len(chunk) + 1, 40, 40, 3) and chunk.frame_states.shape == (len(chunk) + 1, 0)
        columns = kept[:, 20, :, 0].argmax(axis=1)
        np.testing.assert_array_equal(columns, np.rint((chunk.observations[:, 0] + 1.0) / 2.0 * 39))
        np.testing.assert_array_equal(seen, reduce_image(kept[1:], 28))


def test_an_evaluation_counts_success_by_the_tasks_rule(worker):
    results = worker.evaluate(None, 6, seed=0)
    assert results == worker.evaluate(None, 3, seed=0) + worker.evaluate(None, 3, seed=0, first_episode=3)
    assert {result.num_agent_steps for result in results} != {12}
    for result in results:
        assert result.success == result.success_last == (result.env_return > 0.0)
        assert result.done_any is None and result.solved_at_start is None
    unknown = RolloutWorker(TASK.model_copy(update={"success": None}), ROLLOUT, seed=0)
    assert {(result.success, result.success_last) for result in unknown.evaluate(None, 6, seed=0)} == {(None, None)}
    assert [result.env_return for result in unknown.evaluate(None, 6, seed=0)] == [one.env_return for one in results]


@pytest.mark.parametrize(
    ("successes", "counted"),
    [
        ([False, True, False], {"any": True, "end": False, "held": False}),
        ([True, False, True], {"any": True, "end": True, "held": False}),
        ([False, True, True], {"any": True, "end": True, "held": True}),
        ([False, False, True], {"any": True, "end": True, "held": True}),
        ([True], {"any": True, "end": True, "held": True}),
        ([False, False], {"any": False, "end": False, "held": False}),
    ],
)
def test_success_at_any_step_at_the_end_and_held(successes, counted):
    assert {rule: count_success(successes, rule) for rule in counted} == counted
