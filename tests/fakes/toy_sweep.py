"""A sweep over the toy task: real Ray Tune, trials, shared rating server and MLflow.

The rater is a function, or, if `rater.model` names a folder, the real engine.

python -m tests.fakes.toy_sweep FOLDER [--resume] [KEY.PATH=VALUE ...]
"""

import os
import signal
import sys
import time
from pathlib import Path

import yaml

from actors.rating.server import RatingServer
from actors.rating.settings import POCKET
from orchestrator.cluster.actors import actor_class
from orchestrator.cluster.placement import in_bundle
from orchestrator.online import launch
from orchestrator.online.actors import reward_learner_arguments
from orchestrator.online.demands import LEARNER, WORKER, learner_demand, online_demands
from orchestrator.online.kind import OnlineKind
from orchestrator.settings.loading import settings_as_yaml
from orchestrator.settings.strict_yaml import parse_yaml
from orchestrator.sweeps.search import load_sweep
from tests.fakes.mortal import MortalServer, MortalWorker
from tests.fakes.toy_reach import SPEC
from tests.fakes.toy_run import toy_experiment


class ToyTrials(OnlineKind):
    """Online trials whose environment is the toy one. Files beside the sweep's folder meddle with a trial by its name:

    `graves/NAME` kills its process, once, when it has come to step 600; `holds/NAME` keeps it waiting at step 800.
    Files in `deaths/NAME` kill its actors, and those in `deaths` the rating server, as `tests.fakes.mortal` says.
    """

    def run(self, experiment, progress, parent=None):
        launch.world_spec = lambda *_: SPEC
        launch.start_rollout_worker, launch.start_reward_learner = _start_worker, _start_learner
        self._watch(experiment, progress)
        super().run(experiment, progress, parent)

    def _watch(self, experiment, progress):
        runs, name = experiment.runs_folder.parent, experiment.run_folder.name
        grave, hold = runs / "graves" / name, runs / "holds" / name
        show = progress.update

        def update(**changes):
            show(**changes)
            # It acts on after a checkpoint.
            steps = changes.get("env_steps", 0) if changes.get("phase") == "acting" else 0
            if steps >= 600 and grave.exists():
                grave.unlink()
                os.kill(os.getpid(), signal.SIGKILL)
            while steps >= 800 and hold.exists():
                time.sleep(0.1)

        progress.update = update


def _start_worker(experiment, index):
    place = in_bundle(online_demands(experiment), WORKER, index)
    actor = actor_class(MortalWorker, {"CPU": experiment.rollout.num_cpus}, {}, **place)
    return actor.remote(_deaths(experiment), experiment.task, experiment.rollout, experiment.seed, index)


def _start_learner(experiment, world):
    from tests.fakes.mortal_learner import MortalLearner

    place = in_bundle(online_demands(experiment), LEARNER)
    actor = actor_class(MortalLearner, learner_demand(experiment), **place)
    return actor.remote(_deaths(experiment), *reward_learner_arguments(experiment, world))


def _deaths(experiment):
    return experiment.runs_folder.parent / "deaths" / experiment.run_folder.name


class ToyServer(MortalServer):
    """The function, in an actor that finds its grave by the environment, which Ray's processes inherit."""

    def __init__(self, settings):
        super().__init__(settings, Path(os.environ["TOY_DEATHS"]))


def write_toy_sweep(folder: Path, search: dict, sweep: dict | None = None) -> Path:
    """A sweep's file over the toy experiment, its runs and ratings in `folder`."""
    tree = parse_yaml(settings_as_yaml(toy_experiment(folder)))
    tree["rollout"]["num_cpus"] = 0.5
    tree["checkpoint"]["interval_env_steps"] = 200
    path = folder / "sweep.yaml"
    path.write_text(yaml.safe_dump(tree | {"search": search, "sweep": sweep or {}}))
    return path


def main() -> None:
    from orchestrator.sweeps.driver import run_sweep

    folder, *rest = sys.argv[1:]
    overrides = [argument for argument in rest if argument != "--resume"]
    plan = load_sweep(Path(folder) / "sweep.yaml", overrides)
    experiment = plan.trials[0].experiment
    os.environ["TOY_DEATHS"] = str(experiment.runs_folder.parent / "deaths")
    run_sweep(plan, "--resume" in rest, ToyTrials(), ToyServer if experiment.rater.model == POCKET else RatingServer)


if __name__ == "__main__":
    main()
