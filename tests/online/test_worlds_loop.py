"""The real loop in an environment of Gymnasium whose episodes end when they end, with frames that are kept."""

import pytest
import ray

from actors.rollout.worker import RolloutWorker
from actors.worlds.world import WorldSpec
from orchestrator.errors import WorldFailing
from orchestrator.kinds import read_run
from orchestrator.online.report import write_online_report
from orchestrator.online.settings import OnlineExperiment
from tests.fakes.toy_run import ToyRun, toy_experiment

LINE = {
    "world": "gymnasium",
    "name": "line",
    "factory": "tests.fakes.toy_envs:Line",
    "kwargs": {"size": [28, 28], "step": 0.4},
    "instruction": "move the dot to the right end",
    "focus": "the dot",
    "image_px": 28,
    "episode_env_steps": 15,
}


class LineRun(ToyRun):
    """A run of real workers."""

    worker_class = RolloutWorker
    world = WorldSpec(
        observation_size=1, action_size=1, longest_agent_steps=15, fixed_length=False, draws_again=False,
        knows_success=False,
    )  # fmt: skip


def line_experiment(folder, **changes):
    tree = toy_experiment(folder).model_dump() | {"task": LINE, "total_env_steps": 720}
    tree["rollout"] |= {"num_workers": 2, "envs_per_worker": 2, "chunk_agent_steps": 10, "period_agent_steps": 30}
    tree["reward_model"] |= {"input": "frame", "network": "small", "image_px": 28, "max_epochs": 2}
    # Of a quarter of the steps the learner keeps frames; others come from the archive, whose newest alone is in memory.
    tree["reward_model"]["frame_cache_gb"] = 4e-4
    tree["rollout"]["frames_memory_gb"] = 2e-5
    for name, value in changes.items():
        tree[name] = tree[name] | value if isinstance(value, dict) else value
    return OnlineExperiment.model_validate(tree)


pytestmark = pytest.mark.usefixtures("local_ray")


@pytest.mark.slow
def test_a_resumed_run_equals_one_that_was_not_stopped(tmp_path):
    whole = LineRun(line_experiment(tmp_path)).run()
    part = line_experiment(tmp_path, name="part", ratings_folder=tmp_path / "others")
    LineRun(part.model_copy(update={"total_env_steps": 360})).run()
    assert LineRun(part).run(resume=True).fingerprint() == whole.fingerprint()
    replay = whole.loop.policy.replay
    assert set(replay.reward_versions(replay.indices)) == {whole.loop.progress.reward_version}
    assert whole.loop.progress.env_steps >= 720


@pytest.mark.slow
def test_where_success_is_unknown_returns_are_shown_and_nothing_is_made_up(tmp_path):
    run = LineRun(line_experiment(tmp_path)).run()
    data = read_run(run.experiment.run_folder)
    names = {name for row in data.rows for name in row}
    assert not {name for name in names if "success" in name}
    assert len(data.series("eval/env_return")) > 0 and len(data.series("eval/episode_agent_steps")) > 0
    write_online_report([data], tmp_path / "report")
    text = (tmp_path / "report" / "results.md").read_text()
    assert "| return |" in text and "success at" not in text.split("\n\n")[0]
    assert (run.experiment.run_folder / "figures" / "return.png").exists()


@pytest.mark.slow
def test_a_worker_that_dies_collects_its_period_again(tmp_path):
    whole = LineRun(line_experiment(tmp_path)).run()
    killed = LineRun(line_experiment(tmp_path, name="killed", ratings_folder=tmp_path / "others"))
    rollouts, start = killed.loop.rollouts, killed.loop.rollouts.start
    rounds = []

    def start_and_kill(weights):
        rounds.append(weights)
        if len(rounds) == 8:
            ray.kill(rollouts._workers[1].actor)
        return start(weights)

    rollouts.start = start_and_kill
    assert killed.run().fingerprint() == whole.fingerprint()
    assert len(killed.workers) == 3


def test_a_world_that_breaks_later_stops_the_run_with_its_reason_and_the_run_goes_on_once_it_is_mended(tmp_path):
    changes = {"rollout": {"num_workers": 1, "envs_per_worker": 1, "period_agent_steps": 15}, "total_env_steps": 90}
    changes |= {"checkpoint": {"interval_env_steps": 15}, "evaluation": {"num_episodes": 1}}
    changes["feedback"] = {"first_env_steps": 30, "interval_env_steps": 30, "per_session": 5}
    broken = line_experiment(tmp_path, task={"factory": "tests.fakes.toy_envs:Failing"}, **changes)
    with pytest.raises(WorldFailing, match="an observation holds NaN"):
        LineRun(broken).run()
    assert LineRun(line_experiment(tmp_path, **changes)).run(resume=True).loop.progress.env_steps >= 90
