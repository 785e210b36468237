"""The policy of an online run as `player.py` plays it: one that acts by numbers, or one that follows instructions."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from actors.worlds.settings import TaskSettings
from algorithms.acting import ACTING, read_told
from orchestrator.errors import SettingsError
from orchestrator.runs.layout import BEST_POLICY_FILE
from orchestrator.runs.policies.exporting import ExportedPolicy
from orchestrator.runs.policies.language import about_observation, layers_of, player_weights
from orchestrator.storage.locations import RemotePath
from orchestrator.storage.writing import read_arrays

_ABOUT = "about."
_NORMALISATION = {"obs_shift": "observation.shift", "obs_scale": "observation.scale"}


def best_policy(run: Path | RemotePath, task: TaskSettings, world: Mapping[str, Any]) -> ExportedPolicy:
    """The policy of the best evaluation so far. `world` is what the run wrote about it; empty of runs that wrote
    nothing yet. Raises SettingsError if there is none, or none that can be played."""
    weights, evaluation = best_weights(run)
    if ACTING in weights:
        about = about_instructed_policy(weights, evaluation, run.name, task, world)
        del weights[ACTING]
        return ExportedPolicy(player_weights(weights, about["actions"]), about)
    weights = {_NORMALISATION.get(name, name): array for name, array in weights.items()}
    for name in ("head.weight", "head.bias"):
        # Behind the means stand deviations, which the player does not draw by.
        weights[name] = weights[name][: len(weights[name]) // 2]
    return ExportedPolicy(weights, about_best_policy(weights, evaluation, run.name, task, world))


def best_weights(run: Path | RemotePath) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Weights as `actor_from_numpy` takes them, and what is known of the evaluation. Raises SettingsError if none
    was."""
    if not (run / BEST_POLICY_FILE).exists():
        raise SettingsError(f"{run} has no policy yet: it is kept with the first evaluation ({BEST_POLICY_FILE})")
    arrays = read_arrays(run / BEST_POLICY_FILE)
    if "encoder.sizes" in arrays:
        raise SettingsError(
            f"{run}: its policy sees pictures (policy.observation), and what is exported plays policies that see "
            "numbers alone. docs/policy.md says how it acts in Python, by algorithms.pixel_networks.PixelActor"
        )
    about = {name.removeprefix(_ABOUT): array.item() for name, array in arrays.items() if name.startswith(_ABOUT)}
    return {name: array for name, array in arrays.items() if not name.startswith(_ABOUT)}, about


def about_best_policy(
    weights: Mapping[str, np.ndarray],
    evaluation: Mapping[str, float],
    run: str,
    task: TaskSettings,
    world: Mapping[str, Any],
) -> dict[str, Any]:
    """The content of `policy.json`. `world` is what the run wrote about it; empty of runs that wrote nothing yet."""
    size, num_actions = len(weights["observation.shift"]), len(weights["head.bias"])
    layers = sorted({int(name.split(".")[1]) for name in weights if name.startswith("body.")})
    return {
        "use": {
            "begin": "each episode, with nothing",
            "act": f"with the {size} numbers that {task.what_is_seen}",
            "out": "the likeliest action: a vector float32, as the simulator's step takes it",
        },
        "observation": {"kind": "vector", "shape": [size], "what": "state"},
        "instruction": None,
        "history": 1,
        "layers": [f"body.{number}" for number in layers],
        "heads": ["head"],
        "actions": _numbers(num_actions, task, world),
        **_origin(task, run, evaluation),
    }


def about_instructed_policy(
    weights: Mapping[str, np.ndarray],
    evaluation: Mapping[str, float],
    run: str,
    task: TaskSettings,
    world: Mapping[str, Any],
) -> dict[str, Any]:
    """The content of `policy.json` for a policy that follows instructions."""
    shape, network, _ = read_told(weights)
    size = list(shape.observation_shape)
    seen = {
        "grid": f"the whole numbers {size} that {task.what_is_seen}",
        "vector": f"the {size[0]} numbers that {task.what_is_seen}",
        "image": f"uint8 {size}: the frame, RGB; larger ones of the same shape are averaged over areas",
    }[shape.kind]
    what = {"grid": "grid", "vector": "state", "image": "frame"}[shape.kind]
    if shape.num_actions:
        names = list(task.action_names or [f"action_{number}" for number in range(shape.num_actions)])
        actions, out = {"kind": "discrete", "names": names}, "[number of the action]"
    else:
        actions, out = _numbers(shape.action_size, task, world), "a vector float32, as the simulator's step takes it"
    own = "its instruction" if world.get("says_instruction") else repr(task.instruction)
    return {
        "use": {"begin": f"each episode, with {own}", "act": f"with {seen}", "out": f"the likeliest action: {out}"},
        "observation": about_observation(shape, what),
        "instruction": {
            "words": [],
            "hashed_ids": shape.num_words,
            "length": shape.instruction_length,
            "sentence_model": None,
        },
        "history": network.history,
        "layers": layers_of(network),
        "heads": ["head"],
        "actions": actions,
        **_origin(task, run, evaluation),
    }


def _numbers(size: int, task: TaskSettings, world: Mapping[str, Any]) -> dict[str, Any]:
    """The entry `actions` of actions that are numbers."""
    return {
        "kind": "continuous",
        "names": list(task.action_names or [f"action_{number}" for number in range(size)]),
        "low": list(world.get("action_low") or [-1.0] * size),
        "high": list(world.get("action_high") or [1.0] * size),
        "edge": 1.0,
    }


def _origin(task: TaskSettings, run: str, evaluation: Mapping[str, float]) -> dict[str, Any]:
    return {
        "task": {**task.environment, "action_repeat": task.action_repeat},
        "run": {"name": run, "weights": BEST_POLICY_FILE, **evaluation},
    }
