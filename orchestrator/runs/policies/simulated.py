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

ACTION_NAMES = ("x", "y", "z", "gripper")
_ABOUT = "about."
_NORMALISATION = {"obs_shift": "observation.shift", "obs_scale": "observation.scale"}


def best_weights(run: Path | RemotePath) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Weights by the names of `player.py`, and what is known of the evaluation. Raises SettingsError if none was."""
    if not (run / BEST_POLICY_FILE).exists():
        raise SettingsError(f"{run} has no policy yet: it is kept with the first evaluation ({BEST_POLICY_FILE})")
    arrays = read_arrays(run / BEST_POLICY_FILE)
    about = {name.removeprefix(_ABOUT): array.item() for name, array in arrays.items() if name.startswith(_ABOUT)}
    weights = {_NORMALISATION.get(name, name): arrays[name] for name in arrays if not name.startswith(_ABOUT)}
    for name in ("head.weight", "head.bias"):
        # Behind the means stand deviations, which the player does not draw by.
        weights[name] = weights[name][: len(ACTION_NAMES)]
    return weights, about


def about_best_policy(
    weights: Mapping[str, np.ndarray], evaluation: Mapping[str, float], run: str, task: TaskSettings
) -> dict[str, Any]:
    """The content of `policy.json`."""
    size = len(weights["observation.shift"])
    layers = sorted({int(name.split(".")[1]) for name in weights if name.startswith("body.")})
    return {
        "use": {
            "begin": "each episode, with nothing",
            "act": f"with the {size} numbers that the simulator's step and reset return",
            "out": "the likeliest action: a vector float32, as the simulator's step takes it",
        },
        "observation": {"kind": "vector", "shape": [size], "what": "state"},
        "instruction": None,
        "history": 1,
        "layers": [f"body.{number}" for number in layers],
        "heads": ["head"],
        "actions": {
            "kind": "continuous",
            "names": list(ACTION_NAMES),
            "low": [-1.0] * len(ACTION_NAMES),
            "high": [1.0] * len(ACTION_NAMES),
            "edge": 1.0,
        },
        "task": {"env_id": task.env_id, "action_repeat": task.action_repeat},
        "run": {"name": run, "weights": BEST_POLICY_FILE, **evaluation},
    }
