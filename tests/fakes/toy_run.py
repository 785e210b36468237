"""Runs of the toy task: the real loop with real Ray actors, and a rater that is a function."""

import ray

from actors.rating.similarity.model import SimilarityModel
from actors.reward.learner import RewardLearner
from algorithms.policies import build_policy
from orchestrator.kinds import read_run
from orchestrator.online.actors import reward_learner_arguments
from orchestrator.online.loop import OnlineLoop
from orchestrator.online.rewards import making
from orchestrator.online.rollouts import Rollouts
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

    worker_class, learner_class, model_class = ToyWorker, RewardLearner, SimilarityModel
    world = SPEC

    def __init__(self, experiment, broken=False, server_class=CountingServer):
        self.experiment = experiment
        ratings = None
        self.service = None
        if experiment.asks_rater:
            server = ray.remote(server_class).options(max_concurrency=100, max_restarts=-1)
            self.server = server.remote(experiment.rater, broken)
            store = RatingStore(experiment.ratings_folder)
            self.service = RatingService(store, [self.server], experiment.rater, experiment.run_folder.name)
            self.service.begin_start()
            self.service.finish_start()
            ratings = making.Ratings(store, self.service)
        self.workers, self.learners = [], []
        rollouts = Rollouts(self._start_worker, experiment.rollout.num_workers, experiment.reward_px)
        reward = making.make_reward(
            experiment, self._start_learner, self.world, rollouts, ratings, start_model=self._start_model
        )
        policy = build_policy(experiment.policy, self.world, experiment.task.instruction, experiment.seed)
        self.loop = OnlineLoop(experiment, self.world, rollouts, policy, reward)
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

    def _start_model(self):
        settings = self.experiment.similarity
        baseline = settings.baseline or self.experiment.task.scene
        return ray.remote(self.model_class).remote(settings.model_copy(update={"num_gpus": 0.0}), baseline)

    def run(self, resume=False):
        if resume:
            self.loop.restore(self.checkpoints.newest_first()[0])
        progress = RunProgress("toy", self.experiment.total_env_steps, enabled=False)
        folder = RunFolder(self.experiment, Tracker(self.home.folder), progress, self.checkpoints)
        try:
            self.loop.run(folder)
        finally:
            if self.service is not None:
                self.service.close()
        return self

    @property
    def num_asked(self):
        return ray.get(self.server.asked.remote())

    @property
    def labels(self):
        return self.loop.reward.sessions.labels

    def success(self):
        return read_run(self.experiment.run_folder).series("eval/success").values[-1]

    def fingerprint(self):
        """What a repeated or resumed run must have in common, to the last bit."""
        replay, reward = self.loop.policy.replay, self.loop.reward
        learned = {}
        if self.experiment.learns_reward:
            weights, version = reward.learner.publish()
            learned = {
                "keys": reward.sessions.labels.keys,
                "version": version,
                "reward model": {name: array.tobytes() for name, array in weights.items()},
            }
        return learned | {
            "observations": replay.stored_next_observations().tobytes(),
            "rewards": replay.learned_rewards(replay.indices).tobytes(),
            "policy": {name: array.tobytes() for name, array in self.loop.policy.actor_weights().items()},
        }
