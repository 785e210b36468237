"""From a YAML file and `key.path=value` overrides to validated settings, or to one clear message."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from actors.rating.settings import RaterSettings
from orchestrator.errors import SettingsError
from orchestrator.settings.experiment import Experiment
from orchestrator.settings.messages import nearest, shown, validation_message
from orchestrator.settings.strict_yaml import parse_yaml
from orchestrator.storage.locations import RemotePath

TASKS_FOLDER = Path(__file__).parents[2] / "actors" / "worlds" / "metaworld" / "tasks"
"""Packaged tasks, a YAML file each."""

Tree = dict[str, Any]
Kinds = Mapping[str, type[Experiment]]
"""Settings classes by what the field `kind` of a file may say; a file without it is of the first."""


def load_experiment(path: Path | str, overrides: Sequence[str], kinds: Kinds) -> Experiment:
    """Read an experiment file, lay overrides over it and validate the whole.

    The file may start from another with `base: other.yaml`, relative to itself. `task` is a packaged task's name, a
    YAML file, or a block, which may start from either with `base: name`. An override sets exactly what it names; its
    value is YAML. Raises SettingsError with field, value, rule and remedy.
    """
    path = Path(path)
    tree = read_settings(path, overrides)
    if tree.keys() & {"search", "sweep"}:
        raise SettingsError(f"{path} is a sweep, many experiments in one file: give it to `likert sweep`")
    return experiment_from(tree, path.parent, unusable(path), kinds)


def load_stored_experiment(path: Path | RemotePath, kinds: Kinds) -> Experiment:
    """The settings that a run has written into its folder, wherever that is. Raises SettingsError."""
    return experiment_from(read_stored(path), Path(), unusable(path), kinds)


def read_stored(path: Path | RemotePath) -> Tree:
    """What a run has written into its settings file; not validated. Raises SettingsError."""
    return _parsed(path, path.read_text(encoding="utf-8"))


def unusable(path: Path | RemotePath) -> str:
    """Title of a message about a settings file."""
    return f"Settings of {path} cannot be used"


def read_settings(path: Path, overrides: Sequence[str] = ()) -> Tree:
    """A settings file over those it starts from, and overrides over all; not validated. Raises SettingsError."""
    return lay_over(_read_with_bases(path, ()), overrides, path.parent)


def lay_over(tree: Tree, overrides: Sequence[str], folder: Path) -> Tree:
    """Set what overrides name in the tree of an experiment whose file lies in `folder`. Raises SettingsError."""
    for override in overrides:
        set_field(tree, *_split(override), folder)
    return tree


def set_field(tree: Tree, keys: Sequence[Any], value: Any, folder: Path) -> None:
    """Set the field at `keys` in the tree of an experiment whose file lies in `folder`."""
    if list(keys) == ["task", "base"]:
        _set_base_of_task(tree, value)
        return
    if keys[0] == "task" and len(keys) > 1:
        _expand_task_in(tree, folder)
    _set(tree, list(keys), value)


def _set_base_of_task(tree: Tree, base: Any) -> None:
    """Let a block start from another task; what the block says itself stays."""
    task = tree.get("task", {})
    if isinstance(task, dict) and task and "base" not in task:
        raise SettingsError(
            f"task.base = {shown(base)}: the task is complete without it. Give `task.base` before other settings of "
            "the task, or take the other task as it is, by task=NAME"
        )
    tree["task"] = {**(task if isinstance(task, dict) else {}), "base": base}


def kind_in(tree: Tree, title: str, kinds: Kinds) -> type[Experiment]:
    """The settings class of the kind that a tree names, or of the first. Raises SettingsError under `title`."""
    kind = tree.get("kind", next(iter(kinds)))
    if not isinstance(kind, str) or kind not in kinds:
        raise SettingsError(f"{title}:\n  kind = {shown(kind)}: must be one of {', '.join(kinds)}")
    return kinds[kind]


def experiment_from(tree: Tree, folder: Path, title: str, kinds: Kinds) -> Experiment:
    """Validate the tree of an experiment whose file lies in `folder`. Raises SettingsError under `title`."""
    return experiment_of(kind_in(tree, title, kinds), tree, folder, title)


def experiment_of(model: type[Experiment], tree: Tree, folder: Path, title: str) -> Any:
    """Validate the tree of an experiment of class `model`. Raises SettingsError under `title`."""
    if "task" in model.model_fields:
        _expand_task_in(tree, folder)
    return validate(model, tree, title)


def load_rater(overrides: Sequence[str] = ()) -> RaterSettings:
    """Settings of a rating server from `key=value` overrides alone. Raises SettingsError."""
    return load_overrides(RaterSettings, overrides, "These settings of the rating server cannot be used")


def load_overrides(model: Any, overrides: Sequence[str], title: str) -> Any:
    """Settings of class `model` from `key.path=value` overrides alone. Raises SettingsError under `title`."""
    tree: Tree = {}
    for override in overrides:
        _set(tree, *_split(override))
    return validate(model, tree, title)


def settings_as_yaml(experiment: Experiment) -> str:
    """The resolved settings as a file that `load_experiment` reads back to an equal experiment."""
    tree = _with_keys(experiment.model_dump(mode="json"), experiment.model_dump())
    return yaml.safe_dump(tree, sort_keys=False, allow_unicode=True, width=120)


def _with_keys(plain: Any, values: Any) -> Any:
    """`plain` with the keys of `values`: JSON makes text of the number of levels in task.rubrics."""
    if isinstance(plain, dict):
        return {key: _with_keys(plain[str(key)], value) for key, value in values.items()}
    if isinstance(plain, list):
        return [_with_keys(one, value) for one, value in zip(plain, values, strict=True)]
    return plain


def packaged_tasks() -> list[str]:
    """Names of the tasks that ship with the package."""
    return sorted(path.stem for path in TASKS_FOLDER.glob("*.yaml"))


def validate(model: Any, tree: Tree, title: str) -> Any:
    """The settings of class `model` in `tree`. Raises SettingsError, with every error in it, under `title`."""
    try:
        settings = model.model_validate(tree)
    except ValidationError as error:
        raise SettingsError(validation_message(title, model, tree, error)) from None
    _refuse_loose_types(title, tree, settings.model_dump(), "")
    return settings


def _refuse_loose_types(title: str, given: Any, understood: Any, path: str) -> None:
    """Raise if text, a number or true/false stood for another: pydantic would take "64" for 64 and true for 1."""
    if isinstance(given, Mapping) and isinstance(understood, Mapping):
        for name in given.keys() & understood.keys():
            _refuse_loose_types(title, given[name], understood[name], f"{path}.{name}" if path else str(name))
    elif isinstance(given, list) and isinstance(understood, tuple | list):
        for index, (one, other) in enumerate(zip(given, understood, strict=False)):
            _refuse_loose_types(title, one, other, f"{path}.{index}")
    elif isinstance(given, bool | str) or isinstance(understood, bool):
        wanted = {bool: "true or false", int: "a whole number", float: "a number"}.get(type(understood))
        if wanted and type(given) is not type(understood):
            raise SettingsError(
                f"{title}:\n  {path} = {shown(given)}: must be {wanted}, such as {json.dumps(understood)}"
            )


def _read_with_bases(path: Path, seen: tuple[Path, ...]) -> Tree:
    tree = _read(path)
    if path.resolve() in seen:
        raise SettingsError(f"{path}: `base` leads back to a file that is being read; remove one `base`")
    base = tree.pop("base", None)
    if base is None:
        return tree
    if not isinstance(base, str):
        raise SettingsError(f"{path}: base: {shown(base)} is not a file name; write base: other.yaml")
    try:
        under = _read_with_bases(path.parent / base, (*seen, path.resolve()))
    except SettingsError as error:
        raise SettingsError(f"{path}: base: {shown(base)}: {error}") from None
    return _overlay(under, tree)


def _read(path: Path) -> Tree:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        others = [other.name for other in path.parent.glob("*.yaml")] if path.parent.is_dir() else []
        raise SettingsError(f"{path}: there is no such file{nearest(path.name, others)}") from None
    except (OSError, ValueError) as error:
        raise SettingsError(f"{str(path)!r} cannot be read: {error}") from None
    return _parsed(path, text)


def _parsed(path: Path | RemotePath, text: str) -> Tree:
    try:
        tree = parse_yaml(text)
    except yaml.YAMLError as error:
        raise SettingsError(f"{path} is not valid YAML: {error}") from None
    if not isinstance(tree, dict):
        raise SettingsError(f"{path}: a settings file holds `key: value` lines; this one holds {type(tree).__name__}")
    return tree


def _overlay(under: Tree, over: Tree) -> Tree:
    """`over` laid over `under`: blocks are joined, everything else is replaced, by an empty block too."""
    joined = dict(under)
    for name, value in over.items():
        below = under.get(name)
        if name == "task" and isinstance(below, str) and isinstance(value, dict):
            below = {"base": below}
        # A block with a base of its own starts from that.
        if isinstance(below, dict) and isinstance(value, dict) and value and "base" not in value:
            value = _overlay(below, value)
        joined[name] = value
    return joined


def field_keys(path: str) -> list[Any]:
    """Keys of a dotted path. Those such as the number of levels in task.rubrics.3 are numbers."""
    return [int(key) if re.fullmatch(r"[0-9]{1,9}", key) else key for key in path.split(".")]


def _split(override: str) -> tuple[list[Any], Any]:
    path, equals, text = override.partition("=")
    if not equals or not all(path.split(".")):
        raise SettingsError(
            f"override {shown(override)} is not of the form key.path=value, such as policy.batch_size=128"
        )
    try:
        value = parse_yaml(text)
    except yaml.YAMLError:
        raise SettingsError(
            f"override {shown(override)}: the value {shown(text)} is not valid YAML; quote it"
        ) from None
    return field_keys(path), value


def _set(tree: Tree, keys: list[Any], value: Any) -> None:
    for key in keys[:-1]:
        below = tree.get(key)
        # A block replaces a plain value, as task.camera.position does with a stock camera's name.
        tree[key] = dict(below) if isinstance(below, dict) else {}
        tree = tree[key]
    tree[keys[-1]] = value


def _expand_task_in(tree: Tree, folder: Path) -> None:
    if "task" in tree:
        tree["task"] = _expand_task(tree["task"], folder, ())


def _expand_task(task: Any, folder: Path, seen: tuple[str, ...]) -> Any:
    """The block that a task's name, file or `base` stands for."""
    if isinstance(task, str):
        if task in seen:
            raise SettingsError(f"task: base {task!r} leads back to itself; remove one `base`")
        if task.endswith((".yaml", ".yml")):
            path = folder / task
        else:
            path = TASKS_FOLDER / f"{task}.yaml"
            if task not in packaged_tasks():
                raise SettingsError(
                    f"task = {shown(task)}: there is no such packaged task{nearest(task, packaged_tasks()) or '.'} "
                    f"There are {', '.join(packaged_tasks())}; for your own, name its YAML file or write a block"
                )
        return _expand_task(_read(path), path.parent, (*seen, task))
    if isinstance(task, dict) and "base" in task:
        own = {name: value for name, value in task.items() if name != "base"}
        if not isinstance(task["base"], str):
            raise SettingsError(f"task.base: {shown(task['base'])} is not a task's name; write base: drawer_open")
        return _overlay(_expand_task(task["base"], folder, seen), own)
    return task
