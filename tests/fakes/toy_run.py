"""Runs of the toy task: the real loop with real Ray actors, and a rater that is a function."""

import numpy as np
import ray

from actors.reward.learner import RewardLearner
from algorithms.policies import build_policy
from orchestrator.kinds import read_run
from orchestrator.online.actors import reward_learner_arguments
from orchestrator.online.frames.step_frames import StepFrames
from orchestrator.online.launch import step_archive
from orchestrator.online.loop import OnlineLoop
from orchestrator.online.reward_training import RewardTraining
from orchestrator.online.rollouts import Rollouts
from orchestrator.online.sessions import FeedbackSessions
from orchestrator.online.settings import OnlineExperiment
from orchestrator.ratings.service import RatingService
from orchestrator.ratings.store import RatingStore
from orchestrator.runs.checkpoints import Checkpoints
from orchestrator.runs.folder import RunFolder
from orchestrator.runs.home import RunHome
from orchestrator.runs.tracking import Tracker
from orchestrator.screen.run_progress import RunProgress
from tests.fakes.toy_reach import SPEC, CountingServer, ToyWorker


def toy_experiment(tmp_path):
    """Settings under which the toy task is solved within seconds."""
    return OnlineExperiment.model_validate(
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
    """A run's parts, put together as `orchestrator.online.launch` does."""

    worker_class, learner_class = ToyWorker, RewardLearner
    world = SPEC

    def __init__(self, experiment, broken=False, server_class=CountingServer):
        self.experiment = experiment
        server = ray.remote(server_class).options(max_concurrency=100, max_restarts=-1)
        self.server = server.remote(experiment.rater, broken)
        store = RatingStore(experiment.ratings_folder)
        self.service = RatingService(store, [self.server], experiment.rater, experiment.run_folder.name)
        self.service.begin_start()
        self.service.finish_start()
        px = experiment.reward_model.image_px if experiment.reward_model.input == "frame" else None
        self.workers, self.learners = [], []
        rollouts = Rollouts(self._start_worker, experiment.rollout.num_workers, px)
        rng = np.random.default_rng(experiment.seed)
        frames = StepFrames(self.world, rollouts, px, step_archive(experiment))
        sessions = FeedbackSessions(experiment, frames, self.service, store, rng)
        learner = RewardTraining(self._start_learner, sessions.first_inputs)
        policy = build_policy(experiment.policy, self.world, experiment.task.instruction, experiment.seed)
        self.loop = OnlineLoop(experiment, self.world, rollouts, frames, policy, learner, sessions)
        self.home = RunHome(experiment.run_folder)
        self.checkpoints = Checkpoints(self.home.folder / "checkpoints", experiment.checkpoint.keep, self.home)

    def _start_worker(self, index):
        settings = self.experiment
        self.workers.append(ray.remote(self.worker_class).remote(settings.task, settings.rollout, settings.seed, index))
        return self.workers[-1]

    def _start_learner(self):
        settings = self.experiment
        self.learners.append(ray.remote(self.learner_class).remote(*reward_learner_arguments(settings, self.world)))
        return self.learners[-1]

    def run(self, resume=False):
        if resume:
            self.loop.restore(self.checkpoints.newest_first()[0])
        progress = RunProgress("toy", self.experiment.total_env_steps, enabled=False)
        folder = RunFolder(self.experiment, Tracker(self.home.folder), progress, self.checkpoints)
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
        return read_run(self.experiment.run_folder).series("eval/success").values[-1]

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
