"""The networks of a policy that sees pictures: an encoder, and an actor behind it.

One encoder serves actor and critics and is trained by the critics alone (Yarats et al. 2021, arXiv 2107.09645): the
actor's loss sees what it gives as fixed numbers. Both then make a few features of these by a layer of their own.
"""

import math

import numpy as np
import torch
from torch import nn

from algorithms.actor_network import SquashedGaussianActor, load_numpy, numpy_weights
from algorithms.pixel_frames import PixelShape


class PixelEncoder(nn.Module):
    """Convolutions over stacked frames. Strides and sizes travel with the weights, as buffers."""

    sizes: torch.Tensor
    strides: torch.Tensor

    def __init__(self, shape: PixelShape) -> None:
        super().__init__()
        channels = (3 * shape.frame_stack, *(channels for channels, _, _ in shape.convolutions))
        self.convolutions = nn.ModuleList(
            nn.Conv2d(channels_in, channels_out, kernel, stride)
            for channels_in, (channels_out, kernel, stride) in zip(channels, shape.convolutions, strict=False)
        )
        for layer in self.convolutions:
            nn.init.orthogonal_(layer.weight, nn.init.calculate_gain("relu"))
            nn.init.zeros_(layer.bias)
        self.num_outputs = channels[-1] * shape.convolved_px**2
        self.register_buffer("strides", torch.tensor([stride for _, _, stride in shape.convolutions]))
        self.register_buffer("sizes", torch.tensor([shape.px, shape.frame_stack]))

    def forward(self, stacked: torch.Tensor) -> torch.Tensor:
        """[B, num_outputs] of uint8 [B, px, px, 3 * frame_stack]."""
        # As the frames lie in memory: processors convolve that in half the time. Floats are made here and not before.
        hidden = stacked.permute(0, 3, 1, 2).float().mul_(1.0 / 255.0).sub_(0.5)
        for layer in self.convolutions:
            hidden = layer(hidden).relu_()
        return hidden.flatten(1)


class FeatureLayer(nn.Module):
    """A few numbers between -1 and 1 of what an encoder gives, and the state's numbers behind them."""

    def __init__(self, num_inputs: int, num_features: int) -> None:
        super().__init__()
        self.linear = nn.Linear(num_inputs, num_features)
        self.norm = nn.LayerNorm(num_features)

    @torch.no_grad()
    def reset(self, generator: torch.Generator | None = None) -> None:
        """Draw the weights anew, uniform within 1 / sqrt(inputs), as torch does for a linear layer."""
        bound = 1.0 / math.sqrt(self.linear.in_features)
        self.linear.weight.uniform_(-bound, bound, generator=generator)
        self.linear.bias.uniform_(-bound, bound, generator=generator)
        self.norm.reset_parameters()

    def forward(self, encoded: torch.Tensor, state: torch.Tensor) -> torch.Tensor:
        """[B, num_features + state] of [B, num_inputs] and [B, state]; a state may have no numbers."""
        return torch.cat((torch.tanh(self.norm(self.linear(encoded))), state), dim=-1)


class PixelActor(nn.Module):
    """A squashed Gaussian over actions that sees stacked frames, and the state's numbers where it has any."""

    def __init__(self, shape: PixelShape, state_size: int, action_size: int, hidden: tuple[int, ...]) -> None:
        """`state_size` is 0 for a policy that sees pictures alone."""
        super().__init__()
        self.frame_stack = shape.frame_stack
        self.state_size = state_size
        self.encoder = PixelEncoder(shape)
        self.features = FeatureLayer(self.encoder.num_outputs, shape.num_features)
        # Its normalisation leaves features as they are; `set_normalisation` concerns the state's numbers.
        self.gaussian = SquashedGaussianActor(shape.num_features + state_size, action_size, hidden)

    def sample(
        self, encoded: torch.Tensor, state: torch.Tensor, generator: torch.Generator | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Reparametrised actions [B, action] and log-probabilities [B] of what the encoder gave, which stays as is."""
        return self.gaussian.sample(self.features(encoded.detach(), state), generator)

    @torch.no_grad()
    def act(self, stacked: torch.Tensor, state: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        """Actions [B, action] for frames uint8 [B, px, px, 3 * frame_stack] and states [B, state].

        Sampled with `generator`, or the most likely ones without one.
        """
        return self.gaussian.act(self.features(self.encoder(stacked), state), generator)

    @torch.no_grad()
    def set_normalisation(self, shift: torch.Tensor, scale: torch.Tensor) -> None:
        """See states as (state - shift) * scale from now on."""
        num_features = self.features.linear.out_features
        self.gaussian.obs_shift[num_features:] = shift
        self.gaussian.obs_scale[num_features:] = scale

    def normalised(self, state: torch.Tensor) -> torch.Tensor:
        """States [B, state] as the actor sees them."""
        num_features = self.features.linear.out_features
        return (state - self.gaussian.obs_shift[num_features:]) * self.gaussian.obs_scale[num_features:]

    def numpy_weights(self) -> dict[str, np.ndarray]:
        """Copies of all weights and buffers by name, the encoder's too, to hand to another process."""
        return numpy_weights(self)

    @classmethod
    def from_numpy(cls, weights: dict[str, np.ndarray]) -> "PixelActor":
        """An actor with these weights; all sizes are read off them."""
        px, frame_stack = (int(size) for size in weights["encoder.sizes"])
        kernels = [array for name, array in weights.items() if name.startswith("encoder.") and array.ndim == 4]
        convolutions = tuple(
            (len(kernel), kernel.shape[-1], int(stride))
            for kernel, stride in zip(kernels, weights["encoder.strides"], strict=True)
        )
        num_features = len(weights["features.linear.bias"])
        shape = PixelShape(px, frame_stack, convolutions, num_features, random_shift_px=0, sees_state=False)
        linear = [array for name, array in weights.items() if name.startswith("gaussian.body.") and array.ndim == 2]
        state_size = len(weights["gaussian.obs_shift"]) - num_features
        action_size = len(weights["gaussian.head.bias"]) // 2
        actor = cls(shape, state_size, action_size, tuple(len(array) for array in linear))
        load_numpy(actor, weights)
        return actor


def shifted_stacks(windows: torch.Tensor, first: int, frame_stack: int, shifts: torch.Tensor) -> torch.Tensor:
    """Stacks uint8 [B, px, px, 3 * frame_stack] of `windows` uint8 [B, F, px, px, 3], from frame `first` on, moved.

    `shifts` int64 [B, 2] says by how many pixels each picture moves, down and to the right; where it leaves a gap its
    edge is repeated. That is what DrQ's padding and cropping does, of whole pixels.
    """
    batch, num_frames, px, _, _ = windows.shape
    place = torch.arange(px, device=windows.device)
    rows, columns = ((place - shift).clamp_(0, px - 1) for shift in shifts.T[..., None])
    frames = torch.arange(first, first + frame_stack, device=windows.device)
    frames = torch.arange(batch, device=windows.device)[:, None] * num_frames + frames
    # Moving and stacking at once: one look-up of three bytes for each pixel.
    within = rows[:, :, None, None] * px + columns[:, None, :, None]
    sources = frames[:, None, None, :] * (px * px) + within
    return windows.reshape(-1, 3).index_select(0, sources.reshape(-1)).view(batch, px, px, 3 * frame_stack)


def random_shifts(batch: int, largest: int, generator: torch.Generator | None, device: torch.device) -> torch.Tensor:
    """Pixels to move each picture by, int64 [batch, 2], uniform from -largest to largest."""
    return torch.randint(-largest, largest + 1, (batch, 2), generator=generator, device=device)


class PictureFeatures:
    """Numbers of a frame by a network that is drawn once and never trained.

    Frames that look alike have features that are near each other, so that states without numbers can be told new from
    known (random encoders for exploration, Seo et al. 2021, arXiv 2102.09430).
    """

    num_features = 50
    _CONVOLUTIONS = ((32, 3, 2), (32, 3, 2), (32, 3, 2))
    _ROWS = 64
    """Frames at a time."""

    def __init__(self, px: int, seed: int) -> None:
        # Of small frames nothing is left after all of them.
        shapes = [PixelShape(px, 1, self._CONVOLUTIONS[:number], self.num_features, 0, False) for number in range(4)]
        shape = [shape for shape in shapes if shape.convolved_px][-1]
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            self._encoder = PixelEncoder(shape)
            self._layer = FeatureLayer(self._encoder.num_outputs, self.num_features)

    @torch.no_grad()
    def of(self, frames: np.ndarray) -> np.ndarray:
        """[N, num_features] float32 of frames uint8 [N, px, px, 3]."""
        # Copied, since arrays out of an object store are read-only and torch warns about those.
        parts = torch.from_numpy(np.array(frames)).split(self._ROWS)
        return torch.cat([self._layer.norm(self._layer.linear(self._encoder(part))) for part in parts]).numpy()
