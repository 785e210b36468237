"""What a policy of pictures sees of a world while it acts, and acting with what is seen."""

from collections.abc import Sequence

import numpy as np
import torch

from actors.worlds.world import Drawer, World
from algorithms.acting import InstructedActor
from algorithms.actor_network import SquashedGaussianActor
from algorithms.images import reduce_image
from algorithms.pixel_frames import FrameStack, PixelShape
from algorithms.pixel_networks import PixelActor

Actor = SquashedGaussianActor | PixelActor | InstructedActor


class Sight:
    """The pictures of one episode, as a policy sees them."""

    def __init__(self, world: World, drawer: Drawer | None, shape: PixelShape) -> None:
        """`drawer` is for worlds that draw again; others give their frames themselves."""
        self._world = world
        self._drawer = drawer
        self._px = shape.px
        self._stack = FrameStack(shape.frame_stack)

    def look(self) -> tuple[np.ndarray, np.ndarray]:
        """Take the frame there is now, once after the reset and after each step.

        Returns it as the world shows it, uint8 [image_px, image_px, 3], and made small, uint8 [px, px, 3].
        """
        if self._drawer is None:
            frame = self._world.frame()
        else:
            frame = self._drawer.render(self._world.scene(), self._world.frame_state()[None])[0]
        small = np.ascontiguousarray(reduce_image(frame[None], self._px)[0])
        self._stack.push(small)
        return frame, small

    def stacked(self) -> np.ndarray:
        """uint8 [px, px, 3 * frame_stack]: the latest frames, the newest last."""
        return self._stack.stacked()


def act(
    actor: Actor,
    observations: np.ndarray,
    sights: Sequence[Sight | None],
    noise: torch.Generator | None,
    instructions: Sequence[str],
) -> np.ndarray:
    """Actions [B, action] float32 for observations [B, observation], what is seen of their worlds, and what is to be
    done in each.

    Sampled with `noise`, or the most likely ones without it.
    """
    numbers = torch.from_numpy(observations)
    if isinstance(actor, SquashedGaussianActor):
        return actor.act(numbers, noise).numpy()
    stacked = torch.from_numpy(np.stack([sight.stacked() for sight in sights])) if actor.frame_stack else None
    if isinstance(actor, PixelActor):
        return actor.act(stacked, numbers[:, : actor.state_size], noise).numpy()
    return actor.act(numbers, instructions, noise, stacked).numpy()
