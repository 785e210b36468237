"""The real loop on a toy task, with real Ray actors and a rater that is a function."""

import numpy as np
import pytest
import ray
import torch

from actors.reward.learner import RewardLearner
from algorithms.policies import build_rated_sac
from orchestrator.checkpoints import Checkpoints
from orchestrator.errors import RatingsFailing
from orchestrator.online import OnlineLoop
from orchestrator.progress import RunProgress
from orchestrator.rating_service import RatingService
from orchestrator.rating_store import RatingStore
from orchestrator.reward_training import RewardTraining
from orchestrator.rollouts import Rollouts
from orchestrator.run_data import RunData
from orchestrator.run_folder import RunFolder
from orchestrator.sessions import FeedbackSessions
from orchestrator.settings import Experiment
from orchestrator.tracking import Tracker
from tests.toy_reach import ACTION_SIZE, OBSERVATION_SIZE, CountingServer, ToyWorker


@pytest.fixture(scope="module", autouse=True)
def local_ray():
    torch.set_num_threads(1)
    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()


@pytest.fixture
def experiment(tmp_path):
    return Experiment.model_validate(
        {
            "name": "toy",
            "total_env_steps": 1_200,
            "runs_folder": tmp_path / "runs",
            "ratings_folder": tmp_path / "ratings",
            "task": {
                "name": "toy_reach",
                "env_id": "reach-v3",
                "instruction": "move the dot to the right end",
                "focus": "the dot",
                "image_px": 28,
                "episode_env_steps": 40,
            },
            "rollout": {"chunk_agent_steps": 20},
            "feedback": {
                "first_env_steps": 200,
                "interval_env_steps": 200,
                "per_session": 40,
                "budget": 400,
                "newest_share": 0.5,
            },
            "rater": {"mode": "answer_only"},
            "reward_model": {
                "input": "state",
                "hidden": [32, 32],
                "batch_size": 32,
                "max_epochs": 30,
                "learning_rate": 3e-3,
                "reward_scale": "standardised",
            },
            "policy": {
                "hidden": [32, 32],
                "actor_learning_rate": 3e-3,
                "critic_learning_rate": 3e-3,
                "temperature_learning_rate": 3e-3,
                "discount": 0.95,
                "tau": 0.02,
                "target_update_interval": 1,
                "batch_size": 64,
                "replay_capacity": 2_000,
                "seed_env_steps": 200,
                "unsupervised_env_steps": 0,
                "reset_critic": False,
            },
            "evaluation": {"interval_env_steps": 400, "num_episodes": 10},
            "checkpoint": {"interval_env_steps": 400},
        }
    )


class ToyRun:
    """A run's parts, put together as `orchestrator.launch` does."""

    def __init__(self, experiment, broken=False):
        self.experiment = experiment
        self.server = ray.remote(CountingServer).options(max_concurrency=100).remote(experiment.rater, broken)
        store = RatingStore(experiment.ratings_folder)
        self.service = RatingService(store, [self.server], experiment.rater, experiment.run_folder.name)
        self.service.begin_start()
        self.service.finish_start()
        px = experiment.reward_model.image_px if experiment.reward_model.input == "frame" else None
        self.workers, self.learners = [], []
        rollouts = Rollouts(self._start_worker, experiment.rollout.num_workers, px)
        rng = np.random.default_rng(experiment.seed)
        sessions = FeedbackSessions(experiment, rollouts, self.service, store, rng)
        learner = RewardTraining(self._start_learner, sessions.first_inputs)
        policy = build_rated_sac(experiment.policy, OBSERVATION_SIZE, ACTION_SIZE, experiment.seed)
        self.loop = OnlineLoop(experiment, rollouts, policy, learner, sessions)
        self.checkpoints = Checkpoints(experiment.run_folder / "checkpoints", experiment.checkpoint.keep)

    def _start_worker(self, index):
        settings = self.experiment
        self.workers.append(ray.remote(ToyWorker).remote(settings.task, settings.rollout, settings.seed, index))
        return self.workers[-1]

    def _start_learner(self):
        settings = self.experiment
        self.learners.append(
            ray.remote(RewardLearner).remote(
                settings.reward_model, settings.feedback.num_ratings, OBSERVATION_SIZE, settings.seed
            )
        )
        return self.learners[-1]

    def run(self, resume=False):
        if resume:
            self.loop.restore(self.checkpoints.newest_first()[0])
        progress = RunProgress("toy", self.experiment.total_env_steps, enabled=False)
        folder = RunFolder(self.experiment, Tracker(self.experiment.run_folder), progress, self.checkpoints)
        try:
            self.loop.run(folder)
        finally:
            self.service.close()
        return self

    @property
    def num_asked(self):
        return ray.get(self.server.asked.remote())

    @property
    def labels(self):
        return self.loop.sessions.labels

    def success(self):
        return RunData.load(self.experiment.run_folder).series("eval/success").values[-1]

    def fingerprint(self):
        """What a repeated or resumed run must have in common, to the last bit."""
        replay = self.loop.policy.replay
        weights, version = self.loop.learner.publish()
        return {
            "keys": self.loop.sessions.labels.keys,
            "version": version,
            "observations": replay.stored_next_observations().tobytes(),
            "rewards": replay.learned_rewards(replay.indices).tobytes(),
            "reward model": {name: array.tobytes() for name, array in weights.items()},
            "policy": {name: array.tobytes() for name, array in self.loop.policy.actor_weights().items()},
        }


def test_the_loop_solves_a_toy_task_from_ratings_and_a_rerun_asks_nothing(experiment):
    first = ToyRun(experiment).run()
    assert first.success() == 1.0
    # Sessions at 200, 400, ... 1,000: the last point, at the end of the run, would teach nobody.
    assert len(first.labels) == 5 * 40
    # Equal frames, of a dot at the wall, are one question.
    assert first.num_asked == len(set(first.labels.keys)) > 100
    assert len(RatingStore(experiment.ratings_folder)) == first.num_asked

    again = ToyRun(experiment.model_copy(update={"name": "again"})).run()
    assert again.num_asked == 0
    assert again.fingerprint() == first.fingerprint()


def test_shuffled_ratings_do_not_solve_it(experiment):
    shuffled = experiment.feedback.model_copy(update={"control": "shuffled"})
    run = ToyRun(experiment.model_copy(update={"feedback": shuffled})).run()
    replay = run.loop.policy.replay
    correlation = np.corrcoef(replay.learned_rewards(replay.indices), replay.stored_next_observations()[:, 0])[0, 1]
    assert abs(correlation) < 0.9 or run.success() < 1.0


def test_a_resumed_run_equals_one_that_was_not_stopped(experiment):
    whole = ToyRun(experiment).run()
    part = experiment.model_copy(update={"name": "part", "ratings_folder": experiment.ratings_folder / "part"})
    stopped = ToyRun(part.model_copy(update={"total_env_steps": 800})).run()
    resumed = ToyRun(part).run(resume=True)
    assert resumed.fingerprint() == whole.fingerprint()
    assert resumed.num_asked == len(set(resumed.labels.keys)) - len(set(stopped.labels.keys))


def test_a_broken_rater_stops_the_run_writes_no_rating_and_the_run_goes_on_when_it_is_well(experiment):
    broken = ToyRun(experiment, broken=True)
    with pytest.raises(RatingsFailing, match=r"40 of 40 questions .* \(unparsable\).*tolerated_failure_share"):
        broken.run()
    store = RatingStore(experiment.ratings_folder)
    assert len(store) == 0
    assert sum(store.counts().failures.values()) == 40

    mended = ToyRun(experiment).run(resume=True)
    assert mended.success() == 1.0
    assert len(mended.labels) == 5 * 40
    assert mended.num_asked == len(set(mended.labels.keys))


def seeing_frames(experiment, total_env_steps, frame_cache_gb):
    settings = experiment.reward_model.model_dump() | {
        "input": "frame",
        "network": "small",
        "image_px": 28,
        "max_epochs": 2,
        "frame_cache_gb": frame_cache_gb,
    }
    return Experiment.model_validate(
        experiment.model_dump() | {"reward_model": settings, "total_env_steps": total_env_steps, "name": "frames"}
    )


def test_frames_that_the_cache_forgot_are_drawn_again(experiment):
    run = ToyRun(seeing_frames(experiment, total_env_steps=480, frame_cache_gb=0.0)).run()
    replay = run.loop.policy.replay
    # Every step held was relabelled by the newest model, or scored by it when it came.
    assert set(replay.reward_versions(replay.indices)) == {2}
    assert np.isfinite(replay.learned_rewards(replay.indices)).all()


def test_after_a_resume_lost_frames_are_drawn_once_and_kept(experiment, monkeypatch):
    ToyRun(seeing_frames(experiment, total_env_steps=400, frame_cache_gb=1.0)).run()
    resumed = ToyRun(seeing_frames(experiment, total_env_steps=800, frame_cache_gb=1.0))
    rollouts, drawn = resumed.loop.rollouts, []
    draw = rollouts.render_reduced
    monkeypatch.setattr(rollouts, "render_reduced", lambda segments: drawn.append(len(segments)) or draw(segments))
    resumed.run(resume=True)
    relabelled = [count for count in drawn if count > experiment.feedback.per_session]
    assert relabelled == [400]


def test_late_ratings_are_learned_from_within_the_lag(experiment):
    late = experiment.feedback.model_copy(update={"max_rating_lag": 2})
    run = ToyRun(experiment.model_copy(update={"feedback": late})).run()
    assert run.success() == 1.0
    assert len(run.labels) == 5 * 40
