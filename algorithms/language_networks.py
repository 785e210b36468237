"""Networks that see an observation and read an instruction."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import nn
from torch.nn import functional

from algorithms.instructions import PADDING
from algorithms.offline_settings import PolicyNetworkSettings
from algorithms.pixel_frames import PixelShape
from algorithms.spaces import AgentSpaces

REDUCED_CHANNELS = 16
"""Channels of a grid or a picture where it becomes a flat vector."""
IMAGE_CELLS = 6
"""A picture of any size becomes this many cells high and wide."""
NUM_HEADS = 4
"""Attention heads of the instruction's encoder."""


@dataclass(frozen=True)
class PolicyShape:
    """What goes into a policy and comes out of it."""

    kind: Literal["grid", "image", "vector"]
    """`grid`: small whole numbers, categories. `image`: bytes of a picture. `vector`: real numbers."""
    observation_shape: tuple[int, ...]
    """Of one observation, without history: (height, width, channels), or (size,) of a vector."""
    num_categories: int
    """A grid's numbers are below this; 0 for other kinds."""
    num_words: int
    """Word ids are below this; 0 if an instruction comes as a sentence embedding."""
    instruction_length: int
    """Words of an instruction, or entries of its embedding."""
    num_actions: int
    """Discrete actions; 0 if actions are continuous."""
    action_size: int
    """Entries of an action as the critics see it: `num_actions` of a one-hot vector and, where an action is about an
    object, `num_objects` of another; or those of a continuous one."""
    num_objects: int = 0
    """Classes of objects that a discrete action may be about, the first of them none at all; 0 if actions are about
    nothing."""


def policy_shape(
    spaces: AgentSpaces, pixels: PixelShape | None, num_words: int, instruction_length: int
) -> PolicyShape:
    """What networks that read instructions fit: pictures if `pixels` are seen, else a grid or numbers."""
    if pixels is not None:
        kind, shape = "image", (pixels.px, pixels.px, 3)
    elif spaces.grid_shape is not None:
        kind, shape = "grid", tuple(spaces.grid_shape)
    else:
        kind, shape = "vector", (spaces.observation_size,)
    return PolicyShape(
        kind=kind,
        observation_shape=shape,
        num_categories=spaces.num_categories if kind == "grid" else 0,
        num_words=num_words,
        instruction_length=instruction_length,
        num_actions=spaces.num_actions,
        action_size=spaces.num_actions or spaces.action_size,
    )


def seen_by(shape: PolicyShape, seen: torch.Tensor) -> torch.Tensor:
    """What the networks see, [B, history, ...]: of flat observations float32 [B, observation] in a history of one; of
    frames, which are [B, history, ...] already, themselves."""
    if shape.kind == "image":
        return seen
    one = seen.view(len(seen), 1, *shape.observation_shape)
    return one.to(torch.uint8) if shape.kind == "grid" else one


class Asked(NamedTuple):
    """The instructions of a batch, each once: few differ, and each is read once."""

    distinct: torch.Tensor
    """[D, ...]: word ids or sentence embeddings."""
    which: torch.Tensor
    """[B]: row of `distinct`."""


def asked_of(instruction: torch.Tensor) -> Asked:
    """The instructions [B, ...] of a batch without repetition."""
    return Asked(*torch.unique(instruction, dim=0, return_inverse=True))


def critic_actions(shape: PolicyShape, actions: torch.Tensor) -> torch.Tensor:
    """Actions as critics see them, float32 [B, action_size]: one-hot vectors of discrete ones and of their objects."""
    if not shape.num_actions:
        return actions
    if not shape.num_objects:
        return functional.one_hot(actions.long(), shape.num_actions).float()
    sizes = (shape.num_actions, shape.num_objects)
    parts = [functional.one_hot(part, size) for part, size in zip(actions.long().unbind(1), sizes, strict=True)]
    return torch.cat(parts, dim=-1).float()


class InstructionEncoder(nn.Module):
    """Word ids through one transformer layer to [B, size]; a sentence embedding through a linear layer."""

    def __init__(self, shape: PolicyShape, size: int) -> None:
        super().__init__()
        self._reads_words = shape.num_words > 0
        if self._reads_words:
            self.words = nn.Embedding(shape.num_words, size, padding_idx=PADDING)
            self.places = nn.Parameter(0.1 * torch.randn(shape.instruction_length, size))
            self.layer = nn.TransformerEncoderLayer(
                size, NUM_HEADS, 2 * size, dropout=0.0, batch_first=True, norm_first=True
            )
        else:
            self.projection = nn.Linear(shape.instruction_length, size)

    def forward(self, asked: Asked) -> torch.Tensor:
        distinct, which = asked
        if not self._reads_words:
            return functional.relu(self.projection(distinct.float()))[which]
        padding = distinct == PADDING
        # A row without any word, as RLlib's trial batches have, would attend to nothing.
        padding[:, 0] = False
        hidden = self.layer(self.words(distinct.long()) + self.places, src_key_padding_mask=padding)
        kept = (~padding).unsqueeze(-1).to(hidden.dtype)
        return ((hidden * kept).sum(dim=1) / kept.sum(dim=1))[which]


class Modulation(nn.Module):
    """Scale and shift of features by the instruction (FiLM, Perez et al. 2018)."""

    def __init__(self, instruction_size: int, features: int) -> None:
        super().__init__()
        self.linear = nn.Linear(instruction_size, 2 * features)

    def forward(self, features: torch.Tensor, instruction: torch.Tensor) -> torch.Tensor:
        scale, shift = self.linear(instruction).chunk(2, dim=-1)
        if features.dim() == 4:
            scale, shift = scale[:, :, None, None], shift[:, :, None, None]
        return features * (1.0 + scale) + shift


class GridEncoder(nn.Module):
    """A grid of categories [B, height, width, channels], such as kind, colour and state of what lies in a cell."""

    def __init__(self, shape: PolicyShape, channels: int, instruction_size: int) -> None:
        super().__init__()
        height, width, planes = shape.observation_shape
        self._num_categories = shape.num_categories
        # One table for all planes: each category of each plane has a row of its own.
        self.cells = nn.Embedding(planes * shape.num_categories, channels)
        self.register_buffer("offsets", torch.arange(planes) * shape.num_categories, persistent=False)
        self.convolutions = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))
        self.modulations = nn.ModuleList(Modulation(instruction_size, channels) for _ in range(2))
        self.reduction = nn.Conv2d(channels, REDUCED_CHANNELS, 1)
        self.num_features = REDUCED_CHANNELS * height * width

    def forward(self, grid: torch.Tensor, instruction: torch.Tensor) -> torch.Tensor:
        hidden = self.cells(grid.long() + self.offsets).sum(dim=-2).permute(0, 3, 1, 2)
        for convolution, modulation in zip(self.convolutions, self.modulations, strict=True):
            hidden = hidden + functional.relu(modulation(convolution(hidden), instruction))
        return functional.relu(self.reduction(hidden)).flatten(1)


class ImageEncoder(nn.Module):
    """A picture uint8 [B, height, width, 3] of any size from 16 pixels on."""

    def __init__(self, shape: PolicyShape, channels: int, instruction_size: int) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            [
                nn.Conv2d(shape.observation_shape[-1], channels, 4, stride=2, padding=1),
                nn.Conv2d(channels, channels, 4, stride=2, padding=1),
                nn.Conv2d(channels, channels, 3, padding=1),
            ]
        )
        self.modulations = nn.ModuleList(Modulation(instruction_size, channels) for _ in self.convolutions)
        self.reduction = nn.Conv2d(channels, REDUCED_CHANNELS, 1)
        self.num_features = REDUCED_CHANNELS * IMAGE_CELLS**2

    def forward(self, image: torch.Tensor, instruction: torch.Tensor) -> torch.Tensor:
        hidden = image.permute(0, 3, 1, 2).float() / 255.0
        for convolution, modulation in zip(self.convolutions, self.modulations, strict=True):
            hidden = functional.relu(modulation(convolution(hidden), instruction))
        hidden = functional.adaptive_avg_pool2d(hidden, IMAGE_CELLS)
        return functional.relu(self.reduction(hidden)).flatten(1)


class VectorEncoder(nn.Module):
    """Real numbers [B, size]; `shift` and `scale` are a fixed normalisation that travels with the weights."""

    def __init__(self, shape: PolicyShape, features: int, instruction_size: int) -> None:
        super().__init__()
        (size,) = shape.observation_shape
        self.register_buffer("shift", torch.zeros(size))
        self.register_buffer("scale", torch.ones(size))
        self.linear = nn.Linear(size, features)
        self.modulation = Modulation(instruction_size, features)
        self.num_features = features

    def forward(self, vector: torch.Tensor, instruction: torch.Tensor) -> torch.Tensor:
        return functional.relu(self.modulation(self.linear((vector - self.shift) * self.scale), instruction))


class LanguageEncoder(nn.Module):
    """Observations [B, history, ...] and what is asked to features [B, `num_features`]."""

    def __init__(self, shape: PolicyShape, network: PolicyNetworkSettings) -> None:
        super().__init__()
        size = network.instruction_size
        self.instruction = InstructionEncoder(shape, size)
        if shape.kind == "grid":
            self.observation: nn.Module = GridEncoder(shape, network.channels, size)
        elif shape.kind == "image":
            self.observation = ImageEncoder(shape, network.channels, size)
        else:
            self.observation = VectorEncoder(shape, network.hidden[0], size)
        layers: list[nn.Module] = []
        size_in = network.history * self.observation.num_features + size
        for size_out in network.hidden:
            layers += [nn.Linear(size_in, size_out), nn.ReLU()]
            size_in = size_out
        self.body = nn.Sequential(*layers)
        self.num_features = size_in

    def forward(self, observation: torch.Tensor, asked: Asked) -> torch.Tensor:
        return self.see(observation, self.instruction(asked))

    def see(self, observation: torch.Tensor, read: torch.Tensor) -> torch.Tensor:
        """Features of observations in the light of instructions that have been read, [B, instruction_size]."""
        batch, history = observation.shape[:2]
        # Every observation of the history is seen by the same network, in the light of the same instruction.
        seen = self.observation(observation.flatten(0, 1), read.repeat_interleave(history, dim=0))
        return self.body(torch.cat((seen.reshape(batch, -1), read), dim=-1))
