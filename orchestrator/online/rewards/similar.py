"""Similarity of pictures and a sentence as the reward: of each step's frame, or of a whole episode at its end."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import kendalltau

from actors.rating.labellers.video import clip_frames
from actors.worlds.families import family_of
from algorithms.episodes import EpisodeChunk
from algorithms.replay import ColumnarReplay
from orchestrator.online.frames.step_frames import StepFrames
from orchestrator.online.rewards.comparing import Comparing
from orchestrator.online.rewards.held import held, last_of_each
from orchestrator.online.rewards.source import NewRewards, RewardSource, StillUnknown
from orchestrator.online.rollouts import Collected
from orchestrator.online.settings import OnlineExperiment
from orchestrator.online.stopping.progress import Progress

COMPARED = 1
"""Version of rewards by similarity, which never change."""


class SimilarityReward(RewardSource):
    """What both methods share: rewards are known from the first step on, and what was compared is told per period."""

    def __init__(self, experiment: OnlineExperiment, frames: StepFrames, model: Comparing) -> None:
        """Waits for the model. Raises SettingsError if it cannot be loaded."""
        self._experiment, self._frames, self._model = experiment, frames, model
        self._wanted = model.load().num_frames
        """Frames of an episode that the model wants, where it looks at episodes."""
        self._indices: list[np.ndarray] = []
        self._similarities: list[np.ndarray] = []
        """Of the period under way: global indices of the steps that were compared, and what came out."""

    def known(self, progress: Progress) -> bool:
        return True

    def version(self, progress: Progress) -> int:
        return COMPARED

    def advance(self, replay: ColumnarReplay, progress: Progress, stands: bool) -> NewRewards | StillUnknown | None:
        """Nothing is rewritten; at the end of a period what was compared is told."""
        if stands and self._similarities:
            indices, found = np.concatenate(self._indices), np.concatenate(self._similarities)
            self._indices, self._similarities = [], []
            self.folder.log(self._metrics(replay, indices, found), progress.env_steps)
        return None

    def read(self, folder: Path, state: Mapping[str, Any], progress: Progress) -> Callable[[], None]:
        """A checkpoint stands between two periods: nothing is under way."""
        return self._forget

    def _forget(self) -> None:
        self._indices, self._similarities = [], []

    def _goal(self, chunk: EpisodeChunk) -> str:
        """What the episode is compared with."""
        return self._experiment.similarity.goal or chunk.instruction or self._experiment.task.instruction

    def _paid(self, similarities: np.ndarray) -> np.ndarray:
        """Rewards float32 of similarities."""
        settings = self._experiment.similarity
        return (settings.scale * similarities + settings.shift).astype(np.float32)

    def _metrics(self, replay: ColumnarReplay, indices: np.ndarray, similarities: np.ndarray) -> dict[str, float]:
        metrics = {
            "reward/similarity": float(similarities.mean()),
            "reward/similarity_spread": float(similarities.std()),
        }
        pace = self._model.take_pace()
        if pace is not None:
            metrics["time/similarity_frame_ms"] = 1000.0 * pace
        # A short replay may have forgotten the oldest of them.
        there = indices >= replay.indices[0]
        correlation = self._correlation(replay, indices[there], similarities[there])
        return metrics if correlation is None else metrics | {"reward/progress_correlation": correlation}

    def _correlation(self, replay: ColumnarReplay, indices: np.ndarray, similarities: np.ndarray) -> float | None:
        """Kendall's tau-b of similarities and true progress; None where that is not known of two, or one does not
        vary."""
        task = self._experiment.task
        progress = family_of(task).progress(task, replay.next_observations(indices), replay.returns(indices))
        if progress is None:
            return None
        known = np.isfinite(progress)
        if known.sum() < 2:
            return None
        tau = float(kendalltau(similarities[known], progress[known]).statistic)
        return tau if np.isfinite(tau) else None


class FrameSimilarity(SimilarityReward):
    """VLM-RM: a step's reward is the similarity of the frame that stands for it.

    That is the last of `reward.every_agent_steps` steps, or of fewer where a round or an episode ends.
    """

    def of_new(self, observations: np.ndarray, part: Collected, first_index: int, progress: Progress) -> np.ndarray:
        places = [last_of_each(len(chunk), self._experiment.reward.every_agent_steps) for chunk in part.chunks]
        pngs = self._frames.pngs_of(part.chunks, places)
        similarities: list[np.ndarray] = [np.zeros(0)] * len(part.chunks)
        by_goal: dict[str, list[int]] = {}
        for number, chunk in enumerate(part.chunks):
            by_goal.setdefault(self._goal(chunk), []).append(number)
        for goal, numbers in by_goal.items():
            found = self._model.of_frames([png for number in numbers for png in pngs[number]], goal)
            ends = np.cumsum([len(places[number]) for number in numbers])[:-1]
            for number, of_chunk in zip(numbers, np.split(found, ends), strict=True):
                similarities[number] = of_chunk
        starts = first_index + np.cumsum([0, *(len(chunk) for chunk in part.chunks)])
        self._indices += [start + at for start, at in zip(starts, places, strict=False)]
        self._similarities += similarities
        return np.concatenate([held(self._paid(one), at) for one, at in zip(similarities, places, strict=True)])


class EpisodeSimilarity(SimilarityReward):
    """RoboCLIP: an episode's last step is paid the similarity of the whole episode, all others nothing."""

    def __init__(self, experiment: OnlineExperiment, frames: StepFrames, model: Comparing) -> None:
        super().__init__(experiment, frames, model)
        self._begun: dict[str, list[EpisodeChunk]] = {}
        """Of each episode under way, by its id, what has come of it."""

    def of_new(self, observations: np.ndarray, part: Collected, first_index: int, progress: Progress) -> np.ndarray:
        rewards, start = [], first_index
        for chunk in part.chunks:
            of_chunk = np.zeros(len(chunk), dtype=np.float32)
            so_far = self._begun.setdefault(chunk.episode_id, [])
            so_far.append(chunk)
            if chunk.terminated or chunk.truncated:
                similarity = np.array([self._model.of_episode(self._shown(so_far), self._goal(chunk))])
                of_chunk[-1:] = self._paid(similarity)
                self._indices.append(np.array([start + len(chunk) - 1]))
                self._similarities.append(similarity)
                del self._begun[chunk.episode_id]
            rewards.append(of_chunk)
            start += len(chunk)
        return np.concatenate(rewards)

    def _shown(self, chunks: list[EpisodeChunk]) -> list[bytes]:
        """PNG files of as many frames as the model wants, evenly spread over an episode's steps."""
        steps = clip_frames(sum(map(len, chunks)), self._wanted)
        ends = np.cumsum([len(chunk) for chunk in chunks])
        asked = np.unique(steps)
        places = [
            asked[(asked >= end - len(chunk)) & (asked < end)] - (end - len(chunk))
            for chunk, end in zip(chunks, ends, strict=True)
        ]
        some = [number for number, at in enumerate(places) if len(at)]
        found = self._frames.pngs_of([chunks[number] for number in some], [places[number] for number in some])
        drawn = [png for of_chunk in found for png in of_chunk]
        of_step = dict(zip(asked.tolist(), drawn, strict=True))
        return [of_step[step] for step in steps]

    def _forget(self) -> None:
        super()._forget()
        self._begun = {}


def similarity_reward(experiment: OnlineExperiment, frames: StepFrames, model: Comparing) -> SimilarityReward:
    """The source that `similarity.method` names. Raises SettingsError if its model cannot be loaded."""
    kinds = {"vlm_rm": FrameSimilarity, "roboclip": EpisodeSimilarity}
    return kinds[experiment.similarity.method](experiment, frames, model)
