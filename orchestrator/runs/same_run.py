"""Whether a run's folder belongs to the settings that want to go on in it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator.errors import SettingsError
from orchestrator.runs.layout import SETTINGS_FILE
from orchestrator.settings.experiment import Experiment
from orchestrator.settings.loading import experiment_of, read_stored, unusable


def check_same_run(experiment: Experiment, changeable: Sequence[str]) -> None:
    """Raise SettingsError if the run's folder was made by other settings: its results would mix two experiments.

    `changeable` names settings, or blocks of them, that may differ.
    """
    path = experiment.run_folder / SETTINGS_FILE
    if not path.exists():
        return
    stored = read_stored(path)
    field = type(experiment).model_fields["kind"]
    named = stored.get("kind", None if field.is_required() else field.default)
    if named != experiment.kind:
        found = [("kind", named, experiment.kind)]
    else:
        before = experiment_of(type(experiment), stored, Path(), unusable(path))
        found = _differences(before.model_dump(), experiment.model_dump())
    differences = [
        f"{name} was {old!r} and is {new!r}"
        for name, old, new in found
        if not any(name == free or name.startswith(f"{free}.") for free in changeable)
    ]
    if differences:
        raise SettingsError(
            f"run folder {experiment.run_folder} belongs to other settings ({'; '.join(differences)}). "
            "Give the experiment another `name`, or delete that folder"
        )


def _differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any, Any]]:
    differences = []
    for name in new:
        before, after = old.get(name), new[name]
        if isinstance(before, Mapping) and isinstance(after, Mapping) and before and after:
            differences += _differences(before, {**dict.fromkeys(before), **after}, f"{prefix}{name}.")
        elif before != after:
            differences.append((f"{prefix}{name}", before, after))
    return differences
