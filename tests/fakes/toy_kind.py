"""A third kind of experiment, small: something climbs, and its height is its score."""

from typing import Annotated, Literal

from pydantic import Field

from algorithms.settings import PositiveInt
from orchestrator.cluster.placement import Demand
from orchestrator.errors import SettingsError
from orchestrator.reports.tables import grouped, markdown_table
from orchestrator.runs.kind import Kind, Work
from orchestrator.runs.layout import SETTINGS_FILE
from orchestrator.runs.tracking import open_tracker
from orchestrator.settings.experiment import Experiment
from orchestrator.settings.loading import settings_as_yaml
from orchestrator.storage.writing import write_text

HEIGHT = "climb/height"


class ClimbExperiment(Experiment):
    """Climb by `slope` for so many steps, to a height of 1 at most."""

    kind: Literal["climb"]
    num_steps: PositiveInt = 4
    slope: Annotated[float, Field(ge=0.0)] = 0.1


class ClimbKind(Kind):
    name = "climb"
    settings = ClimbExperiment
    unit = "steps"
    changeable = ("runs_folder", "num_steps")
    reuses_process = True

    def check_machine(self, experiments):
        if any(experiment.slope > 1.0 for experiment in experiments):
            raise SettingsError("slope: too steep for this machine")

    def run(self, experiment, progress, parent=None):
        with open_tracker(experiment, parent=parent) as tracker:
            write_text(experiment.working_folder / SETTINGS_FILE, settings_as_yaml(experiment))
            for step in range(1, experiment.num_steps + 1):
                height = min(1.0, step * experiment.slope + 0.01 * experiment.seed)
                tracker.log({HEIGHT: height}, step)
                progress.update(phase="climbing", env_steps=step, success=height)

    def demands(self, experiment):
        return [Demand("rope", 1, {"CPU": 0.5}, "slope")]

    def length(self, experiment):
        return experiment.num_steps

    def work(self, experiment):
        return Work(updates=experiment.num_steps)

    def score(self, experiment):
        return HEIGHT

    def report(self, runs, out):
        rows = [
            [name, " ".join(f"{run.series(HEIGHT).values[-1]:.2f}" for run in group)]
            for name, group in grouped(runs).items()
        ]
        write_text(out / "climb.md", markdown_table(["experiment", "heights"], rows))
        return [out / "climb.md"]
