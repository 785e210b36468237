"""`likert doctor`: every check in turn, each with what to do where it fails."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import ray
from rich.console import Console

from actors.worlds.metaworld.settings import MetaWorldTask
from orchestrator.cluster.address import ray_address
from orchestrator.cluster.placement import Demand
from orchestrator.doctor import fit, model, packages, places, ray_cluster, worlds
from orchestrator.doctor.findings import Check, examine_all, raise_if_failed
from orchestrator.doctor.frames import check_frames
from orchestrator.kinds import example_experiment, kind_of, load_experiment
from orchestrator.screen.counts import counted
from orchestrator.settings.experiment import Experiment
from orchestrator.settings.loading import read_settings

NEEDED = {"resources": ("ray",), "node clocks": ("ray",), "model": ("ray", "rater", "memory", "tokens")}
"""Checks that are not made where one of these has failed, and what is then said of it."""
LACKING = {
    "ray": "Ray cannot be reached",
    "rater": "there are no weights to load",
    "memory": "the model does not fit",
    "tokens": "the model cannot be asked",
}


@dataclass(frozen=True)
class Patient:
    """What is to run."""

    experiments: Sequence[Experiment]
    demands: Sequence[Demand]
    """What one of them asks of the cluster."""

    @property
    def first(self) -> Experiment:
        """One that stands for all: trials of a sweep share task, rater and folders, as a rule."""
        return self.experiments[0]


def doctor(file: Path | None, overrides: Sequence[str], load_model: bool, console: Console | None = None) -> None:
    """Print what is well and what is not. Raises DoctorFailed if something is not, SettingsError for a bad file."""
    console = console or Console(markup=False, highlight=False)
    patient = load_patient(*_named(file, overrides, load_model))
    try:
        findings = examine_all(console, checks(patient, load_model), NEEDED | worlds.NEEDED, LACKING | worlds.LACKING)
    finally:
        ray.shutdown()
    raise_if_failed(findings)
    console.print(f"all {counted(len(findings), 'check')} passed")


def _named(file: Path | None, overrides: Sequence[str], load_model: bool) -> tuple[Path | None, Sequence[str]]:
    """Settings file and overrides, where the first argument may be an override or, with --model, a model instead."""
    if file is None or file.is_file():
        return file, overrides
    if "=" in str(file):
        return None, [str(file), *overrides]
    if load_model and file.suffix not in (".yaml", ".yml"):
        return None, [f"rater.model={json.dumps(str(file))}", *overrides]
    return file, overrides


def load_patient(file: Path | None, overrides: Sequence[str]) -> Patient:
    """The experiment, or the experiments of the sweep, in `file`. Raises SettingsError."""
    if file is None:
        experiments: Sequence[Experiment] = [example_experiment("doctor", overrides)]
    elif "search" in read_settings(file, overrides):
        from orchestrator.sweeps.search import load_sweep

        experiments = [trial.experiment for trial in load_sweep(file, overrides).trials]
    else:
        experiments = [load_experiment(file, overrides)]
    return Patient(experiments, kind_of(experiments[0]).demands(experiments[0]))


def checks(patient: Patient, load_model: bool) -> Iterator[tuple[str, Check]]:
    """Name and check, in the order in which they are made."""
    experiment, kind = patient.first, kind_of(patient.first)
    drawn, rater = kind.drawn(experiment), kind.rater(experiment)
    yield "python", packages.check_python
    yield "packages", packages.check_packages
    yield "folders", partial(places.check_folders, kind.folders(experiment))
    yield "disk", partial(places.check_space, patient.experiments, kind.check_disk)
    yield "clock", partial(places.check_clock, [experiment.runs_folder])
    yield "tracking", partial(places.check_tracking, experiment)
    if drawn is not None and isinstance(drawn[0], MetaWorldTask):
        yield "frames", partial(check_frames, *drawn)
    elif drawn is not None:
        yield from worlds.world_checks(partial(worlds.look_at, drawn[0], kind.seen_px(experiment)))
    if rater is not None:
        yield "rater", partial(model.check_weights, rater)
    compares = kind.compares_by(experiment)
    if compares is not None:
        yield "similarity", partial(model.check_similarity, compares)
    ask = kind.asks_of_frames(experiment)
    asked = load_model and rater is not None and drawn is not None and ask is not None
    if asked and rater.endpoint is None:
        yield "memory", partial(fit.check_memory, rater)
        yield "tokens", partial(fit.check_tokens, rater, ask, drawn[0].image_px)
    yield "ray", ray_cluster.check_ray
    yield "resources", partial(ray_cluster.check_room, patient.demands, len(patient.experiments))
    if ray_address():
        yield "node clocks", ray_cluster.check_node_clocks
    if asked:
        yield "model", partial(model.check_rating, rater, drawn[0], ask)
