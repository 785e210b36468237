"""Starting an offline run: everything it needs is made here, handed to the loop, and put away again."""

from typing import Any

import torch

from actors.chain_evaluation import ChainEvaluator, PolicyFace
from algorithms.delay import delay_warning
from algorithms.policies import build_language_iql
from orchestrator.cluster.actors import actor_class
from orchestrator.cluster.placement import in_bundle
from orchestrator.data.datasets import TrajectoryDataset
from orchestrator.data.schema import made_by_older_rules
from orchestrator.offline.chains.chain_tasks import TASKS_RULE
from orchestrator.offline.chains.chain_worlds import ChainWorld, world_of
from orchestrator.offline.chains.judges import ChainJudges
from orchestrator.offline.data import OfflineData, load_offline_data
from orchestrator.offline.demands import EVALUATOR, EVALUATOR_DEMAND, offline_demands, placed
from orchestrator.offline.evaluation_settings import ChainEvaluationSettings
from orchestrator.offline.held_out.judge import HeldOutJudge
from orchestrator.offline.held_out.split import draw_held_out, read_successes
from orchestrator.offline.judging import Judge
from orchestrator.offline.loop import OfflineLoop
from orchestrator.offline.observation_cache import cached_observations
from orchestrator.offline.settings import OfflineExperiment
from orchestrator.runs.checkpoints import Checkpoints
from orchestrator.runs.home import RunHome
from orchestrator.runs.layout import CHECKPOINTS_FOLDER, SETTINGS_FILE
from orchestrator.runs.policies.language import about_policy, note_policy
from orchestrator.runs.restoring import restore_newest
from orchestrator.runs.tracking import ParentRun, open_tracker
from orchestrator.screen.run_progress import RunProgress
from orchestrator.settings.loading import settings_as_yaml
from orchestrator.storage.writing import write_text


def run_offline(experiment: OfflineExperiment, progress: RunProgress, parent: ParentRun | None = None) -> None:
    """Run an offline experiment to its end, from its newest checkpoint if there is one; Ray is connected.

    With `parent` it is a trial of a sweep, and MLflow shows it below the sweep. Raises SettingsError if the cluster or
    the data does not fit.
    """
    here = placed(experiment)
    if not here.policy.num_gpus:
        # The policy learns in this process, beside the actors: one thread each.
        torch.set_num_threads(1)
    dataset = TrajectoryDataset(experiment.data.path)
    progress.update(phase="reading the data")
    if (word := made_by_older_rules(dataset.info)) is not None:
        progress.note(f"{experiment.data.path}: {word}")
    data, judge = judged_data(experiment, dataset, progress)
    if data.transitions.num_unlabelled:
        share = data.transitions.num_unlabelled / len(data.transitions)
        progress.note(f"{data.transitions.num_unlabelled:,} actions ({share:.1%}) have no label: no reward is made up")
    if experiment.policy.actor_loss != "cloning":
        correlations = {f"the rewards of {experiment.data.reward.labeller!r}": data.delay}
        if (word := delay_warning(correlations, experiment.policy.discount)) is not None:
            progress.note(word)
    policy = build_language_iql(here.policy, data.shape, experiment.seed)
    policy.set_transitions(data.transitions)
    loop = OfflineLoop(experiment, policy, judge)
    home = RunHome(experiment.run_folder)
    checkpoints = Checkpoints(home.folder / CHECKPOINTS_FOLDER, experiment.checkpoint.keep, home)
    restored = restore_newest(loop, checkpoints)
    note_policy(home.folder, _about_policy(experiment, dataset, data), restored is not None)
    with open_tracker(experiment, loop.progress.updates, parent) as tracker:
        write_text(home.folder / SETTINGS_FILE, settings_as_yaml(experiment))
        if restored is not None:
            progress.note(f"going on from {home.address(restored)}")
            if experiment.chains is not None and loop.progress.tasks_rule != TASKS_RULE:
                progress.note(
                    "an older likert-rl began this run and judged it by other tasks: the evaluations from here on are "
                    "not to be compared with those before (docs/offline.md)"
                )
        loop.run(tracker, progress, checkpoints)
    home.finish()


def _about_policy(experiment: OfflineExperiment, dataset: TrajectoryDataset, data: OfflineData) -> dict[str, Any]:
    settings, network = experiment.data, experiment.policy.network
    model = settings.sentence_model
    reader = None if model is None else (model, settings.sentence_model_revision)
    return about_policy(
        data.shape,
        network,
        settings.observation,
        data.words,
        reader,
        data.objects,
        data.scale,
        dataset.info,
        settings.path,
    )


def judged_data(
    experiment: OfflineExperiment, dataset: TrajectoryDataset, progress: RunProgress
) -> tuple[OfflineData, Judge]:
    """What is learned from, and who judges. Ray is connected, unless there is no simulator.

    Raises SettingsError if the data has too little to be judged by.
    """
    _, first_rows = cached_observations(dataset, experiment.data)
    if experiment.held_out is not None:
        successes = read_successes(dataset, first_rows)
        held_out = draw_held_out(dataset.folder, dataset.info.source, successes, experiment.held_out)
        data = load_offline_data(dataset, experiment.data, (), experiment.policy.discount, held_out)
        progress.note(
            f"{len(held_out):,} of {len(successes):,} episodes are held out to judge by, of which "
            f"{sum(successes[name] for name in held_out):,} succeeded"
        )
        return data, HeldOutJudge(experiment, data, dataset.info.actions.names)
    settings = experiment.chains
    assert settings is not None
    world = world_of(experiment, dataset)
    progress.update(phase="drawing tasks")
    tasks = world.plan(tuple(first_rows))
    progress.update(phase="reading the data")
    data = load_offline_data(dataset, experiment.data, tasks.texts, experiment.policy.discount)
    workers = _start_evaluators(experiment, settings, world, data)
    sample_seed = experiment.seed if settings.sample_actions else None
    return data, ChainJudges(workers, tasks, data.encode, sample_seed, settings.starts)


def _start_evaluators(
    experiment: OfflineExperiment, settings: ChainEvaluationSettings, world: ChainWorld, data: OfflineData
) -> list[Any]:
    face = PolicyFace(
        data.shape,
        experiment.policy.network,
        experiment.data.observation,
        settings.instruction == "whole",
        data.scale,
    )
    demands = offline_demands(experiment)
    return [
        actor_class(ChainEvaluator, EVALUATOR_DEMAND, **in_bundle(demands, EVALUATOR, number)).remote(
            world.maker(data.objects), face, world.at_once
        )
        for number in range(settings.num_workers)
    ]
