"""A vision tower that starts out telling tiles apart.

Frames are made of tiles, all known beforehand, and the directions in which their pixels differ most say which is which.
By descent from random weights a tower of this size takes most of an hour to find them. So the patch embedding is given,
and stays; and what makes tokens of patches begins as a projection of what they show.
"""

import torch
from transformers import Qwen2_5_VLForConditionalGeneration

from actors.pocket.episodes.data import Episodes
from actors.pocket.pictures import IMAGE_MEAN, IMAGE_STD, PATCH_PX

TILES = 2
"""Tiles on a side of a patch."""
STRAIGHT = 6.0
"""So far from zero a GELU is as good as straight."""


def tell_tiles_apart(model: Qwen2_5_VLForConditionalGeneration, tables: Episodes) -> None:
    """Set the patch embedding and the merger.

    Each tile of a patch has as many channels: the principal directions of all tiles' pixels, made equally long.
    """
    weight = model.model.visual.patch_embed.proj.weight
    width, tile_px = len(weight) // TILES**2, PATCH_PX // TILES
    looks = torch.from_numpy(tables.pixels[tables.pixels.any(axis=(1, 2, 3))]).unique(dim=0)
    pixels = (looks / 255.0 - torch.tensor(IMAGE_MEAN)) / torch.tensor(IMAGE_STD)
    _, lengths, directions = torch.linalg.svd(pixels.permute(0, 3, 1, 2).flatten(1).double(), full_matrices=False)
    scale = len(looks) ** 0.5 / lengths[:width, None]
    kernel = (scale * directions[:width]).float().view(width, 3, 1, tile_px, tile_px)
    with torch.no_grad():
        weight.zero_()
        for row in range(TILES):
            for column in range(TILES):
                first = (row * TILES + column) * width
                rows, columns = (slice(at * tile_px, (at + 1) * tile_px) for at in (row, column))
                # A still picture fills both frames of a temporal patch.
                weight[first : first + width, :, :, rows, columns] = kernel / 2
        inner, _, outer = model.model.visual.merger.mlp
        torch.nn.init.eye_(inner.weight)
        inner.bias.fill_(STRAIGHT)
        torch.nn.init.orthogonal_(outer.weight)
        outer.bias.copy_(-STRAIGHT * outer.weight.sum(dim=1))
