"""Actors from plain arrays, wherever they act: the one that weights are of, and one that follows instructions."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict

import numpy as np
import torch

from algorithms.actor_network import SquashedGaussianActor, load_numpy
from algorithms.instructions import HashedWords
from algorithms.language_actor import LanguageActor
from algorithms.language_networks import Asked, PolicyShape, seen_by
from algorithms.offline_settings import PolicyNetworkSettings
from algorithms.pixel_networks import PixelActor

ACTING = "acting"
"""Entry of an `InstructedActor`'s weights that is no weight: what it is made by, as JSON in an array of no axis."""
KNOWN_INSTRUCTIONS = 1_000
"""Instructions that an actor remembers as read."""


class InstructedActor:
    """A `LanguageActor` for observations as worlds give them and instructions in words. Each instruction is read once.

    Actions are float32 [B, action]: of choices the number, [B, 1].
    """

    def __init__(
        self,
        shape: PolicyShape,
        network: PolicyNetworkSettings,
        temperature: float = 1.0,
        actor: LanguageActor | None = None,
    ) -> None:
        """Draws are taken at `temperature`; see `LanguageActor.choose`."""
        self._shape = shape
        self._temperature = temperature
        self._actor = LanguageActor(shape, network) if actor is None else actor
        self._words = HashedWords(shape.num_words, shape.instruction_length)
        self._read: dict[str, torch.Tensor] = {}
        self.frame_stack = network.history if shape.kind == "image" else 0
        """Latest frames that it sees; 0 if it sees numbers or a grid."""

    @torch.no_grad()
    def act(
        self,
        observations: torch.Tensor,
        instructions: Sequence[str],
        noise: torch.Generator | None = None,
        stacked: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Actions for observations float32 [B, observation] or, if it sees pictures, `stacked` uint8 [B, px, px, 3 *
        frame_stack], and B instructions.

        Sampled with `noise`, or the likeliest ones without it. Raises InstructionError for an instruction that cannot
        be read.
        """
        seen = observations if stacked is None else unstacked(stacked, self.frame_stack)
        read = torch.cat([self._reading(text) for text in instructions])
        features = self._actor.encoder.see(seen_by(self._shape, seen), read)
        actions = self._actor.choose(features, noise, temperature=self._temperature)
        return actions.reshape(len(features), -1).float()

    def _reading(self, text: str) -> torch.Tensor:
        if text not in self._read:
            if len(self._read) >= KNOWN_INSTRUCTIONS:
                self._read.clear()
            row = torch.from_numpy(self._words.row(text))
            # One at a time, so that what is read does not depend on what else is.
            self._read[text] = self._actor.encoder.instruction(Asked(row[None], torch.zeros(1, dtype=torch.long)))
        return self._read[text]

    @staticmethod
    def told(shape: PolicyShape, network: PolicyNetworkSettings, temperature: float) -> dict[str, np.ndarray]:
        """What `from_numpy` needs beside the weights of a `LanguageActor`."""
        made_by = {"shape": asdict(shape), "network": network.model_dump(), "temperature": temperature}
        return {ACTING: np.array(json.dumps(made_by))}

    @classmethod
    def from_numpy(cls, weights: Mapping[str, np.ndarray]) -> "InstructedActor":
        """An actor with these weights and what was `told` of it."""
        shape, network, temperature = read_told(weights)
        actor = cls(shape, network, temperature)
        load_numpy(actor._actor, {name: array for name, array in weights.items() if name != ACTING})
        return actor


def read_told(weights: Mapping[str, np.ndarray]) -> tuple[PolicyShape, PolicyNetworkSettings, float]:
    """Shape, networks and temperature, as an `InstructedActor` was told."""
    made_by = json.loads(str(weights[ACTING]))
    shape = made_by["shape"] | {"observation_shape": tuple(made_by["shape"]["observation_shape"])}
    return PolicyShape(**shape), PolicyNetworkSettings(**made_by["network"]), made_by["temperature"]


def unstacked(stacked: torch.Tensor, frame_stack: int) -> torch.Tensor:
    """Frames uint8 [B, frame_stack, px, px, 3], the newest last, of stacks uint8 [B, px, px, 3 * frame_stack]."""
    batch, height, width, _ = stacked.shape
    return stacked.view(batch, height, width, frame_stack, 3).permute(0, 3, 1, 2, 4)


def actor_from_numpy(weights: Mapping[str, np.ndarray]) -> SquashedGaussianActor | PixelActor | InstructedActor:
    """The actor that these weights are of; by their names one sees what it looks at."""
    if ACTING in weights:
        return InstructedActor.from_numpy(weights)
    return (PixelActor if "encoder.sizes" in weights else SquashedGaussianActor).from_numpy(dict(weights))
