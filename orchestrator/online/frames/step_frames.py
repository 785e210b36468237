"""The frames of agent steps: drawn again from state by the workers, or kept since they were taken."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from actors.worlds.world import WorldSpec
from algorithms.episodes import EpisodeChunk
from algorithms.frame_codec import decode
from algorithms.images import encode_png, reduce_image
from algorithms.replay import ColumnarReplay
from orchestrator.online.rollouts import Rollouts
from orchestrator.runs.frame_archive import FrameArchive


class StepFrames:
    """Of each step the frame seen after its action, by the step's global index in the replay."""

    def __init__(
        self, world: WorldSpec, rollouts: Rollouts, reward_image_px: int | None, archive: FrameArchive
    ) -> None:
        """`reward_image_px` is the side of what the reward model sees; None if it sees states. The archive is used if
        the world does not draw again."""
        self._draws_again = world.draws_again
        self._rollouts = rollouts
        self._reward_image_px = reward_image_px
        self._archive = archive

    def keep(self, first_index: int, chunk: EpisodeChunk, oldest_index: int) -> None:
        """Note the frames of a chunk whose first step has `first_index`; forget those before `oldest_index`."""
        if not self._draws_again:
            self._archive.add(first_index, chunk.frames)
            self._archive.drop_before(oldest_index)

    def has(self, indices: np.ndarray) -> np.ndarray:
        """bool [N]: whether the frames of these steps can be had: not if the archive had no room, or was damaged."""
        return np.ones(len(indices), dtype=bool) if self._draws_again else self._archive.has(indices)

    def pngs(self, replay: ColumnarReplay, segments: Sequence[np.ndarray]) -> list[list[bytes]]:
        """PNG files of each segment's steps, `task.image_px` square; the steps of a segment are of one episode."""
        if self._draws_again:
            return self._rollouts.render([replay.frames_of(indices) for indices in segments])
        return [[encode_png(frame) for frame in self._archive.frames(indices)] for indices in segments]

    def pngs_of(self, chunks: Sequence[EpisodeChunk], places: Sequence[np.ndarray]) -> list[list[bytes]]:
        """The same of steps at `places` of chunks that have just come: for each chunk those of its own places."""
        if self._draws_again:
            return self._rollouts.render(
                [(chunk.scene, chunk.frame_states[1:][at]) for chunk, at in zip(chunks, places, strict=True)]
            )
        return [
            [encode_png(frame) for frame in decode(chunk.frames)[1:][at]]
            for chunk, at in zip(chunks, places, strict=True)
        ]

    def reduced(self, replay: ColumnarReplay, indices: np.ndarray) -> np.ndarray:
        """uint8 [N, px, px, 3] of steps of any episodes, as the reward model sees them."""
        if self._draws_again:
            states = [replay.frames_of(indices[[place]]) for place in range(len(indices))]
            return np.concatenate(self._rollouts.render_reduced(states))
        return reduce_image(self._archive.frames(indices), self._reward_image_px)

    def reduced_of(self, chunks: Sequence[EpisodeChunk]) -> list[np.ndarray]:
        """The same of the steps of chunks."""
        if self._draws_again:
            return self._rollouts.render_reduced([(chunk.scene, chunk.frame_states[1:]) for chunk in chunks])
        return [reduce_image(decode(chunk.frames)[1:], self._reward_image_px) for chunk in chunks]

    def save(self, folder: Path) -> None:
        """Write what a checkpoint needs into its folder."""
        if not self._draws_again:
            self._archive.save(folder)

    def restore(self, folder: Path) -> None:
        """Put back what `save` wrote."""
        if not self._draws_again:
            self._archive.restore(folder)
