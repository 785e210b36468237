"""The policy of an online run, which acts by the simulator's state, as `player.py` plays it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from actors.worlds.settings import TaskSettings
from orchestrator.errors import SettingsError
from orchestrator.runs.layout import BEST_POLICY_FILE
from orchestrator.storage.locations import RemotePath
from orchestrator.storage.writing import read_arrays

_ABOUT = "about."
_NORMALISATION = {"obs_shift": "observation.shift", "obs_scale": "observation.scale"}


def best_weights(run: Path | RemotePath) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Weights by the names of `player.py`, and what is known of the evaluation. Raises SettingsError if none was."""
    if not (run / BEST_POLICY_FILE).exists():
        raise SettingsError(f"{run} has no policy yet: it is kept with the first evaluation ({BEST_POLICY_FILE})")
    arrays = read_arrays(run / BEST_POLICY_FILE)
    if "encoder.sizes" in arrays:
        raise SettingsError(
            f"{run}: its policy sees pictures (policy.observation), and what is exported plays policies that see "
            "numbers alone. docs/policy.md says how it acts in Python, by algorithms.pixel_networks.PixelActor"
        )
    about = {name.removeprefix(_ABOUT): array.item() for name, array in arrays.items() if name.startswith(_ABOUT)}
    weights = {_NORMALISATION.get(name, name): arrays[name] for name in arrays if not name.startswith(_ABOUT)}
    for name in ("head.weight", "head.bias"):
        # Behind the means stand deviations, which the player does not draw by.
        weights[name] = weights[name][: len(weights[name]) // 2]
    return weights, about


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
        "actions": {
            "kind": "continuous",
            "names": list(task.action_names or [f"action_{number}" for number in range(num_actions)]),
            "low": list(world.get("action_low") or [-1.0] * num_actions),
            "high": list(world.get("action_high") or [1.0] * num_actions),
            "edge": 1.0,
        },
        "task": {**task.environment, "action_repeat": task.action_repeat},
        "run": {"name": run, "weights": BEST_POLICY_FILE, **evaluation},
    }
