"""What the newest reward model makes of what was seen after steps: states, or frames, wherever those are."""

from typing import Any

import numpy as np

from algorithms.replay import ColumnarReplay
from orchestrator.online.frames.step_frames import StepFrames
from orchestrator.online.reward_training import FramesLost, RewardTraining
from orchestrator.online.rollouts import Collected

RENDER_AGAIN_STEPS = 512
"""Agent steps drawn again at a time, where the frame cache has forgotten them."""


class StepScores:
    """Scores of steps, raw: the scale of the learned reward is not applied."""

    def __init__(self, learner: RewardTraining, frames: StepFrames, sees_frames: bool, reads: bool) -> None:
        """`sees_frames`: the reward model sees frames, and not states; `reads`: and the instruction."""
        self._learner = learner
        self._frames = frames
        self._sees_frames = sees_frames
        self._reads = reads

    def cache(self, first_index: int, part: Collected) -> None:
        """Hand on the frames of new steps, the first of which has this global index. They go from worker to learner."""
        if self._sees_frames:
            self._learner.cache_frames(first_index, part.frames, self._asked_in(part))

    def of_new(self, observations: np.ndarray, part: Collected, version: int) -> np.ndarray:
        """Scores [N] of steps that have just come, after which `observations` [N, observation] were seen."""
        asked = self._asked_in(part)
        if not self._sees_frames:
            return self._scores(observations, asked, version)
        try:
            return self._scores(part.frames, asked, version)
        except FramesLost:
            return self._scores(self._frames.reduced_of(part.chunks), asked, version)

    def of_replay(self, replay: ColumnarReplay, version: int) -> tuple[np.ndarray, np.ndarray]:
        """Global indices [N] of all steps held, and their scores [N]; without steps whose frames are nowhere."""
        if not self._sees_frames:
            seen = replay.stored_next_observations()
            return replay.indices, self._scores(seen, self._asked_of(replay, replay.indices), version)
        scored = self._learner.relabel(int(replay.indices[0]))
        indices, scores = [scored.indices], [scored.rewards]
        # What the frame cache has forgotten, or lost in a restart, is drawn again from its state, or was kept.
        forgotten = np.setdiff1d(replay.indices, scored.indices)
        for part in _runs(forgotten[self._frames.has(forgotten)], RENDER_AGAIN_STEPS):
            frames = self._frames.reduced(replay, part)
            asked = self._asked_of(replay, part)
            self._learner.cache_frames(int(part[0]), frames, asked)
            indices.append(part)
            scores.append(self._scores(frames, asked, version))
        # In the replay's order, whatever was drawn again: the scale is a mean, whose last bits depend on the order.
        joined = np.concatenate(indices)
        order = np.argsort(joined)
        return joined[order], np.concatenate(scores)[order]

    def _asked_in(self, part: Collected) -> list[str]:
        """What was to be done in each of these steps, if that is read."""
        return [chunk.instruction for chunk in part.chunks for _ in range(len(chunk))] if self._reads else []

    def _asked_of(self, replay: ColumnarReplay, indices: np.ndarray) -> list[str]:
        return replay.instructions(indices) if self._reads else []

    def _scores(self, inputs: Any, instructions: list[str], version: int) -> np.ndarray:
        """Of states or frames, or of a reference to them."""
        rewards, scored_by = self._learner.score(inputs, instructions)
        assert scored_by == version, "only the loop trains the reward model"
        return rewards


def _runs(indices: np.ndarray, longest: int) -> list[np.ndarray]:
    """Rising `indices` [N] cut where one is left out, and after `longest`."""
    gaps = np.flatnonzero(np.diff(indices) > 1) + 1
    return [run[start : start + longest] for run in np.split(indices, gaps) for start in range(0, len(run), longest)]
