"""Networks from a frame, or a state, to a reward in (-1, 1)."""

import itertools

import torch
from torch import nn
from torch.nn.utils import skip_init

FRAME_LAYERS: dict[str, tuple[tuple[int, int, int], ...]] = {
    "published": ((16, 5, 3), (32, 3, 2), (64, 3, 2), (128, 3, 2)),
    "small": ((16, 5, 3), (32, 3, 2), (64, 3, 2)),
}
"""Channels, kernel and stride of each convolution. `published` is ERL-VLM's, made for 224 pixels; `small` for 56."""
LAST_LAYER_BOUND = 1e-3
"""Half-width of the uniform start of the last layer."""
CLIPPED_DEVIATIONS = 10.0
"""A state farther than this from the rated ones, in their standard deviations, counts as this far."""


def frame_features(network: str, image_px: int) -> int:
    """Numbers that the convolutions make of an image. Raises ValueError if the image is too small for them."""
    size = image_px
    for _, kernel, stride in FRAME_LAYERS[network]:
        if size < kernel:
            raise ValueError(
                f"reward_model.image_px {image_px} is too small for the convolutions of network {network!r}; raise it"
            )
        size = (size - kernel) // stride + 1
    return FRAME_LAYERS[network][-1][0] * size * size


def as_numbers(frames: torch.Tensor) -> torch.Tensor:
    """What convolutions see, float32 [N, 3, px, px] in [0, 1], of frames uint8 [N, px, px, 3]."""
    # A permuted view of channels-last images is the layout in which a processor convolves fastest.
    return frames.permute(0, 3, 1, 2).float().div_(255.0)


class FrameRewardNetwork(nn.Module):
    """A convolutional network for images."""

    def __init__(self, network: str, image_px: int, generator: torch.Generator) -> None:
        super().__init__()
        features = frame_features(network, image_px)
        layers: list[nn.Module] = []
        channels_in = 3
        for channels, kernel, stride in FRAME_LAYERS[network]:
            # In place: what a convolution brought is needed by nothing else, and memory is what a processor waits for.
            layers += [skip_init(nn.Conv2d, channels_in, channels, kernel, stride), nn.ReLU(inplace=True)]
            channels_in = channels
        self.layers = nn.Sequential(*layers, nn.Flatten(), skip_init(nn.Linear, features, 1), nn.Tanh())
        _initialise(self.layers, generator)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """Rewards float32 [N] of frames uint8 [N, px, px, 3], or of what `as_numbers` made of them."""
        return self.layers(frames if frames.is_floating_point() else as_numbers(frames)).squeeze(1)


class StateRewardNetwork(nn.Module):
    """A multi-layer perceptron for observations, which it standardises first."""

    shift: torch.Tensor
    scale: torch.Tensor

    def __init__(self, observation_size: int, hidden: tuple[int, ...], generator: torch.Generator) -> None:
        super().__init__()
        self.register_buffer("shift", torch.zeros(observation_size))
        self.register_buffer("scale", torch.ones(observation_size))
        sizes = (observation_size, *hidden)
        layers: list[nn.Module] = []
        for size_in, size_out in itertools.pairwise(sizes):
            layers += [skip_init(nn.Linear, size_in, size_out), nn.LeakyReLU()]
        self.layers = nn.Sequential(*layers, skip_init(nn.Linear, sizes[-1], 1), nn.Tanh())
        _initialise(self.layers, generator)

    def standardise_by(self, states: torch.Tensor) -> None:
        """Take shift and scale from rated states [N, observation]; what never varied among them is ignored."""
        deviation, mean = torch.std_mean(states, dim=0, correction=0)
        self.shift.copy_(mean)
        self.scale.copy_(torch.where(deviation > 1e-6, 1.0 / deviation.clamp(min=1e-6), 0.0))

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Rewards float32 [N] of states float32 [N, observation]."""
        standardised = (states - self.shift) * self.scale
        return self.layers(standardised.clamp(-CLIPPED_DEVIATIONS, CLIPPED_DEVIATIONS)).squeeze(1)


def _initialise(layers: nn.Sequential, generator: torch.Generator) -> None:
    """Uniform weights within 1 / sqrt(fan-in), zero biases, and a nearly silent last layer (reference code)."""
    trainable = [layer for layer in layers if isinstance(layer, nn.Conv2d | nn.Linear)]
    with torch.no_grad():
        for layer in trainable:
            bound = layer.weight[0].numel() ** -0.5
            layer.weight.uniform_(-bound, bound, generator=generator)
            layer.bias.zero_()
        trainable[-1].weight.uniform_(-LAST_LAYER_BOUND, LAST_LAYER_BOUND, generator=generator)
