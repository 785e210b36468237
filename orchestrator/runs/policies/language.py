"""What a policy that follows instructions needs beside its weights, kept in its run's folder.

So exporting asks no data set. It is what `player.py` reads as `policy.json`, and docs/export.md explains.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from algorithms.action_scale import ActionScale
from algorithms.language_networks import IMAGE_CELLS, PolicyShape
from algorithms.offline_settings import PolicyNetworkSettings
from orchestrator.data.schema import DatasetInfo
from orchestrator.errors import SettingsError
from orchestrator.runs.layout import POLICY_ABOUT_FILE
from orchestrator.storage.locations import RemotePath
from orchestrator.storage.writing import write_json

_SEES = {
    "frame": "the camera's picture, RGB; larger ones of the same shape are averaged over areas",
    "symbolic": "the grid of numbers that the data set has in its column symbolic",
    "egocentric": "BabyAI's grid with the agent in the middle and looking up, as actors/babyai/view.py makes it",
}


def about_policy(
    shape: PolicyShape,
    network: PolicyNetworkSettings,
    sees: str,
    words: Sequence[str],
    sentence_model: tuple[str, str | None] | None,
    objects: Sequence[str],
    scale: ActionScale | None,
    info: DatasetInfo,
    path: Path,
) -> dict[str, Any]:
    """The content of `policy.json` but for `run`. `sees` is the setting `data.observation`; `words` are those that the
    policy knows, unless a `sentence_model` (name and revision) reads for it."""
    size = shape.observation_shape
    actions: dict[str, Any] = {"kind": info.actions.kind, "names": list(info.actions.names)}
    if scale is None:
        out = "[number of the action]" if not objects else "[number of the action, number of its object; 0 is none]"
        actions["objects"] = list(objects)
    else:
        out = "a vector float32 in the units of the recording, its entries in the order of actions.names"
        actions |= {"low": list(scale.low), "high": list(scale.high), "edge": scale.edge}
    asked = "its instruction" if sentence_model is None else "the embedding of its instruction by the sentence model"
    return {
        "use": {
            "begin": f"each episode, with {asked}",
            "act": f"with uint8 {list(size)}: {_SEES[sees]}",
            "out": f"the likeliest action: {out}",
        },
        "observation": about_observation(shape, sees),
        "instruction": {
            "words": list(words),
            "length": shape.instruction_length,
            "sentence_model": sentence_model and sentence_model[0],
            "sentence_model_revision": sentence_model and sentence_model[1],
        },
        "history": network.history,
        "layers": layers_of(network),
        "heads": ["head", "object_head"] if objects else ["head"],
        "actions": actions,
        "data": {
            "path": str(path),
            "name": info.name,
            "source": info.source,
            "num_episodes": info.num_episodes,
            "num_transitions": info.num_transitions,
            "origin": info.origin and info.origin.model_dump(mode="json"),
            "settings": info.settings,
        },
    }


def about_observation(shape: PolicyShape, what: str) -> dict[str, Any]:
    """The entry `observation` of `policy.json`: what the player needs of the network that sees."""
    picture, size = shape.kind == "image", shape.observation_shape
    about = {"kind": shape.kind, "shape": list(size), "what": what}
    if shape.kind == "vector":
        return about
    return about | {
        "offsets": [] if picture else [plane * shape.num_categories for plane in range(size[-1])],
        "strides": [2, 2, 1] if picture else [1, 1],
        "cells": [IMAGE_CELLS, IMAGE_CELLS] if picture else list(size[:2]),
    }


def layers_of(network: PolicyNetworkSettings) -> list[str]:
    """The entry `layers`: the hidden layers behind what is seen and read."""
    return [f"body.{2 * number}" for number in range(len(network.hidden))]


def note_policy(folder: Path, about: Mapping[str, Any], has_begun: bool) -> None:
    """Note in a run's folder what its policy needs beside its weights.

    Raises SettingsError if a run that `has_begun` learned from actions in other units: the policy would mean something
    else by what it does.
    """
    path = folder / POLICY_ABOUT_FILE
    now = _scale(about)
    # Runs of older versions noted nothing; then actions were learned as they are.
    noted = _scale(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else None
    before = noted or (now and ActionScale.identity(len(now.low)))
    if has_begun and before is not None and before != now:
        ends = zip(about["actions"]["names"], before.low, before.high, strict=True)
        set_back = " ".join(f"{name}={low},{high}" for name, low, high in ends)
        remedy = (
            f"Set them back, by `likert data bounds {about['data']['path']} {set_back}`, or begin a run of another name"
            if noted
            else "Begin a run of another name"
        )
        raise SettingsError(
            f"data.path: {about['data']['path']}: the bounds of its actions have changed since the run in {folder} "
            f"began. {remedy}"
        )
    write_json(path, about)


def player_weights(weights: Mapping[str, np.ndarray], actions: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """A `LanguageActor`'s weights by the names of `player.py`; `actions` are those of `about_policy`."""
    renamed = {}
    for name, array in weights.items():
        # The head's own normalisation, which only policies without an encoder use.
        if not name.startswith("head.obs_"):
            renamed[name.removeprefix("encoder.").replace("head.head.", "head.")] = array
    if actions["kind"] == "continuous":
        # The player needs means alone, and one for each entry: those of constant ones are 0.
        varies = np.array(actions["low"]) < np.array(actions["high"])
        for name in ("head.weight", "head.bias"):
            means = renamed[name][: varies.sum()]
            renamed[name] = np.zeros((len(varies), *means.shape[1:]), means.dtype)
            renamed[name][varies] = means
    return renamed


def read_about(run: Path | RemotePath) -> dict[str, Any]:
    """What `note_policy` noted. Raises SettingsError if the run is of an older version."""
    path = run / POLICY_ABOUT_FILE
    if not path.exists():
        raise SettingsError(
            f"{run} has no {POLICY_ABOUT_FILE}: an older likert-rl made it, and it does not say what its policy reads. "
            f"Go on with it where its data set is, by `likert run {run}/settings.yaml`; that notes it"
        )
    return json.loads(path.read_text(encoding="utf-8"))


def _scale(about: Mapping[str, Any]) -> ActionScale | None:
    actions = about["actions"]
    return ActionScale(tuple(actions["low"]), tuple(actions["high"]), actions["edge"]) if "low" in actions else None
