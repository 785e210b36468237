"""S3D-G with its text module: the video-text network trained on HowTo100M (Miech et al. 2020, arXiv 1912.06430).

No library has it. Modules bear the names of the published weights, `s3d_howto100m.pth`; S3D-G itself is of Xie et al.
2018 (arXiv 1712.04851). For use only: batch normalisation stands still.
"""

import re
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EMBEDDING = 512
MAX_WORDS = 16
"""Later words of a sentence are dropped."""
# Channels of the four branches of each block; the middle two narrow before they look around.
BLOCKS = {
    "mixed_3b": (192, 64, (96, 128), (16, 32), 32),
    "mixed_3c": (256, 128, (128, 192), (32, 96), 64),
    "mixed_4b": (480, 192, (96, 208), (16, 48), 64),
    "mixed_4c": (512, 160, (112, 224), (24, 64), 64),
    "mixed_4d": (512, 128, (128, 256), (24, 64), 64),
    "mixed_4e": (512, 112, (144, 288), (32, 64), 64),
    "mixed_4f": (528, 256, (160, 320), (32, 128), 128),
    "mixed_5b": (832, 256, (160, 320), (32, 128), 128),
    "mixed_5c": (832, 384, (192, 384), (48, 128), 128),
}
POOLED_BEFORE = {
    "mixed_3b": ((1, 3, 3), (1, 2, 2)),
    "mixed_4b": ((3, 3, 3), (2, 2, 2)),
    "mixed_5b": ((2, 2, 2), (2, 2, 2)),
}
"""Kernel and stride of the pooling before a block."""


class S3D(nn.Module):
    """Videos and sentences to points of one space, whose dot product tells how well they fit."""

    def __init__(self, words: Sequence[str]) -> None:
        """`words`: those that sentences may be made of, in the order of their embeddings; the first of these, of
        padding and unknown words, is not among them."""
        super().__init__()
        self.conv1 = _Convolution(24, 64, (2, 4, 4), (1, 2, 2))
        self.conv_2b = _Convolution(64, 64, (1, 1, 1))
        self.conv_2c = _Separable(64, 192)
        self.gating = _Gate(192)
        for name, sizes in BLOCKS.items():
            setattr(self, name, _Block(*sizes))
        self.fc = nn.Linear(1024, EMBEDDING)
        self.text_module = _Sentences(words)

    def video(self, pixels: Tensor) -> Tensor:
        """Embeddings [B, 512] of videos [B, 3, T, H, W], whose T, H and W are even."""
        batch, channels, time, height, width = pixels.shape
        cut = pixels.reshape(batch, channels, time // 2, 2, height // 2, 2, width // 2, 2)
        folded = cut.permute(0, 3, 5, 7, 1, 2, 4, 6).reshape(batch, 8 * channels, time // 2, height // 2, width // 2)
        # The padding was made for one side only.
        hidden = self.conv1(folded)[:, :, 1:, 1:, 1:]
        hidden = _pooled(hidden, (1, 3, 3), (1, 2, 2))
        hidden = self.gating(self.conv_2c(self.conv_2b(hidden)))
        for name in BLOCKS:
            if name in POOLED_BEFORE:
                hidden = _pooled(hidden, *POOLED_BEFORE[name])
            hidden = getattr(self, name)(hidden)
        return self.fc(hidden.mean(dim=(2, 3, 4)))

    def text(self, sentence: str) -> Tensor:
        """Embedding [512]."""
        return self.text_module(sentence)


class _Sentences(nn.Module):
    def __init__(self, words: Sequence[str]) -> None:
        super().__init__()
        self.word_embd = nn.Embedding(len(words) + 1, 300)
        self.fc1 = nn.Linear(300, 2048)
        self.fc2 = nn.Linear(2048, EMBEDDING)
        self._numbers = {word: number for number, word in enumerate(words, start=1)}

    def forward(self, sentence: str) -> Tensor:
        known = [self._numbers[word] for word in re.findall(r"[\w']+", sentence.lower()) if word in self._numbers]
        tokens = torch.zeros(MAX_WORDS, dtype=torch.long, device=self.fc1.weight.device)
        tokens[: len(known)] = torch.tensor(known[:MAX_WORDS], dtype=torch.long)
        return self.fc2(self.fc1(self.word_embd(tokens)).relu().amax(dim=0))


class _Convolution(nn.Module):
    def __init__(self, inputs: int, outputs: int, kernel: tuple[int, ...], padding: tuple[int, ...] = (0, 0, 0)):
        super().__init__()
        self.conv1 = nn.Conv3d(inputs, outputs, kernel, padding=padding, bias=False)
        self.bn1 = nn.BatchNorm3d(outputs)

    def forward(self, hidden: Tensor) -> Tensor:
        return self.bn1(self.conv1(hidden)).relu()


class _Separable(nn.Module):
    """Three by three in space, then three in time."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(inputs, outputs, (1, 3, 3), padding=(0, 1, 1), bias=False)
        self.bn1 = nn.BatchNorm3d(outputs)
        self.conv2 = nn.Conv3d(outputs, outputs, (3, 1, 1), padding=(1, 0, 0), bias=False)
        self.bn2 = nn.BatchNorm3d(outputs)

    def forward(self, hidden: Tensor) -> Tensor:
        return self.bn2(self.conv2(self.bn1(self.conv1(hidden)).relu())).relu()


class _Gate(nn.Module):
    """Weighs each channel by what all of them are on average."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc = nn.Linear(channels, channels)

    def forward(self, hidden: Tensor) -> Tensor:
        return hidden * self.fc(hidden.mean(dim=(2, 3, 4))).sigmoid()[:, :, None, None, None]


class _Block(nn.Module):
    def __init__(self, inputs: int, near: int, one: tuple[int, int], other: tuple[int, int], pooled: int) -> None:
        super().__init__()
        self.conv_b0 = _Convolution(inputs, near, (1, 1, 1))
        self.conv_b1_a = _Convolution(inputs, one[0], (1, 1, 1))
        self.conv_b1_b = _Separable(*one)
        self.conv_b2_a = _Convolution(inputs, other[0], (1, 1, 1))
        self.conv_b2_b = _Separable(*other)
        self.conv_b3_b = _Convolution(inputs, pooled, (1, 1, 1))
        for number, channels in enumerate((near, one[1], other[1], pooled)):
            setattr(self, f"gating_b{number}", _Gate(channels))

    def forward(self, hidden: Tensor) -> Tensor:
        branches = (
            self.conv_b0(hidden),
            self.conv_b1_b(self.conv_b1_a(hidden)),
            self.conv_b2_b(self.conv_b2_a(hidden)),
            self.conv_b3_b(F.max_pool3d(hidden, 3, stride=1, padding=1)),
        )
        return torch.cat([getattr(self, f"gating_b{number}")(one) for number, one in enumerate(branches)], dim=1)


def _pooled(hidden: Tensor, kernel: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
    """As TensorFlow pads it: the odd zero after, not before. Values are not negative, so zeros change nothing else."""
    padding = []
    for size, step in zip(reversed(kernel), reversed(stride), strict=True):
        missing = max(size - step, 0)
        padding += [missing // 2, missing - missing // 2]
    return F.max_pool3d(F.pad(hidden, padding), kernel, stride, ceil_mode=True)
