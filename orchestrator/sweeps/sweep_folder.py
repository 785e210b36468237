"""A sweep's folder: what was planned, how long it has run, and where its trials stand."""

import json
from pathlib import Path

import yaml

from orchestrator.errors import SettingsError
from orchestrator.kinds import kind_of
from orchestrator.runs.layout import SETTINGS_FILE
from orchestrator.runs.reading import RunData
from orchestrator.settings.strict_yaml import parse_yaml
from orchestrator.storage.locations import RemotePath, working_copy
from orchestrator.storage.writing import write_atomic, write_json
from orchestrator.sweeps.search import SweepPlan, Trial, with_values
from orchestrator.sweeps.trial_folder import TrialRecord, read_record

SWEEP_FILE = "sweep.yaml"
"""Search, settings and trials, for people and for `--resume`."""
_STATE_FILE = "sweep_state.json"


class SweepFolder:
    """What a sweep keeps of its own; the trials' folders lie in it."""

    def __init__(self, plan: SweepPlan) -> None:
        self._plan = plan
        self.path = plan.folder
        self.local = working_copy(plan.folder)
        """The folder itself, or, where it is remote, a folder of this machine."""

    def check(self, resume: bool) -> None:
        """Raise SettingsError if this sweep may not use the folder: it holds one already, or another one."""
        path = self.path / SWEEP_FILE
        if not path.exists():
            if resume:
                raise SettingsError(f"--resume: there is no sweep in {self.path} yet; leave --resume out to start it")
            return
        if not resume:
            raise SettingsError(
                f"{self.path} holds a sweep already. Add --resume to go on with it; or give this one another name, as "
                "name=NAME (equal questions are answered from the rating store); or delete that folder"
            )
        try:
            before = list(parse_yaml(path.read_text())["trials"])
        except (OSError, ValueError, yaml.YAMLError, KeyError, TypeError) as error:
            raise SettingsError(
                f"{path} cannot be read ({type(error).__name__}: {error}); put it back, or give another name"
            ) from None
        missing = [name for name in before if name not in {trial.name for trial in self._plan.trials}]
        if missing:
            raise SettingsError(
                f"--resume: the sweep in {self.path} has {len(missing)} trials that these settings do not have, such "
                f"as {missing[0]}; give the search that it was started with, or more, or another name"
            )

    def trials(self) -> list[Trial]:
        """The plan's trials with the values they had last. Raises SettingsError if one was run with other settings."""
        trials = []
        for trial in self._plan.trials:
            values = self.record(trial).values
            trials.append(trial if values is None else with_values(self._plan, trial, values))
            kind_of(trial.experiment).check_same_run(trials[-1].experiment)
        return trials

    def record(self, trial: Trial) -> TrialRecord:
        """What is known of a trial."""
        return read_record(self.path / trial.name)

    def history(self, name: str) -> list[tuple[int, float]]:
        """(steps, success) at each evaluation of a trial so far."""
        if not (self.path / name / SETTINGS_FILE).exists():
            return []
        experiment = self._plan.trial(name).experiment
        series = RunData.of(self.path / name, experiment).series(kind_of(experiment).score(experiment))
        return [(int(step), float(value)) for step, value in zip(series.env_steps, series.values, strict=True)]

    def write(self, name: str, content: bytes) -> Path | RemotePath:
        """Write one of the sweep's own files, and return where it is."""
        for folder in dict.fromkeys((self.local, self.path)):
            write_atomic(folder / name, content)
        return self.path / name

    def write_plan(self) -> None:
        """Keep what is planned."""
        plan = self._plan
        tree = {
            "name": plan.name,
            "search": {name: entry.model_dump(mode="json", exclude_unset=True) for name, entry in plan.search.items()},
            "sweep": plan.settings.model_dump(mode="json"),
            "trials": {trial.name: dict(trial.values) for trial in plan.trials},
        }
        self.write(SWEEP_FILE, yaml.safe_dump(tree, sort_keys=False, allow_unicode=True, width=120).encode())

    def elapsed_s(self) -> float:
        """Time of all launches so far."""
        path = self.path / _STATE_FILE
        return float(json.loads(path.read_text())["elapsed_s"]) if path.exists() else 0.0

    def keep_elapsed(self, elapsed_s: float) -> None:
        """Remember that time."""
        write_json(self.path / _STATE_FILE, {"elapsed_s": elapsed_s})
