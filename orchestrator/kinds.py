"""The kinds of experiment: the one place that knows them all.

A kind is a module in a room of its own, with a class of `orchestrator.runs.kind.Kind`, and a line in `KINDS`. What
lies below (settings, runs, reports, the cluster) and above (sweeps, the doctor, the command) asks a kind for what it
needs, and knows none by name.
"""

import copy
from collections.abc import Iterable, Sequence
from pathlib import Path

from orchestrator.errors import SettingsError
from orchestrator.offline.kind import OfflineKind
from orchestrator.online.kind import OnlineKind
from orchestrator.runs import reading
from orchestrator.runs.kind import Along, Kind
from orchestrator.runs.plan import Assumed, plan_text
from orchestrator.runs.reading import RunData
from orchestrator.settings import loading
from orchestrator.settings.experiment import Experiment
from orchestrator.settings.loading import Kinds, Tree
from orchestrator.storage.locations import RemotePath

KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        OnlineKind(),
        OfflineKind(),
    )
}
"""By what the field `kind` of a settings file says; a file without it is of the first."""


def kind_of(experiment: Experiment) -> Kind:
    """What kind of experiment this is."""
    return KINDS[experiment.kind]


def settings_classes() -> Kinds:
    """The settings class of each kind."""
    return {name: kind.settings for name, kind in KINDS.items()}


def load_experiment(path: Path | str, overrides: Sequence[str] = ()) -> Experiment:
    """As `settings.loading.load_experiment`, of any kind. Raises SettingsError."""
    return loading.load_experiment(path, overrides, settings_classes())


def load_stored_experiment(path: Path | RemotePath) -> Experiment:
    """As `settings.loading.load_stored_experiment`, of any kind. Raises SettingsError."""
    return loading.load_stored_experiment(path, settings_classes())


def experiment_from(tree: Tree, folder: Path, title: str) -> Experiment:
    """As `settings.loading.experiment_from`, of any kind. Raises SettingsError."""
    return loading.experiment_from(tree, folder, title, settings_classes())


def example_experiment(name: str, overrides: Sequence[str] = ()) -> Experiment:
    """A small experiment of the first kind, for where no file is given. Raises SettingsError for an override."""
    tree = copy.deepcopy({"name": name, **next(iter(KINDS.values())).example})
    return experiment_from(loading.lay_over(tree, overrides, Path()), Path(), name)


def read_run(folder: Path | RemotePath) -> RunData:
    """As `runs.reading.read_run`, of any kind. Raises SettingsError."""
    return reading.read_run(folder, load_stored_experiment)


def find_runs(folders: Iterable[Path | RemotePath]) -> list[RunData]:
    """As `runs.reading.find_runs`, of any kind. Raises SettingsError."""
    return reading.find_runs(folders, load_stored_experiment)


def run_experiment(experiment: Experiment) -> None:
    """Run an experiment to its end, from its newest checkpoint if there is one, and show how far it is.

    Raises SettingsError if the cluster does not fit, and what the kind's own `run` raises.
    """
    from orchestrator.cluster.actors import connected
    from orchestrator.screen.run_progress import RunProgress

    kind = kind_of(experiment)
    with RunProgress(experiment.run_folder.name, kind.length(experiment), unit=kind.unit) as progress:
        progress.update(phase="starting")
        with connected(kind.demands(experiment)):
            kind.run(experiment, progress)


def plan_experiment(experiment: Experiment, assumed: Assumed) -> str:
    """Say where an experiment's actors would go, how long its parts would take and what it would ask; nothing is
    written.

    Raises SettingsError if the cluster does not fit.
    """
    from orchestrator.cluster.actors import connected
    from orchestrator.cluster.packing import as_text
    from orchestrator.cluster.placement import nodes_of, settle_for_run

    kind = kind_of(experiment)
    with connected(kind.demands(experiment)):
        where = [
            (demand.kind, number, as_text(demand.resources), node)
            for demand, nodes in nodes_of(settle_for_run(kind.demands(experiment)))
            for node, number in nodes.items()
        ]
        plan = kind.plan(experiment, assumed)
    return plan_text(f"{experiment.run_folder.name}: {kind.length(experiment):,} {kind.unit}", where, plan)


def export_policy(run: Path | RemotePath, folder: Path) -> list[Path]:
    """Write the policy of a run's folder into a folder of its own, for any program; return its files.

    Raises SettingsError if it is no run, if it has no policy yet, or if there is something in `folder`.
    """
    from orchestrator.runs.policies.exporting import write_export

    experiment = read_run(run).experiment
    policy = kind_of(experiment).policy(run, experiment)
    return write_export(folder, policy, loading.settings_as_yaml(experiment))


def write_report(folders: Sequence[Path | RemotePath], out: Path, along: Along | None = None) -> list[Path]:
    """Write the tables and figures of the runs in `folders` into `out`, those of each kind; return their paths. With
    `along` also what runs pay along trajectories that succeed.

    Raises SettingsError if a folder holds no run, or, once the rest is written, if no run of a kind has been evaluated,
    or none can be asked what it pays.
    """
    runs = find_runs(folders)
    paths: list[Path] = []
    errors = []
    for name, kind in KINDS.items():
        try:
            found = [run for run in runs if run.experiment.kind == name]
            paths += kind.report(found, out) if found else []
        except SettingsError as error:
            errors.append(str(error))
    if along is not None:
        try:
            drawn = [
                path
                for name, kind in KINDS.items()
                if (found := [run for run in runs if run.experiment.kind == name])
                for path in kind.along(found, along, out)
            ]
            if not drawn:
                raise SettingsError("--along: none of these runs learned in a world that can be acted in; leave it out")
            paths += drawn
        except SettingsError as error:
            errors.append(str(error))
    if errors:
        # What the other kinds have to say is written all the same.
        raise SettingsError("; ".join([*errors, *([f"the other runs are in {out}"] if paths else [])]))
    return paths
