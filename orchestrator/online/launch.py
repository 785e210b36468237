"""Starting an online run: everything it needs is made here, handed to the loop, and put away again."""

from functools import partial

import numpy as np
import torch

from algorithms.policies import build_policy
from orchestrator.cluster.placement import as_text
from orchestrator.online.actors import start_reward_learner, start_rollout_worker
from orchestrator.online.demands import learner_demand, placed, worker_demand
from orchestrator.online.figures import draw_run_figures
from orchestrator.online.frames.step_frames import StepFrames
from orchestrator.online.loop import OnlineLoop
from orchestrator.online.questions import QuestionMaker
from orchestrator.online.reward_training import RewardTraining
from orchestrator.online.rollouts import Rollouts, world_spec
from orchestrator.online.sessions import FeedbackSessions
from orchestrator.online.settings import OnlineExperiment
from orchestrator.ratings.asking import rating_servers
from orchestrator.ratings.service import RatingService
from orchestrator.ratings.store import RatingStore
from orchestrator.runs.checkpoints import Checkpoints
from orchestrator.runs.folder import RunFolder
from orchestrator.runs.frame_archive import FrameArchive
from orchestrator.runs.home import RunHome
from orchestrator.runs.layout import CHECKPOINTS_FOLDER, STEP_FRAMES_FOLDER
from orchestrator.runs.reading import RunData
from orchestrator.runs.restoring import restore_newest
from orchestrator.runs.tracking import ParentRun, open_tracker
from orchestrator.screen.run_progress import RunProgress

_SEGMENTS = 7
"""Sets the random stream that selects segments apart from those of the other parts."""


def run_online(experiment: OnlineExperiment, progress: RunProgress, parent: ParentRun | None = None) -> None:
    """Run an experiment to its end, from its newest checkpoint if there is one; Ray is connected.

    With `parent` it is a trial of a sweep, and MLflow shows it below the sweep. Raises SettingsError if the cluster or
    the model does not fit, and RatingsFailing if the rater fails.
    """
    # What it is made with; what it is called by, and leaves behind, are the settings as they were given.
    here = placed(experiment)
    if not here.policy.num_gpus:
        # The policy learns in this process, beside the actors: one thread each.
        torch.set_num_threads(1)
    rater = here.rater
    servers = rating_servers(rater)
    store = RatingStore(experiment.ratings_folder)
    segment = experiment.feedback.segment
    needs = QuestionMaker(experiment.task, experiment.feedback, rater.mode).needs(segment.num_frames)
    service = RatingService(store, servers, rater, experiment.run_folder.name, needs)
    try:
        # The model loads while the rest is made.
        service.begin_start()
        loop = _make_loop(experiment, here, store, service)
        progress.update(phase="loading the rater")
        service.finish_start()
        home = RunHome(experiment.run_folder)
        checkpoints = Checkpoints(home.folder / CHECKPOINTS_FOLDER, experiment.checkpoint.keep, home)
        restored = restore_newest(loop, checkpoints)
        with open_tracker(experiment, loop.progress.env_steps, parent) as tracker:
            folder = RunFolder(experiment, tracker, progress, checkpoints)
            if service.relies_on:
                folder.note(service.relies_on)
            if restored is not None:
                folder.note(f"going on from {home.address(restored)}")
            loop.run(folder)
            figures = draw_run_figures(RunData.of(folder.path, experiment))
            folder.track_pictures(figures)
            for path in figures:
                folder.note(f"figure: {home.address(path)}")
        home.finish()
    finally:
        service.close()


def _make_loop(
    experiment: OnlineExperiment, here: OnlineExperiment, store: RatingStore, service: RatingService
) -> OnlineLoop:
    reward_image_px = experiment.reward_model.image_px if experiment.reward_model.input == "frame" else None
    patience_s = experiment.rollout.lost_timeout_s
    rollouts = Rollouts(
        partial(start_rollout_worker, here),
        experiment.rollout.num_workers,
        reward_image_px,
        as_text(worker_demand(here)),
        patience_s,
    )
    world = world_spec(here, rollouts)
    frames = StepFrames(world, rollouts, reward_image_px, step_archive(experiment))
    rng = np.random.default_rng(np.random.SeedSequence(experiment.seed, spawn_key=(_SEGMENTS,)))
    sessions = FeedbackSessions(experiment, frames, service, store, rng)
    learner = RewardTraining(
        partial(start_reward_learner, here, world),
        sessions.first_inputs,
        as_text(learner_demand(here)),
        patience_s,
    )
    policy = build_policy(here.policy, world, experiment.task.instruction, experiment.seed)
    return OnlineLoop(experiment, world, rollouts, frames, policy, learner, sessions)


def step_archive(experiment: OnlineExperiment) -> FrameArchive:
    """Where the run keeps frames that its world cannot draw again. Nothing is written before there are some."""
    settings = experiment.rollout
    return FrameArchive(
        experiment.working_folder / STEP_FRAMES_FOLDER,
        memory_bytes=int(settings.frames_memory_gb * 1e9),
        disk_bytes=int(settings.frames_disk_gb * 1e9),
        checkpoints_kept=experiment.checkpoint.keep,
    )
