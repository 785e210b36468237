"""A patch embedding that starts out telling tiles apart.

Frames are made of tiles, all known beforehand. What a tile shows is a linear function of its pixels, and least squares
finds it in a moment; by descent from random weights a tower of this size takes most of an hour. Training is free to
change it.
"""

import torch
from transformers import Qwen2_5_VLForConditionalGeneration

from actors.pocket.episodes.data import Episodes
from actors.pocket.episodes.words import COLOURS, KINDS, THINGS
from actors.pocket.pictures import IMAGE_MEAN, IMAGE_STD, PATCH_PX

TILES = 2
"""Tiles on a side of a patch."""
RIDGE = 0.3
"""Keeps weights small, so that bfloat16 holds them well enough."""
SCALE = 2.0
"""Length of a colour's or a kind's direction."""


def tell_tiles_apart(model: Qwen2_5_VLForConditionalGeneration, tables: Episodes) -> None:
    """Set the patch embedding. For each tile of a patch as many channels: colour, kind and whether it is open where it
    shows a thing, and a random direction for whatever it shows, from torch's global generator."""
    weight = model.model.visual.patch_embed.proj.weight
    width = len(weight) // TILES**2
    shows = torch.from_numpy(tables.pixels.any(axis=(1, 2, 3)))
    pixels = (torch.from_numpy(tables.pixels)[shows] / 255.0 - torch.tensor(IMAGE_MEAN)) / torch.tensor(IMAGE_STD)
    flat = pixels.permute(0, 3, 1, 2).flatten(1).double()
    wanted = torch.zeros(len(flat), width, dtype=torch.double)
    for row, (thing, is_open) in enumerate(zip(tables.things[shows], tables.opened[shows], strict=True)):
        if thing >= 0:
            colour, kind = THINGS[thing].split()
            wanted[row, COLOURS.index(colour)] = wanted[row, len(COLOURS) + KINDS.index(kind)] = SCALE
            wanted[row, len(COLOURS) + len(KINDS)] = SCALE * float(is_open)
    known = len(COLOURS) + len(KINDS) + 1
    looks = torch.from_numpy(tables.contents)[shows]
    wanted[:, known:] = torch.randn(int(looks.max()) + 1, width - known).double()[looks]
    tile_px = PATCH_PX // TILES
    eye = RIDGE * torch.eye(flat.shape[1], dtype=torch.double)
    solved = torch.linalg.solve(flat.T @ flat + eye, flat.T @ wanted).T.view(width, 3, 1, tile_px, tile_px)
    with torch.no_grad():
        weight.zero_()
        for row in range(TILES):
            for column in range(TILES):
                first = (row * TILES + column) * width
                rows, columns = (slice(at * tile_px, (at + 1) * tile_px) for at in (row, column))
                # A still picture fills both frames of a temporal patch.
                weight[first : first + width, :, :, rows, columns] = solved.float() / 2
