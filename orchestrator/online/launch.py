"""Starting an online run: everything it needs is made here, handed to the loop, and put away again."""

from functools import partial

import torch

from algorithms.policies import build_policy
from orchestrator.cluster.placement import as_text
from orchestrator.online.actors import start_reward_learner, start_rollout_worker, start_similarity_model
from orchestrator.online.asking.rater import Ratings
from orchestrator.online.demands import learner_demand, similarity_demand, worker_demand
from orchestrator.online.figures import draw_at_end
from orchestrator.online.loop import OnlineLoop
from orchestrator.online.rewards.making import make_reward
from orchestrator.online.rollouts import Rollouts, world_spec
from orchestrator.online.settings import OnlineExperiment
from orchestrator.runs.checkpoints import Checkpoints
from orchestrator.runs.folder import RunFolder
from orchestrator.runs.home import RunHome
from orchestrator.runs.layout import CHECKPOINTS_FOLDER
from orchestrator.runs.restoring import restore_newest
from orchestrator.runs.tracking import ParentRun, open_tracker
from orchestrator.screen.run_progress import RunProgress


def run_online(
    experiment: OnlineExperiment,
    here: OnlineExperiment,
    ratings: Ratings | None,
    progress: RunProgress,
    parent: ParentRun | None = None,
) -> None:
    """Run an experiment to its end, from its newest checkpoint if there is one; Ray is connected, and who rates has
    begun to load. `here` is the experiment as placed.

    With `parent` it is a trial of a sweep, and MLflow shows it below the sweep. Raises SettingsError if the model does
    not fit, and RatingsFailing if the rater fails.
    """
    if not here.policy.num_gpus:
        # The policy learns in this process, beside the actors: one thread each.
        torch.set_num_threads(1)
    # The model loads while the rest is made.
    loop = _make_loop(experiment, here, ratings)
    if ratings is not None:
        progress.update(phase="loading the rater")
        ratings.service.finish_start()
    home = RunHome(experiment.run_folder)
    checkpoints = Checkpoints(home.folder / CHECKPOINTS_FOLDER, experiment.checkpoint.keep, home)
    restored = restore_newest(loop, checkpoints)
    with open_tracker(experiment, loop.progress.env_steps, parent) as tracker:
        folder = RunFolder(experiment, tracker, progress, checkpoints)
        if experiment.by_similarity:
            method, model = experiment.similarity.method, experiment.similarity.model_name
            folder.note(f"reward.source 'similarity': {method} by {model}; nobody is asked")
        elif ratings is None:
            source = experiment.reward.source
            folder.note(f"reward.source {source!r}: privileged, each step is paid as it comes; nobody is asked")
        elif ratings.service.relies_on:
            folder.note(ratings.service.relies_on)
        elif ratings.loads_when_asked:
            folder.note("a run of this name has asked before: the model loads when a question is new")
        if restored is not None:
            folder.note(f"going on from {home.address(restored)}")
        loop.run(folder)
        figures = draw_at_end(folder.path, experiment, experiment.run_folder, folder.note)
        folder.track_pictures(figures)
        for path in figures:
            folder.note(f"figure: {home.address(path)}")
    home.finish()


def _make_loop(experiment: OnlineExperiment, here: OnlineExperiment, ratings: Ratings | None) -> OnlineLoop:
    rollouts = Rollouts(
        partial(start_rollout_worker, here),
        experiment.rollout.num_workers,
        experiment.reward_px,
        as_text(worker_demand(here)),
        experiment.rollout.lost_timeout_s,
    )
    world = world_spec(here, rollouts)
    needs = as_text(similarity_demand(here) if here.by_similarity else learner_demand(here))
    start_learner, start_model = partial(start_reward_learner, here, world), partial(start_similarity_model, here)
    reward = make_reward(experiment, start_learner, world, rollouts, ratings, needs, start_model)
    policy = build_policy(here.policy, world, experiment.task.instruction, experiment.seed)
    return OnlineLoop(experiment, world, rollouts, policy, reward)
