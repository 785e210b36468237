"""How a picture is cut for the vision tower: into patches, of which two by two become a token of the text model."""

from dataclasses import dataclass

import torch
from torch import Tensor

PATCH_PX = 14
MERGE = 2
"""Patches on a side of a token."""
IMAGE_MEAN = (0.48145466, 0.4578275, 0.40821073)
IMAGE_STD = (0.26862954, 0.26130258, 0.27577711)
"""CLIP's, as in every Qwen-VL."""


@dataclass(frozen=True)
class Layout:
    """A square picture of equal square frames, one or several."""

    frame_px: int
    """Side of a frame."""
    columns: int = 1
    """Frames in a row, and rows."""

    @property
    def frame_side(self) -> int:
        """Tokens on a side of a frame."""
        return self.frame_px // PATCH_PX // MERGE

    @property
    def side(self) -> int:
        """Tokens on a side of the picture."""
        return self.columns * self.frame_side

    @property
    def frame_tokens(self) -> int:
        """Tokens of a frame."""
        return self.frame_side**2

    @property
    def num_tokens(self) -> int:
        """Tokens of the picture."""
        return self.side**2

    def patches(self, images: Tensor) -> Tensor:
        """Normalised patches, float32 [B, patches, 3 * 14 * 14], of images uint8 [B, px, px, 3].

        They come frame by frame, and within a frame in Qwen-VL's order: token by token, each row by row.
        """
        mean, std = torch.tensor(IMAGE_MEAN), torch.tensor(IMAGE_STD)
        pixels = (images.float() / 255.0 - mean) / std
        axis = (self.columns, self.frame_side, MERGE, PATCH_PX)
        cut = pixels.view(len(images), *axis, *axis, 3)
        return cut.permute(0, 1, 5, 2, 6, 3, 7, 9, 4, 8).reshape(len(images), self.num_tokens * MERGE**2, -1)

    def patch_positions(self) -> Tensor:
        """Row and column [patches, 2] of each patch in the order of `patches`."""
        index = torch.arange(self.side * MERGE)
        axis = (self.columns, self.frame_side, MERGE)
        grids = (grid.reshape(*axis, *axis) for grid in torch.meshgrid(index, index, indexing="ij"))
        return torch.stack([grid.permute(0, 3, 1, 4, 2, 5).flatten() for grid in grids], dim=-1)
