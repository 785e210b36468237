"""From a sweep's file to its trials: every combination, drawn up front, each a valid experiment."""

import copy
import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.errors import SettingsError
from orchestrator.kinds import experiment_from, settings_classes
from orchestrator.settings.experiment import Experiment
from orchestrator.settings.loading import (
    Tree,
    experiment_of,
    field_keys,
    kind_in,
    read_settings,
    set_field,
    settings_as_yaml,
    unusable,
    validate,
)
from orchestrator.settings.messages import shown
from orchestrator.settings.strict_yaml import parse_yaml
from orchestrator.storage.locations import RemotePath, location_argument
from orchestrator.sweeps.settings import SearchEntry, SweepSettings

SEED = "seed"
"""The searched field that a cell leaves open: a cell's trials differ in it alone."""
LONGEST_NAME = 100
"""Characters of a cell's name; folders have it."""
MOST_TRIALS = 10_000
"""Each is validated before anything starts."""
_SHOWN_ERRORS = 3


@dataclass(frozen=True)
class Trial:
    """One experiment of a sweep."""

    name: str
    """Name of its folder and of its run at MLflow."""
    cell: str
    """Its settings but for the seed."""
    values: Mapping[str, Any]
    """What the search gave each of its entries: a value, or an option's name."""
    fields: Mapping[str, Any]
    """The same as experiment fields by dotted path."""
    experiment: Experiment


@dataclass(frozen=True)
class SweepPlan:
    """All that a sweep will do, known before it starts."""

    name: str
    folder: Path | RemotePath
    """Holds a folder per trial, and the sweep's own files."""
    search: Mapping[str, SearchEntry]
    settings: SweepSettings
    trials: Sequence[Trial] = field(repr=False)

    @property
    def cells(self) -> list[str]:
        """Cells in the order of their first trial."""
        return list(dict.fromkeys(trial.cell for trial in self.trials))

    def trial(self, name: str) -> Trial:
        """The trial of that name."""
        return next(trial for trial in self.trials if trial.name == name)


def load_sweep(path: Path | str, overrides: Sequence[str] = ()) -> SweepPlan:
    """Read a sweep's file: an experiment with the blocks `search` and `sweep`, and overrides of any field in it.

    Raises SettingsError, naming the trials, if any of the experiments is not a valid one.
    """
    path = Path(path)
    title = unusable(path)
    tree = read_settings(path, overrides)
    search = _search_entries(tree.pop("search", None), path, title)
    settings = validate(SweepSettings, tree.pop("sweep", {}), f"{title}: block sweep")
    _check_draws(search, settings)
    name = _sweep_name(tree, path, title)
    model = kind_in(tree, title, settings_classes())
    runs = _location(tree, model, "runs_folder")
    tree["runs_folder"] = str(runs / name)
    if "ratings_folder" in model.model_fields:
        tree["ratings_folder"] = str(_location(tree, model, "ratings_folder"))
    try:
        trials = _trials(tree, path.parent, name, search, settings)
    except SettingsError as error:
        raise SettingsError(f"{title}: {error}") from None
    return SweepPlan(name, runs / name, search, settings, trials)


def _search_entries(block: Any, path: Path, title: str) -> dict[str, SearchEntry]:
    if not isinstance(block, dict) or not block:
        raise SettingsError(
            f"{title}: a sweep needs a block `search`, such as `search: {{seed: {{grid: [0, 1, 2]}}}}`; "
            f"without one, use `likert run {path}`"
        )
    entries = {}
    for name, value in _flat(block).items():
        if not isinstance(value, dict):
            raise SettingsError(
                f"{title}: search.{name} = {shown(value)}: must say how, such as {{grid: [{shown(value)}]}}"
            )
        entries[name] = validate(SearchEntry, value, f"{title}: search.{name}")
    return entries


def _flat(block: Mapping[Any, Any], prefix: str = "") -> dict[str, Any]:
    """Entries by dotted path. An override such as `search.reward_model.loss.grid=[mae]` comes as blocks in blocks."""
    flat: dict[str, Any] = {}
    for key, value in block.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict) and value and not value.keys() & SearchEntry.model_fields.keys():
            flat |= _flat(value, f"{name}.") if _holds_entries(value) else {name: value}
        else:
            flat[name] = value
    return flat


def _holds_entries(block: Mapping[Any, Any]) -> bool:
    return all(isinstance(value, dict) for value in block.values())


def _check_draws(search: Mapping[str, SearchEntry], settings: SweepSettings) -> None:
    if settings.num_samples > 1 and not any(entry.drawn for entry in search.values()):
        raise SettingsError(
            f"sweep.num_samples = {settings.num_samples}: nothing in `search` is drawn, so these would be copies; "
            "remove it, or search seeds: seed: {grid: [0, 1, 2]}"
        )
    number = settings.num_samples * math.prod(len(entry.grid or ()) for entry in search.values() if not entry.drawn)
    if number > MOST_TRIALS:
        raise SettingsError(
            f"the search has {number:,} combinations, and a sweep at most {MOST_TRIALS:,}: shorten a grid, draw fewer "
            "samples (sweep.num_samples), or split it into several sweeps"
        )
    if SEED in search and search[SEED].drawn:
        raise SettingsError("search.seed: seeds are enumerated, not drawn, so that cells can be compared; give a grid")


def _sweep_name(tree: Tree, path: Path, title: str) -> str:
    name = tree.get("name", path.stem)
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9_.-]+", name):
        raise SettingsError(
            f"{title}: name = {shown(name)}: must be letters, digits and any of _ . - for the sweep's folder"
        )
    return name


def _location(tree: Tree, model: type[Experiment], field: str) -> Path | RemotePath:
    """Where a field of the file says, or its default, whatever folder a trial's process stands in."""
    given = location_argument(str(tree.get(field, model.model_fields[field].default)))
    return given.absolute() if isinstance(given, Path) else given


def _trials(
    tree: Tree, folder: Path, name: str, search: Mapping[str, SearchEntry], settings: SweepSettings
) -> list[Trial]:
    trials, errors = [], []
    names = _short_names(search)
    cells: dict[str, str] = {}
    # Seeds outermost: what a budget leaves is whole cells with fewer seeds.
    for sample, values, fields in _combinations(search, settings):
        enumerated = {names[entry]: value for entry, value in values.items() if not search[entry].drawn}
        cell = _cell_name(enumerated, sample, name)
        if cells.setdefault(cell, _identity(sample, values)) != _identity(sample, values):
            cell = f"{cell}.{len(cells)}"
            cells[cell] = _identity(sample, values)
        try:
            experiment = _experiment(tree, folder, cell, fields)
        except SettingsError as error:
            errors.append(f"{_shown(values)}: {error}")
            continue
        trials.append(Trial(experiment.run_folder.name, cell, values, fields, experiment))
    if errors:
        more = f"\n(and {len(errors) - _SHOWN_ERRORS} more)" if len(errors) > _SHOWN_ERRORS else ""
        raise SettingsError(
            f"{len(errors)} of the sweep's {len(errors) + len(trials)} experiments cannot be used. "
            + "\n".join(errors[:_SHOWN_ERRORS])
            + more
        )
    return trials


def _combinations(
    search: Mapping[str, SearchEntry], settings: SweepSettings
) -> Iterator[tuple[int | None, dict[str, Any], dict[str, Any]]]:
    """(number of the draw, if any is made; values by entry; fields by dotted path), in the order of the trials."""
    grids = {name: list(entry.grid) for name, entry in search.items() if not entry.drawn}
    drawn = {name: entry for name, entry in search.items() if entry.drawn}
    seeds = grids.pop(SEED, [None])
    points = [dict(zip(grids, point, strict=True)) for point in itertools.product(*grids.values())]
    rng = np.random.default_rng(settings.seed)
    # Drawn once for each point of the grid, so that its seeds share them.
    drafts = [
        (sample if drawn else None, point | {name: draw(entry, rng) for name, entry in drawn.items()})
        for point in points
        for sample in range(settings.num_samples)
    ]
    for seed in seeds:
        for sample, draft in drafts:
            values = {name: seed if name == SEED else draft[name] for name in search}
            yield sample, values, _fields(search, values)


def with_values(plan: SweepPlan, trial: Trial, values: Mapping[str, Any]) -> Trial:
    """The trial with other values of its entries, under its old name. Raises SettingsError if they are not valid."""
    fields = _fields(plan.search, values)
    tree = parse_yaml(settings_as_yaml(trial.experiment))
    for path, value in fields.items():
        set_field(tree, field_keys(path), value, Path())
    title = f"trial {trial.name} cannot go on with {_shown(values)}"
    experiment = experiment_of(type(trial.experiment), tree, Path(), title)
    return replace(trial, values=dict(values), fields=fields, experiment=experiment)


def draw(entry: SearchEntry, rng: np.random.Generator) -> Any:
    """A value of an entry that is drawn."""
    if entry.choice is not None:
        return list(entry.choice)[int(rng.integers(len(entry.choice)))]
    if entry.uniform is not None:
        return float(rng.uniform(*entry.uniform))
    if entry.loguniform is not None:
        return float(np.exp(rng.uniform(*np.log(entry.loguniform))))
    low, high = entry.integers
    return int(rng.integers(low, high, endpoint=True))


def _fields(search: Mapping[str, SearchEntry], values: Mapping[str, Any]) -> dict[str, Any]:
    """Experiment fields by dotted path. Raises SettingsError if two entries set one field."""
    fields: dict[str, Any] = {}
    for name, value in values.items():
        options = search[name].grid or search[name].choice
        own = options[value] if isinstance(options, dict) else {name: value}
        twice = sorted(own.keys() & fields.keys())
        if twice:
            raise SettingsError(f"search.{name} sets {twice[0]}, which another entry of `search` sets too; remove one")
        fields |= own
    return fields


def _experiment(tree: Tree, folder: Path, cell: str, fields: Mapping[str, Any]) -> Experiment:
    own = copy.deepcopy(tree) | {"name": cell}
    for path, value in fields.items():
        if path in ("name", "runs_folder"):
            raise SettingsError(f"search sets {path}, which the sweep itself gives its trials; remove it")
        set_field(own, field_keys(path), copy.deepcopy(value), folder)
    return experiment_from(own, folder, "its settings cannot be used")


def _short_names(search: Mapping[str, SearchEntry]) -> dict[str, str]:
    """The last part of each entry's path, where that tells them apart."""
    last = {name: name.rpartition(".")[2] for name in search}
    return {name: short if list(last.values()).count(short) == 1 else name for name, short in last.items()}


def _cell_name(enumerated: Mapping[str, Any], sample: int | None, sweep: str) -> str:
    """Drawn values make long names that say little: they stand in settings.yaml and in the summary."""
    parts = [f"{name}-{_word(value)}" for name, value in enumerated.items() if name != SEED]
    parts += [] if sample is None else [f"sample-{sample}"]
    return "_".join(parts)[:LONGEST_NAME] or sweep


def _word(value: Any) -> str:
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return re.sub(r"[^A-Za-z0-9_.]+", "-", text).strip("-")


def _identity(sample: int | None, values: Mapping[str, Any]) -> str:
    return repr((sample, [(name, value) for name, value in values.items() if name != SEED]))


def _shown(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in values.items())
